"""The trusted job posts one comment, from files that it takes for data and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., tuple[int, str]]
State = Callable[..., dict[str, Any]]
HEAD = "a" * 40


@pytest.fixture
def left(tmp_path: Path, github: State, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What ci left for pull request 7, which is at HEAD."""
    github(pulls={"7": HEAD, "8": "b" * 40})
    monkeypatch.setenv("REPOSITORY", "owner/ecdm")
    monkeypatch.setenv("HEAD_SHA", HEAD)
    folder = tmp_path / "comment"
    folder.mkdir()
    (folder / "number").write_text("7\n", encoding="utf-8")
    (folder / "body.md").write_text("# Smoke run\n", encoding="utf-8")
    return folder


def bodies(github: State) -> list[str]:
    return [comment["body"] for comment in github()["comments"]]


def test_the_second_run_updates_the_first_comment(left: Path, github: State, command: Command) -> None:
    foreign = {"id": 1, "user": {"login": "somebody"}, "body": "<!-- ecdm smoke -->\nnot ours"}
    github(comments=[foreign])
    assert command("comment", str(left)) == (0, "comment of pull request 7 posted\n")
    (left / "body.md").write_text("changed", encoding="utf-8")
    assert command("comment", str(left)) == (0, "comment of pull request 7 updated\n")
    theirs, ours = bodies(github)
    assert theirs == foreign["body"]
    assert ours.startswith("<!-- ecdm smoke -->\n*Written by the code of this pull request; nobody has checked it.*\n")
    assert ours.endswith("\n\nchanged")


def test_a_pull_request_at_another_commit_gets_none(left: Path, github: State, command: Command) -> None:
    (left / "number").write_text("8", encoding="utf-8")
    assert command("comment", str(left)) == (0, f"pull request 8 is not at {HEAD}: no comment\n")
    assert bodies(github) == []


def test_nothing_left_is_no_failure(left: Path, github: State, command: Command) -> None:
    assert command("comment", str(left / "missing")) == (0, "ci left no comment\n")
    assert bodies(github) == []


def test_the_text_calls_nobody_and_cannot_fake_the_mark(left: Path, github: State, command: Command) -> None:
    text = "@everyone <!-- ecdm smoke --> a\u202eb\x1b[0m\r\n| é | – |\t`$(id)`"
    (left / "body.md").write_bytes(text.encode())
    assert command("comment", str(left))[0] == 0
    (body,) = bodies(github)
    assert body.count("<!--") == 1
    assert body.endswith("&#64;everyone &lt;!-- ecdm smoke --> ab[0m\n| é | – |\t`$(id)`")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("number", b"", "found '', expected the number"),
        ("number", b"7; id", "found '7; id', expected the number"),
        ("number", b"7/../8", "found '7/../8', expected the number"),
        ("number", b"-7", "found '-7', expected the number"),
        ("number", "٧".encode(), "found '٧', expected the number"),
        ("number", b"7" * 21, "found 21 bytes, expected at most 20"),
        ("number", b"\xff", "found bytes that are no text, expected UTF-8"),
        ("body.md", b"\xff", "found bytes that are no text, expected UTF-8"),
        ("body.md", b"a" * 65_537, "found 65537 bytes, expected at most 65536"),
        ("body.md", b"@" * 20_000, "characters, expected at most 65536"),
    ],
)
def test_bad_files_are_refused(
    name: str, content: bytes, message: str, left: Path, github: State, command: Command
) -> None:
    (left / name).write_bytes(content)
    code, text = command("comment", str(left))
    assert code == 2
    assert text.startswith(f"error: {left / name}: ")
    assert message in text
    assert bodies(github) == []


@pytest.mark.parametrize("name", ["number", "body.md"])
def test_links_and_folders_are_refused(name: str, left: Path, github: State, command: Command) -> None:
    secret = left.parent / "secret"
    secret.write_text("7", encoding="utf-8")
    (left / name).unlink()
    (left / name).symlink_to(secret)
    assert command("comment", str(left)) == (2, f"error: {left / name}: found no regular file, expected one\n")
    (left / name).unlink()
    (left / name).mkdir()
    assert command("comment", str(left))[0] == 2
    assert bodies(github) == []
