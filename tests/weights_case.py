"""Settings that name pretrained networks, and what tests do with their files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from ecdm.config import Foundation, Pretrained, Weights
from ecdm.models.weights import read_pretrained

BASE, CANNY, INPAINT = "owner/base", "owner/canny", "owner/inpaint"
REVISION = "0123456789abcdef0123456789abcdef01234567"
PNDM = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
}


def settings(base: Path | str, canny: Path | str, inpaint: Path | str, revision: str | None = None) -> Foundation:
    entries = {"base": base, "controlnet_canny": canny, "controlnet_inpaint": inpaint}
    weights = {key: Weights(origin=str(origin), revision=revision) for key, origin in entries.items()}
    return Foundation(source="pretrained", path="assets", download=False, pretrained=Pretrained(**weights))


def of_folders(given: Path) -> Foundation:
    return settings(given / "base", given / "canny", given / "inpaint")


def hub_settings() -> Foundation:
    return settings(BASE, CANNY, INPAINT, REVISION)


def read(origin: Path | str, part: Any, component: str, revision: str | None = None) -> Any:
    return read_pretrained(Weights(origin=str(origin), revision=revision), part, component, False, "weights")


def weights_of(folder: Path) -> Path:
    (found,) = folder.glob("*.safetensors")
    return found


def change(path: Path, **tensors: torch.Tensor | None) -> None:
    """Replace tensors of a file; None leaves one out."""
    content = {**load_file(path), **{name.replace("__", "."): tensor for name, tensor in tensors.items()}}
    save_file({name: tensor for name, tensor in content.items() if tensor is not None}, path, {"format": "pt"})


def same(network: Any, other: Any) -> None:
    assert dict(network.state_dict()).keys() == dict(other.state_dict()).keys()
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(tensor, other.state_dict()[name], rtol=0, atol=0)


def recipe(message: str) -> str:
    """The program of a message that says how to convert a pickle."""
    found = re.search(r'python -c "(.+)"', message)
    assert found is not None
    return found[1]
