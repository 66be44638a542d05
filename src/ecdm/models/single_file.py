"""Components out of single .safetensors files, in Stable Diffusion's own names of the tensors or in diffusers'."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from diffusers.loaders import single_file_utils
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerBase

from ecdm.models.foundation import LOCAL, readable
from ecdm.models.outline import empty_network
from ecdm.models.sd15 import LATENT_CHANNELS, sd15_scheduler, write_config

# The UNet's first layer, in either kind of names.
FIRST_LAYER = ("model.diffusion_model.input_blocks.0.0.weight", "conv_in.weight")
DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16}
CONVERTERS: dict[Any, Any] = {
    AutoencoderKL: single_file_utils.convert_ldm_vae_checkpoint,
    UNet2DConditionModel: single_file_utils.convert_ldm_unet_checkpoint,
    ControlNetModel: single_file_utils.convert_controlnet_checkpoint,
}


def load_single_file(path: Path, part: Any, component: str, dtype: torch.dtype) -> Any:
    """Read the component of class `part` in a single file, a network in `dtype`, frozen, in evaluation mode.

    What a file cannot hold stands in the folder beside it that has its name without the suffix, there in `component`:
    the tokenizer, and the configuration of networks and scheduler where they are not Stable Diffusion 1.5's.
    Raises: FileNotFoundError without a tokenizer; ValueError naming file, component, the first key or shape at fault.
    """
    beside = path.with_suffix("") / component
    if issubclass(part, PreTrainedTokenizerBase):
        if not beside.is_dir():
            raise FileNotFoundError(f"{beside}: no such folder, expected the tokenizer, which {path.name} cannot hold")
        return load_published(beside, part)
    if not issubclass(part, torch.nn.Module):
        return load_published(beside, part) if beside.is_dir() else sd15_scheduler()
    with tempfile.TemporaryDirectory() as folder:
        if (beside / "config.json").is_file():
            shutil.copyfile(beside / "config.json", Path(folder) / "config.json")
        else:
            write_config(part, Path(folder), _channels(path, part))
        _check(path, part, component, Path(folder))
        with readable(path, part):
            if part is CLIPTextModel:
                load = single_file_utils.create_diffusers_clip_model_from_ldm
                network = load(part, load_file(path), config=folder, torch_dtype=dtype, **LOCAL)
            else:
                network = part.from_single_file(str(path), config=folder, torch_dtype=dtype, **LOCAL)
    return network.requires_grad_(False).eval()


def load_published(folder: Path, part: Any) -> Any:
    """Read a component without weights; a sampler's configuration, as published, as the training scheduler's."""
    with readable(folder, part):
        if part is not DDPMScheduler:
            return part.from_pretrained(folder, **LOCAL)
        # Without a word on clipping there is none: latents have no fixed range.
        return part.from_config({"clip_sample": False, **part.load_config(folder, **LOCAL)})


def file_dtype(path: Path) -> torch.dtype:
    """The kind of numbers that a file holds, judged by its first tensor."""
    with safe_open(path, "pt") as file:
        found = file.get_slice(next(iter(file.keys()))).get_dtype()
    return DTYPES.get(found, torch.float32)


def _check(path: Path, part: Any, component: str, config: Path) -> None:
    """Hold the names and shapes in the file's header against the configuration; raises ValueError.

    The libraries would go on with what is missing, or would not name it.
    """
    with readable(path, part), safe_open(path, "pt") as file:
        names = list(file.keys())
        content = {name: torch.empty(file.get_slice(name).get_shape(), device="meta") for name in names}
        network = empty_network(config, part)
        wanted = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
        if not wanted.keys() <= content.keys():
            content = _renamed(content, part, network.config)
    found = {name: list(tensor.shape) for name, tensor in content.items() if tensor is not None}
    where = f"{path}: {component or part.__name__}"
    missing = sorted(wanted.keys() - found.keys())
    if missing:
        raise ValueError(f"{where}: found no weights for {missing[0]} ({len(missing)} in all)")
    for name, shape in sorted(wanted.items()):
        if found[name] != shape:
            raise ValueError(f"{where}: {name}: found shape {found[name]}, expected {shape}")


def _renamed(content: dict[str, Tensor], part: Any, config: Any) -> dict[str, Tensor]:
    if part is CLIPTextModel:
        converted = single_file_utils.convert_ldm_clip_checkpoint(content)
        return {name.removeprefix("text_model."): tensor for name, tensor in converted.items()}
    return dict(CONVERTERS[part](content, config=dict(config)))


def _channels(path: Path, part: Any) -> int:
    with readable(path, part), safe_open(path, "pt") as file:
        names = [name for name in FIRST_LAYER if name in file.keys()]  # noqa: SIM118
        return int(file.get_slice(names[0]).get_shape()[1]) if names else LATENT_CHANNELS
