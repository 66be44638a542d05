"""Resume state of a training run: one safetensors file, replaced atomically, valid for one set of inputs."""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ecdm.training.fsdp import part, whole

History = list[tuple[int, str, float]]
# At the end of a name: a plain number, as some optimisers count their steps.
NUMBER = ":number"
# At the end of a file's name that is not whole yet.
BEGUN = ".tmp"


@dataclass
class State:
    """What training changes: parameters, their moving average if there is one, AdamW's moments, step and history."""

    parameters: list[nn.Parameter]
    average: Sequence[Tensor]
    optimiser: torch.optim.Optimizer
    step: int
    history: History


def save_state(path: Path, key: str, state: State, write: bool = True) -> None:
    """Write the state to `path`; a kill at any moment leaves the old file or the new one.

    Of a state in parts all processes gather the whole, and one of them is to `write` it.
    """
    tensors: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, tensor in _tensors(state):
        gathered = whole(tensor)
        if write:
            value = gathered.contiguous().cpu()
            # On a CPU the 8-bit optimiser has one table for all parameters, and a file no place for a second view.
            tensors[name] = value.clone() if value.data_ptr() in places else value
            places.add(value.data_ptr())
    if not write:
        return
    metadata = {"key": key, "step": str(state.step), "history": json.dumps(state.history)}
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of this process alone: another one may be at the same run, taken for lost by mistake.
    temporary = path.with_suffix(f".{os.getpid()}{BEGUN}")
    try:
        save_file(tensors, temporary, metadata)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def drop_state(path: Path) -> None:
    """Remove the file at `path`, and what processes that were killed while they wrote it have left."""
    for file in (path, *path.parent.glob(f"{glob.escape(path.stem)}.*{BEGUN}")):
        file.unlink(missing_ok=True)


def _tensors(state: State) -> Iterator[tuple[str, Tensor]]:
    for i, parameter in enumerate(state.parameters):
        yield f"{i}.parameter", parameter.detach()
        for name, value in state.optimiser.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                yield f"{i}.{name}", value
            else:
                yield f"{i}.{name}{NUMBER}", torch.tensor(value)
    for i, average in enumerate(state.average):
        yield f"{i}.average", average


def load_state(path: Path, key: str, state: State) -> bool:
    """Restore `state` in place from `path`; False when there is no file or it belongs to other inputs.

    Raises: ValueError when the file cannot be read.
    """
    with _opened(path, key) as stored:
        if stored is None:
            return False
        metadata = stored.metadata()
        _restore(state, {name: stored.get_tensor(name) for name in stored.keys()})  # noqa: SIM118
    state.step = int(metadata["step"])
    state.history[:] = _history(metadata)
    return True


def saved_history(path: Path, key: str) -> History:
    """The history up to the state at `path`; empty where `load_state` would restore none. Raises: as there."""
    with _opened(path, key) as stored:
        return [] if stored is None else _history(stored.metadata())


def _history(metadata: dict[str, str]) -> History:
    return [(int(s), str(n), float(v)) for s, n, v in json.loads(metadata["history"])]


@contextmanager
def _opened(path: Path, key: str) -> Iterator[Any]:
    """The file, or None where there is none of this key."""
    if not path.is_file():
        yield None
        return
    try:
        with safe_open(path, "pt") as stored:
            yield stored if (stored.metadata() or {})["key"] == key else None
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path}: not a readable checkpoint ({error}); delete it to start over") from error


@torch.no_grad()
def _restore(state: State, tensors: dict[str, Tensor]) -> None:
    for i, average in enumerate(state.average):
        average.copy_(part(tensors.pop(f"{i}.average"), average))
    for i, parameter in enumerate(state.parameters):
        parameter.copy_(part(tensors.pop(f"{i}.parameter"), parameter))
        names = [name for name in tensors if name.startswith(f"{i}.")]
        if names:
            moments = {name.split(".", 1)[1]: tensors.pop(name) for name in names}
            state.optimiser.state[parameter] = dict(_moment(state, parameter, *pair) for pair in moments.items())


def _moment(state: State, parameter: nn.Parameter, name: str, value: Tensor) -> tuple[str, Any]:
    if name.endswith(NUMBER):
        return name.removesuffix(NUMBER), value.item()
    if value.shape == parameter.shape:
        # In the memory layout of the weights: fused optimisers walk through both side by side.
        return name, torch.empty_like(parameter, dtype=value.dtype).copy_(part(value, parameter))
    # Only fused optimisers have their count of steps beside the weights.
    away = name == "step" and not state.optimiser.defaults.get("fused")
    return name, value.to("cpu" if away else parameter.device)
