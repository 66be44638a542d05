"""The processes that share a stage's work: one, or those that `accelerate launch` started, each with workers."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from tqdm import tqdm

from ecdm.data.files import fresh_folder


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

    def share(self, run: Callable[[Any], None], tasks: Sequence[Any], title: str) -> None:
        """Run each task in one of the processes, under a progress bar; the first error ends it.

        A CPU's threads become workers of one thread each, which takes small networks to twice the speed that two
        threads give them, and makes results the same under any number of threads.
        """
        mine = tasks[self.index :: self.count]
        shown: dict[str, Any] = {"total": len(mine), "desc": title, "disable": None if self.first else True}
        workers = torch.get_num_threads() if self.device.type == "cpu" and sys.platform == "linux" else 1
        if workers == 1:
            for task in tqdm(mine, **shown):
                run(task)
            return
        # Forked, not started anew: what the tasks need is there already, and its memory is shared.
        context = get_context("fork")
        with ProcessPoolExecutor(workers, context, _prepare, (run, mine)) as pool:
            for _ in tqdm(pool.map(_run, range(len(mine))), **shown):
                pass


# What a worker was forked for.
_work: list[tuple[Callable[[Any], None], Sequence[Any]]] = []


def _prepare(run: Callable[[Any], None], tasks: Sequence[Any]) -> None:
    torch.set_num_threads(1)
    _work.append((run, tasks))


def _run(place: int) -> None:
    run, tasks = _work[-1]
    run(tasks[place])
