"""The full-size configurations against the layout of the published checkpoints, on tensors without memory."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import ldm_layout
import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, DDIMScheduler, UNet2DConditionModel
from diffusers.loaders.single_file_utils import (
    convert_controlnet_checkpoint,
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
)
from ldm_layout import Layout, Ldm
from transformers import CLIPTextModel, CLIPVisionModel

from ecdm.models.foundation import check_fit
from ecdm.models.sd15 import (
    sd15_controlnet,
    sd15_scheduler,
    sd15_text_encoder,
    sd15_unet,
    sd15_vae,
    write_config,
)

SD15 = Ldm()
# Counted by their authors: tensors and parameters of each part.
PUBLISHED = {
    sd15_unet: (686, 859_520_964),
    sd15_vae: (248, 83_653_863),
    sd15_text_encoder: (196, 123_060_480),
    sd15_controlnet: (340, 361_279_120),
}


def _meta(layout: Layout) -> dict[str, torch.Tensor]:
    return {name: torch.empty(shape, device="meta") for name, shape in layout.items()}


def _made(maker: Callable[[], Any]) -> Any:
    with torch.device("meta"):
        return maker()


def _shapes(tensors: dict[str, torch.Tensor]) -> Layout:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize("maker", PUBLISHED)
def test_tensors_and_parameters_are_as_many_as_published(maker: Callable[[], Any]) -> None:
    network = _made(maker)
    assert (len(network.state_dict()), sum(p.numel() for p in network.parameters())) == PUBLISHED[maker]


def test_the_layout_is_that_of_the_published_checkpoint() -> None:
    """Counts and some shapes known from the file itself, so that the layout is no mere copy of the networks."""
    found = ldm_layout.checkpoint(SD15)
    starts = ("model.diffusion_model.", "first_stage_model.", "cond_stage_model.")
    assert [sum(name.startswith(start) for name in found) for start in starts] == [686, 248, 197]
    unet = "model.diffusion_model."
    assert found[f"{unet}input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"] == (320, 768)
    assert found[f"{unet}output_blocks.11.0.skip_connection.weight"] == (320, 640, 1, 1)
    assert found[f"{unet}output_blocks.8.2.conv.weight"] == (640, 640, 3, 3)
    assert found["first_stage_model.encoder.mid.attn_1.q.weight"] == (512, 512, 1, 1)
    assert len(ldm_layout.controlnet(SD15)) == 340
    assert sum(prod(shape) for shape in ldm_layout.controlnet(SD15).values()) == 361_279_120


@pytest.mark.parametrize("inputs", [4, 9])
def test_the_unet_is_the_checkpoints(inputs: int) -> None:
    unet = _made(lambda: sd15_unet(inputs))
    found = convert_ldm_unet_checkpoint(_meta(ldm_layout.unet(Ldm(inputs=inputs))), dict(unet.config))
    assert _shapes(found) == _shapes(unet.state_dict())


def test_the_autoencoder_is_the_checkpoints() -> None:
    vae = _made(sd15_vae)
    found = convert_ldm_vae_checkpoint(_meta(ldm_layout.vae(SD15)), dict(vae.config))
    assert _shapes(found) == _shapes(vae.state_dict())
    assert vae.config.scaling_factor == 0.18215


def test_the_text_encoder_is_the_checkpoints() -> None:
    names = ldm_layout.checkpoint(SD15)
    found = _shapes(convert_ldm_clip_checkpoint(_meta(names)))
    # Numbered positions are no weights, and newer versions leave out the class's own name.
    kept = {k.removeprefix("text_model."): v for k, v in found.items() if not k.endswith("position_ids")}
    assert kept == _shapes(_made(sd15_text_encoder).state_dict())


def test_the_controlnet_is_the_checkpoints() -> None:
    branch = _made(sd15_controlnet)
    found = convert_controlnet_checkpoint(_meta(ldm_layout.controlnet(SD15)), dict(branch.config))
    assert _shapes(found) == _shapes(branch.state_dict())


def test_the_schedule_is_the_published_one() -> None:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    scheduler = sd15_scheduler()
    torch.testing.assert_close(scheduler.alphas_cumprod.double(), (1 - betas).cumprod(0), rtol=1e-4, atol=1e-7)
    found = {key: scheduler.config[key] for key in ("prediction_type", "clip_sample", "steps_offset")}
    assert found == {"prediction_type": "epsilon", "clip_sample": False, "steps_offset": 1}
    # The last step of DDIM ends at the least noise of training.
    assert DDIMScheduler.from_config(scheduler.config).final_alpha_cumprod == scheduler.alphas_cumprod[0]


def test_the_parts_fit_each_other() -> None:
    class Tokens:
        model_max_length = 77

        def __len__(self) -> int:
            return 49408

    parts = {"vae": sd15_vae, "text_encoder": sd15_text_encoder, "unet": sd15_unet}
    parts |= dict.fromkeys(("controlnet_canny", "controlnet_inpaint"), sd15_controlnet)
    made = {name: _made(maker) for name, maker in parts.items()}
    places = {name: name for name in (*made, "tokenizer", "scheduler")}
    check_fit({**made, "tokenizer": Tokens(), "scheduler": sd15_scheduler()}, places)
    unlike = {**made, "unet": _made(lambda: sd15_unet(9)), "tokenizer": Tokens(), "scheduler": sd15_scheduler()}
    with pytest.raises(ValueError, match="unet: in_channels: found 9, expected 4"):
        check_fit(unlike, places)


@pytest.mark.parametrize("part", [AutoencoderKL, UNet2DConditionModel, ControlNetModel, CLIPTextModel])
def test_a_written_configuration_makes_the_same_network(part: Any, tmp_path: Path) -> None:
    write_config(part, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert str(tmp_path) not in (tmp_path / "config.json").read_text()
    with torch.device("meta"):
        if part is CLIPTextModel:
            network = part(part.config_class.from_pretrained(tmp_path))
        else:
            network = part.from_config(part.load_config(tmp_path))
    makers = {AutoencoderKL: sd15_vae, UNet2DConditionModel: sd15_unet, ControlNetModel: sd15_controlnet}
    expected = _made(makers.get(part, sd15_text_encoder))
    assert _shapes(network.state_dict()) == _shapes(expected.state_dict())


def test_there_is_no_configuration_for_other_classes(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found CLIPVisionModel, expected one of AutoencoderKL, UNet"):
        write_config(CLIPVisionModel, tmp_path)
