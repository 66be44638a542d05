"""The processes that share a stage's work: one, or those that `accelerate launch` started, each with workers."""

from __future__ import annotations

import ctypes
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

from ecdm.data.files import fresh_folder, progress

Task = TypeVar("Task")
# Of prctl, in Linux's sys/prctl.h.
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Team:
    """`count` processes, of which this one is number `index` and computes on `device`."""

    index: int
    count: int
    device: torch.device

    @classmethod
    def of_processes(cls) -> Team:
        """As accelerate finds it in the environment."""
        state = PartialState(cpu=not torch.cuda.is_available())
        return cls(state.process_index, state.num_processes, state.device)

    @property
    def first(self) -> bool:
        """Whether this process does what only one may do."""
        return self.index == 0

    @contextmanager
    def folder(self, target: Path) -> Iterator[Path]:
        """One `fresh_folder` for all: it takes the place of `target` when every process has ended its block well."""
        if self.count == 1:
            with fresh_folder(target) as folder:
                yield folder
        elif self.first:
            with fresh_folder(target) as folder:
                broadcast_object_list([folder])
                yield folder
                PartialState().wait_for_everyone()
        else:
            yield broadcast_object_list([Path()])[0]
            PartialState().wait_for_everyone()

    def share(self, run: Callable[[Task], None], tasks: Sequence[Task], title: str) -> None:
        """Run every task in one of the processes, under a progress bar; the first error ends it.

        Under Linux a CPU's threads become workers of one thread each: small networks gain little from a second thread,
        and the results are the same under any number of them.
        """
        mine = tasks[self.index :: self.count]
        workers = torch.get_num_threads() if self.device.type == "cpu" and sys.platform == "linux" else 1
        if workers == 1:
            self._watch(map(run, mine), len(mine), title)
            return
        # Forked: they have the networks at once, in shared memory, and one thread each needs none of the parent's.
        with ProcessPoolExecutor(workers, get_context("fork"), _begin, (run, mine)) as pool:
            self._watch(pool.map(_run, range(len(mine))), len(mine), title)

    def _watch(self, results: Iterator[None], total: int, title: str) -> None:
        for _ in progress(results, total, title) if self.first else results:
            pass


# What a worker was forked for.
_work: list[Callable[[int], None]] = []


def _begin(run: Callable[[Task], None], tasks: Sequence[Task]) -> None:
    # Killed with the process that forked it, whose folder the next run of the stage will use.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    torch.set_num_threads(1)
    _work[:] = [lambda place: run(tasks[place])]


def _run(place: int) -> None:
    _work[0](place)
