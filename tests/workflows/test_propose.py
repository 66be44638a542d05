"""What a job made becomes one commit on a branch of its own, and one pull request."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Command = Callable[..., tuple[int, str]]
State = Callable[..., dict[str, Any]]
NAME = ("-c", "user.name=somebody", "-c", "user.email=somebody@localhost")


def git(folder: Path, *arguments: str) -> list[str]:
    done = subprocess.run(["git", *NAME, *arguments], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.splitlines()


@pytest.fixture
def clone(tmp_path: Path, github: State, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A clone with a lock and two reports, one of them outdated, and the folder of what was made beside it."""
    folder, made = tmp_path / "clone", tmp_path / "made"
    (folder / "reports").mkdir(parents=True)
    (made / "reports").mkdir(parents=True)
    for name, text in {"dvc.lock": "old", "other": "stays", "reports/a.md": "same", "reports/b.md": "gone"}.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name, text in {"dvc.lock": "new", "other": "new", "reports/a.md": "same", "body.md": "why"}.items():
        (made / name).write_text(text, encoding="utf-8")
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", "origin.git")
    git(folder, "init", "--quiet", "--initial-branch", "main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "first")
    git(folder, "remote", "add", "origin", str(tmp_path / "origin.git"))
    git(folder, "push", "--quiet", "origin", "main")
    monkeypatch.chdir(folder)
    return folder


def call(command: Command, clone: Path, *names: str) -> tuple[int, str]:
    made = clone.parent / "made"
    given = {"source": str(made), "body": "body.md", "base": "main", "branch": "train-gpu/1-1", "title": "A title"}
    return command("propose", *(f"--{key}={value}" for key, value in given.items()), *names)


def test_files_and_folders_are_brought_as_they_were_made(clone: Path, github: State, command: Command) -> None:
    assert call(command, clone, "dvc.lock", "reports")[0] == 0
    origin = clone.parent / "origin.git"
    changes = git(origin, "diff", "--name-status", "main", "train-gpu/1-1")
    assert changes == ["M\tdvc.lock", "D\treports/b.md"]
    assert git(origin, "show", "train-gpu/1-1:dvc.lock") == ["new"]
    (opened,) = github()["opened"]
    assert (opened["--base"], opened["--head"], opened["--title"]) == ("main", "train-gpu/1-1", "A title")
    assert opened["text"] == "why"


def test_no_change_is_no_pull_request(clone: Path, github: State, command: Command) -> None:
    (clone.parent / "made" / "dvc.lock").write_text("old", encoding="utf-8")
    assert call(command, clone, "dvc.lock")[0] == 0
    assert github()["opened"] == []
    assert git(clone.parent / "origin.git", "branch", "--format=%(refname:short)") == ["main"]


def test_what_is_missing_is_named_and_nothing_is_pushed(clone: Path, github: State, command: Command) -> None:
    code, text = call(command, clone, "dvc.lock", "missing.yaml")
    missing = clone.parent / "made" / "missing.yaml"
    assert (code, text) == (2, f"error: {missing}: found nothing, expected what the pull request is to bring\n")
    assert (clone / "dvc.lock").read_text(encoding="utf-8") == "old"
    assert github()["opened"] == []
    assert git(clone.parent / "origin.git", "branch", "--format=%(refname:short)") == ["main"]


def test_a_push_that_fails_opens_nothing(clone: Path, github: State, command: Command) -> None:
    git(clone, "remote", "set-url", "origin", str(clone.parent / "missing.git"))
    with pytest.raises(subprocess.CalledProcessError, match="push"):
        call(command, clone, "dvc.lock")
    assert github()["opened"] == []
