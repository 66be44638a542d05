"""The record of a stage run."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest

from ecdm.runs import describe, git, hardware, peak_memory_mb, stage_run, write_text


def test_a_run_is_recorded(tmp_path: Path) -> None:
    with stage_run("train@ours-0", tmp_path):
        assert not (tmp_path / "runs").exists()
    record = json.loads((tmp_path / "runs" / "train@ours-0.json").read_text())
    assert set(record) == {
        "stage", "started", "seconds", "peak_memory_mb", "hardware", "commit", "completed"
    }  # fmt: skip
    assert (record["stage"], record["completed"], record["commit"]) == ("train@ours-0", True, None)
    assert datetime.fromisoformat(record["started"]).utcoffset() is not None
    assert record["seconds"] >= 0
    assert record["hardware"]["cores"] >= 1
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["train@ours-0.json"]


def test_a_failed_run_is_recorded_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def main() -> None:
        with stage_run("gates"):
            monkeypatch.chdir("/")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()
    assert json.loads((tmp_path / "runs" / "gates.json").read_text())["completed"] is False


def test_peak_memory_counts_children(tmp_path: Path) -> None:
    before = peak_memory_mb()
    size = int(before) + 64
    subprocess.run([sys.executable, "-c", f"a = bytearray(b'x') * ({size} << 20)"], check=True)
    assert peak_memory_mb() >= size


def test_the_commit_is_recorded(tmp_path: Path) -> None:
    person = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], [*person, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    with stage_run("masks", tmp_path):
        pass
    record = json.loads((tmp_path / "runs" / "masks.json").read_text())
    assert record["commit"] == git(tmp_path, "rev-parse", "HEAD")
    assert len(record["commit"]) == 40


def test_hardware_names_the_gpu_only_if_there_is_one() -> None:
    assert set(hardware()) >= {"cpu", "cores"}
    assert describe({"cpu": "X", "cores": 2}) == "X, 2 cores"
    assert describe({"cpu": "X", "cores": 2, "torch": "3", "gpu": "Y"}) == "X, 2 cores, Y"


def test_files_are_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(0o640)
    link = tmp_path / "link.txt"
    link.symlink_to(path)
    write_text(link, "new")
    assert (path.read_text(), link.is_symlink(), path.stat().st_mode & 0o777) == ("new", True, 0o640)
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "\ud800")
    assert path.read_text() == "new"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.txt", "link.txt"]
