"""Resume state of a training run: one safetensors file, replaced atomically, valid for one set of inputs."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

History = list[tuple[int, str, float]]


@dataclass
class State:
    """What training changes: parameters, their moving average, AdamW's moments, the step and the history."""

    parameters: list[nn.Parameter]
    average: Sequence[Tensor]
    optimiser: torch.optim.Optimizer
    step: int
    history: History


def save_state(path: Path, key: str, state: State) -> None:
    """Write the state to `path`; a kill at any moment leaves the old file or the new one."""
    tensors: dict[str, Tensor] = {}
    for i, (parameter, average) in enumerate(zip(state.parameters, state.average, strict=True)):
        tensors[f"{i}.parameter"], tensors[f"{i}.average"] = parameter.detach(), average
        moments = state.optimiser.state.get(parameter, {})
        tensors |= {f"{i}.{name}": value for name, value in moments.items()}
    metadata = {"key": key, "step": str(state.step), "history": json.dumps(state.history)}
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    save_file({name: tensor.contiguous().cpu() for name, tensor in tensors.items()}, temporary, metadata)
    os.replace(temporary, path)


def load_state(path: Path, key: str, state: State) -> bool:
    """Restore `state` in place from `path`; False when there is no file or it belongs to other inputs.

    Raises: ValueError when the file cannot be read.
    """
    if not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as stored:
            metadata = stored.metadata() or {}
            if metadata["key"] != key:
                return False
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (SafetensorError, KeyError) as error:
        raise ValueError(f"{path}: not a readable checkpoint ({error}); delete it to start over") from error
    _restore(state, tensors)
    state.step = int(metadata["step"])
    state.history[:] = [(int(s), str(n), float(v)) for s, n, v in json.loads(metadata["history"])]
    return True


@torch.no_grad()
def _restore(state: State, tensors: dict[str, Tensor]) -> None:
    for i, (parameter, average) in enumerate(zip(state.parameters, state.average, strict=True)):
        parameter.copy_(tensors.pop(f"{i}.parameter"))
        average.copy_(tensors.pop(f"{i}.average"))
        names = [name for name in tensors if name.startswith(f"{i}.")]
        if names:
            state.optimiser.state[parameter] = {
                name.split(".", 1)[1]: tensors.pop(name).to("cpu" if name.endswith(".step") else parameter.device)
                for name in names
            }
