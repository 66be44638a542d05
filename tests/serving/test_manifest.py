"""The manifest of a folder, and the command that reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ecdm.serving.manifest import read_manifest

GOOD: dict[str, Any] = {"image": "a.png", "mask": "m.png", "prompt": "a cat"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("images/a.png", "images/deep/a.jpg", "images/b.png", "masks/m.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def read(folder: Path, *rows: Any) -> Any:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    (folder / "list.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return read_manifest(folder / "list.jsonl", folder / "images", folder / "masks", 7)


def test_tasks_are_complete(folder: Path) -> None:
    one, two = read(folder, GOOD, "", {**GOOD, "image": "b.png", "seed": 3, "prompt": "猫"})
    assert (one.image, one.mask) == (folder / "images" / "a.png", folder / "masks" / "m.png")
    assert (one.prompt, one.seed, one.output) == ("a cat", 7, "a.png")
    assert (two.prompt, two.seed, two.output) == ("猫", 3, "b.png")


def test_outputs_of_one_name_are_told_apart(folder: Path) -> None:
    tasks = read(folder, GOOD, GOOD, {**GOOD, "image": "deep/a.jpg"}, {**GOOD, "image": "b.png"})
    assert [task.output for task in tasks] == ["a-1.png", "a-2.png", "a-3.png", "b.png"]
    (folder / "images" / "a-1.png").touch()
    with pytest.raises(ValueError, match=r"2 pictures whose output is called a-1\.png"):
        read(folder, GOOD, GOOD, {**GOOD, "image": "a-1.png"})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 2: expected a JSON object"),
        ("[]", "line 2: found list"),
        ({**GOOD, "sed": 1}, "line 2: found the key 'sed'"),
        ({"image": "a.png", "mask": "m.png"}, "line 2: prompt: missing"),
        ({**GOOD, "prompt": None}, "line 2: prompt: found None, expected str"),
        ({**GOOD, "seed": 1.5}, "line 2: seed: found 1.5, expected int"),
        ({**GOOD, "seed": True}, "line 2: seed: found True"),
        ({**GOOD, "seed": -1}, "line 2: seed: found -1"),
        ({**GOOD, "mask": "none.png"}, r"line 2: mask: .*none\.png: no such file"),
    ],
)
def test_a_bad_line_is_named(folder: Path, row: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(folder, GOOD, row)


def test_what_is_no_manifest_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="found no lines"):
        read(folder, "")
    with pytest.raises(ValueError, match="images: found a folder, expected a file of JSON lines"):
        read_manifest(folder / "images", folder, folder, 0)
    (folder / "list.jsonl").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="expected UTF-8"):
        read_manifest(folder / "list.jsonl", folder, folder, 0)
