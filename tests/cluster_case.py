"""Work that other processes of a cluster do in the tests: errors, and processes that are killed on the way."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any


def failing(job: int) -> tuple[int, int]:
    """The job and the process that does it; jobs 13 and 37 are bad."""
    if job in (13, 37):
        raise ValueError(f"job {job} is bad")
    return job, os.getpid()


def killed_at(mark: Path, fatal: Any, work: Callable[[Any], Any], job: Any) -> Any:
    """Do a job, but at the first time of the fatal one kill this process, with the results not handed over."""
    if job == fatal and not mark.exists():
        mark.write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGKILL)
    return work(job)


def make_killed(mark: Path, fatal: int) -> Callable[[int], tuple[int, int]]:
    """Work of that kind."""
    return partial(killed_at, mark, fatal, failing)
