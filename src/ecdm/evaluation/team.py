"""The processes that share a stage's work: one, or those that `accelerate launch` started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list

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
