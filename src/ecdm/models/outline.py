"""Checking networks by their configurations and the headers of their weights, without reading gigabytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import PreTrainedModel

from ecdm.models.foundation import (
    LOCAL,
    PARTS,
    check_files,
    check_fit,
    check_folder,
    load_network,
    load_other,
    readable,
)


def check_foundation(folder: Path) -> None:
    """Check a foundation folder as `load_foundation` does, without reading weights whose headers tell enough.

    Raises: as `load_foundation`.
    """
    parts = {name: outline_part(folder / name, part) for name, part in PARTS.items()}
    check_fit(parts, {name: folder / name for name in PARTS})


def outline_part(folder: Path, part: Any) -> Any:
    """One component of a foundation, checked; a network with its configuration but mostly without its weights.

    Where the weights' headers have every name and shape that the configuration asks for, nothing else of them is read.
    Else the library decides: it knows the names of earlier versions. Raises: as `load_part`.
    """
    if not issubclass(part, torch.nn.Module):
        return load_other(folder, part)
    check_folder(folder, part)
    check_files(folder, part)
    with readable(folder, part):
        network = empty_network(folder, part)
    found = _shapes(folder, part)
    if all(found.get(name) == list(tensor.shape) for name, tensor in network.state_dict().items()):
        return network
    return load_network(folder, part)


def empty_network(folder: Path, part: Any) -> Any:
    """The network that a folder's config.json describes, without weights (on the meta device)."""
    with torch.device("meta"):
        if issubclass(part, PreTrainedModel):
            return part(part.config_class.from_pretrained(folder, **LOCAL))
        return part.from_config(part.load_config(folder, **LOCAL))


def _shapes(folder: Path, part: Any) -> dict[str, list[int]]:
    """The shape of every tensor in a folder's weights, from the files' headers."""
    shapes: dict[str, list[int]] = {}
    for path in weight_files(folder, part):
        with readable(folder, part), safe_open(path, "pt") as file:
            shapes |= {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    return shapes


def weight_files(folder: Path, part: Any) -> list[Path]:
    """The safetensors files that the libraries read for a network of class `part`, in order; none where there are none.

    Raises: ValueError naming an index that cannot be read.
    """
    single = folder / weights_name(part)
    index = single.with_name(f"{single.name}.index.json")
    if single.is_file() or not index.is_file():
        return [single] if single.is_file() else []
    with readable(folder, part):
        names = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        return [folder / name for name in sorted(set(names))]


def weights_name(part: Any) -> str:
    """The file of a network's weights in its folder."""
    return "model.safetensors" if issubclass(part, PreTrainedModel) else "diffusion_pytorch_model.safetensors"
