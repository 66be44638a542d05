"""Folders that appear whole or not at all, and work spread over processes."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from ecdm.data import files
from ecdm.data.coco import load_image
from ecdm.data.files import fresh_entries, fresh_folder, in_processes, png_name, save_png


def described(job: int) -> tuple[int, int]:
    if job == 13:
        raise ValueError("job 13 is bad")
    return job * job, os.getpid()


def test_a_folder_replaces_its_predecessor_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "out"
    for name in ("old", "new"):
        with fresh_folder(target) as folder:
            (folder / name).write_text(name)
            assert not (target / name).exists()
    assert [path.name for path in target.iterdir()] == ["new"]
    assert [path.name for path in target.parent.iterdir()] == ["out"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there_and_no_more(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "out"
    target.mkdir()
    (target / "old").write_text("old")

    def fail() -> None:
        with fresh_folder(target) as folder:
            (folder / "new").write_text("new")
            raise error

    with pytest.raises(error):
        fail()
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "out",
        "out/old",
    ]


def test_leftovers_of_a_killed_process_do_not_come_along(tmp_path: Path) -> None:
    leftover = tmp_path / ".out.partial"
    leftover.mkdir()
    (leftover / "half").write_text("half")
    with fresh_folder(tmp_path / "out") as folder:
        (folder / "whole").write_text("whole")
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "out",
        "out/whole",
    ]


def test_a_linked_folder_is_replaced_without_touching_its_target(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "kept").write_text("kept")
    (tmp_path / "out").symlink_to(tmp_path / "cache")
    with fresh_folder(tmp_path / "out") as folder:
        (folder / "new").write_text("new")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new"]
    assert (tmp_path / "cache" / "kept").exists()


def test_entries_replace_those_of_their_names_alone(tmp_path: Path) -> None:
    target = tmp_path / "out"
    (target / "part").mkdir(parents=True)
    for name in ("part/old", "kept", "text"):
        (target / name).write_text("old")
    with fresh_entries(target) as folder:
        (folder / "part").mkdir()
        (folder / "part" / "new").write_text("new")
        (folder / "text").write_text("new")
        assert (target / "part" / "old").exists()
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file()} == {
        "out/part/new",
        "out/kept",
        "out/text",
    }
    assert ((target / "kept").read_text(), (target / "text").read_text()) == ("old", "new")


def test_entries_of_a_failure_go_nowhere(tmp_path: Path) -> None:
    def fail() -> None:
        with fresh_entries(tmp_path / "out") as folder:
            (folder / "new").write_text("new")
            raise ValueError("broken off")

    with pytest.raises(ValueError, match="broken off"):
        fail()
    assert not list(tmp_path.iterdir())


def test_png_is_lossless_and_reproducible(tmp_path: Path) -> None:
    image = np.random.default_rng(1).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    for name in ("a", "b"):
        save_png(tmp_path / name / png_name(5), image)
    first, second = (tmp_path / name / "000000000005.png" for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()
    assert np.array_equal(load_image(first), image)


def test_results_keep_the_order_of_the_jobs_over_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "JOBS_PER_WORKER", 1)
    monkeypatch.setattr(files, "CHUNK", 1)
    results = in_processes(described, range(8), 2, "test")
    assert [square for square, _ in results] == [job * job for job in range(8)]
    assert os.getpid() not in {process for _, process in results}


def test_little_work_starts_no_process() -> None:
    assert {process for _, process in in_processes(described, range(8), 2, "test")} == {os.getpid()}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_of_a_job_arrives(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "JOBS_PER_WORKER", 1)
    with pytest.raises(ValueError, match="job 13 is bad"):
        in_processes(described, range(20), workers, "test")
