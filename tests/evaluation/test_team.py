"""A stage's tasks on several threads of a CPU: each is run once, by workers of one thread, and errors come back."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ecdm.evaluation.team import Team

CPU = torch.device("cpu")


@pytest.fixture
def threads() -> Iterator[int]:
    """Of this process, restored after the test."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield 2
    torch.set_num_threads(before)


@pytest.mark.parametrize(("index", "count"), [(0, 1), (0, 2), (1, 2)])
def test_workers_run_each_task_of_their_process_once(tmp_path: Path, threads: int, index: int, count: int) -> None:
    def write(task: int) -> None:
        with (tmp_path / str(task)).open("a") as file:
            file.write(f"{os.getpid()} {torch.get_num_threads()}\n")

    Team(index, count, CPU).share(write, range(7), "numbers")
    found = {int(path.name): path.read_text().split() for path in tmp_path.iterdir()}
    assert sorted(found) == list(range(7))[index::count]
    assert {len(words) for words in found.values()} == {2}
    assert {words[1] for words in found.values()} == {"1"}
    workers = {int(words[0]) for words in found.values()}
    assert os.getpid() not in workers
    assert len(workers) <= threads


def test_one_thread_needs_no_worker(tmp_path: Path, threads: int) -> None:
    torch.set_num_threads(1)
    seen: list[int] = []
    Team(0, 1, CPU).share(seen.append, range(3), "numbers")
    assert seen == [0, 1, 2]


def test_a_workers_error_is_the_stages_and_ends_it(tmp_path: Path, threads: int) -> None:
    def fail(task: int) -> None:
        if task == 3:
            raise ValueError(f"image {task}: not finite")
        (tmp_path / str(task)).touch()
        time.sleep(0.02)

    with pytest.raises(ValueError, match="image 3: not finite"):
        Team(0, 1, CPU).share(fail, range(500), "numbers")
    assert len(list(tmp_path.iterdir())) < 250


def test_workers_end_with_a_killed_process(tmp_path: Path) -> None:
    """A task that goes on would write into the folder of the stage's next run."""
    code = f"""
import pathlib, os, time, torch
from ecdm.evaluation.team import Team
def wait(task):
    pathlib.Path({str(tmp_path)!r}, str(os.getpid())).touch()
    time.sleep(600)
torch.set_num_threads(2)
Team(0, 1, torch.device("cpu")).share(wait, range(2), "waits")
"""
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        while len(found := [int(path.name) for path in tmp_path.iterdir()]) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        process.kill()
    while any(Path("/proc", str(number)).exists() for number in found):
        time.sleep(0.05)
