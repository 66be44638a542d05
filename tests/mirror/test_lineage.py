"""Keys of stages on a project that DVC really reproduces: known before a stage starts, and of what it is made."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tiny_project import PARAMS

from ecdm.lineage import Cell, entry_key, live_entry, matrix_cell
from ecdm.mirror.state import inputs, locked, maker_of, makers, reproduction


def locked_key(name: str, root: Path) -> str:
    """Key of a stage after it ran."""
    return entry_key(locked(root)[name])


def live_key(name: str, root: Path) -> str:
    """Key of a stage as it would run now."""
    return entry_key(live_entry(name, root))


def test_keys_are_known_before_a_stage_starts(root: Path) -> None:
    for name in ("baseline-0", "ours-0"):
        inside = (root / "watch" / name).read_text()
        assert inside == locked_key(f"train@{name}", root) == live_key(f"train@{name}", root)
    assert live_key("report", root) == locked_key("report", root)
    keys = {name: locked_key(name, root) for name in locked(root)}
    assert len(keys) == 15
    assert len(set(keys.values())) == 15


def test_what_a_key_depends_on(root: Path) -> None:
    name, key = "train@ours-0", locked_key("train@ours-0", root)
    same = {
        "library/__pycache__/y.pyc": "new",
        "params.yaml": "# a comment\n" + PARAMS.replace("lambda: 0.1", "lambda: 5"),
    }
    for path, text in same.items():
        (root / path).write_text(text)
        assert live_key(name, root) == key
    for path, old, new in (
        ("params.yaml", "steps: 3", "steps: 4"),
        ("library/inner/a.py", "1", "2"),
        ("build/variants/ours.yaml", "0.1", "0.2"),
        ("dvc.yaml", "make.py train", "make.py  train"),
    ):
        text = (root / path).read_text()
        (root / path).write_text(text.replace(old, new))
        assert live_key(name, root) != key
        (root / path).write_text(text)
    assert live_key(name, root) == key


def test_looking_changes_no_file(root: Path) -> None:
    def status() -> str:
        command = ["git", "-C", str(root), "status", "--porcelain", "--ignored"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    before, lock = status(), (root / "dvc.lock").read_bytes()
    live_key("train@ours-0", root)
    assert reproduction(root).complete
    assert (status(), (root / "dvc.lock").read_bytes()) == (before, lock)


def test_stages_of_the_matrix() -> None:
    assert matrix_cell("evaluate@my-variant-12") == Cell("evaluate", "my-variant", 12)
    for name in ("report", "train@ours", "tables@ours-0"):
        assert matrix_cell(name) is None


def test_makers_of_files_folders_and_parts_of_folders() -> None:
    made = {"build/a": "one", "build/b/c.csv": "two", "build/bb": "three"}
    assert maker_of("build/a/deeper/x", made) == maker_of("build/a", made) == ["one"]
    assert maker_of("build/b", made) == ["two"]
    assert maker_of("build", made) == ["one", "three", "two"]
    assert maker_of("assets", made) == []


def test_inputs_are_data_with_digest_and_source_but_no_code(root: Path) -> None:
    entries = locked(root)
    found = {data.name: data for data in inputs(entries["train@ours-0"], makers(entries))}
    assert set(found) == {"library", "build/variants/ours.yaml"}
    variant = found["build/variants/ours.yaml"]
    assert len(variant.digest) == 32
    assert variant.source == {"uri": "build/variants/ours.yaml", "hash": "md5", "stage": "variants"}
    assert found["library"].digest.endswith(".dir")
    assert "stage" not in found["library"].source
