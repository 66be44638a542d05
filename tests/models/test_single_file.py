"""Networks out of single files: what they become, and how faults are named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import ldm_layout
import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, DDPMScheduler, UNet2DConditionModel
from ldm_layout import Layout, Ldm
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel
from weights_case import change, read, recipe, same, settings, weights_of

from ecdm.config import Foundation
from ecdm.models.foundation import PARTS, load_foundation
from ecdm.models.weights import write_pretrained


def _ldm(parts: Any) -> Ldm:
    return Ldm(
        channels=(16, 24, 32),
        attention=(True, True, False),
        layers=1,
        context=96,
        vae_channels=(8, 8, 16, 16),
        vae_layers=1,
        vocabulary=len(parts.tokenizer),
        tokens=40,
        text_layers=2,
        hint=(8, 8, 16, 16),
    )


def _drawn(layout: Layout) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {name: torch.randn(shape, generator=generator).half() for name, shape in layout.items()}


@pytest.fixture
def files(given: Path, parts: Any) -> Path:
    """The same networks with other weights as single files in Stable Diffusion's own names, in half precision."""
    ldm = _ldm(parts)
    save_file(_drawn(ldm_layout.checkpoint(ldm)), given / "base.safetensors")
    save_file(_drawn(ldm_layout.controlnet(ldm)), given / "canny.safetensors")
    # A ControlNet's file may have diffusers' names as well.
    shutil.copyfile(weights_of(given / "inpaint"), given / "inpaint.safetensors")
    for path in (*given.rglob("*.safetensors"), given / "base" / "scheduler" / "scheduler_config.json"):
        if path.parent != given:
            path.unlink()
    (given / "base" / "scheduler").rmdir()
    return given


def of_files(files: Path) -> Foundation:
    base, canny, inpaint = (files / f"{name}.safetensors" for name in ("base", "canny", "inpaint"))
    return settings(base, canny, inpaint)


def test_single_files_become_a_foundation(files: Path, parts: Any, tmp_path: Path) -> None:
    target = tmp_path / "foundation"
    write_pretrained(of_files(files), target)
    assert {tensor.dtype for tensor in load_file(weights_of(target / "unet")).values()} == {torch.float16}
    assert not any(str(tmp_path) in path.read_text() for path in target.rglob("*.json"))
    loaded, drawn = load_foundation(target), load_file(files / "base.safetensors")
    pairs = {
        ("unet", "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight"):
            "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight",
        ("unet", "up_blocks.2.resnets.1.conv_shortcut.weight"):
            "model.diffusion_model.output_blocks.5.0.skip_connection.weight",
        ("vae", "decoder.up_blocks.0.resnets.0.norm1.bias"): "first_stage_model.decoder.up.3.block.0.norm1.bias",
        ("text_encoder", "encoder.layers.1.mlp.fc2.weight"):
            "cond_stage_model.transformer.text_model.encoder.layers.1.mlp.fc2.weight",
    }  # fmt: skip
    for (name, key), source in pairs.items():
        torch.testing.assert_close(getattr(loaded, name).state_dict()[key], drawn[source].float())
    hint = load_file(files / "canny.safetensors")["control_model.input_hint_block.14.weight"].float()
    torch.testing.assert_close(loaded.controlnet_canny.controlnet_cond_embedding.conv_out.weight.data, hint)
    same(loaded.controlnet_inpaint, parts.controlnet_inpaint)
    found = {key: loaded.scheduler.config[key] for key in ("steps_offset", "clip_sample", "beta_end")}
    assert found == {"steps_offset": 1, "clip_sample": False, "beta_end": 0.012}


def test_a_single_file_needs_a_tokenizer_beside_it(files: Path, tmp_path: Path) -> None:
    shutil.rmtree(files / "base" / "tokenizer")
    message = f"{files / 'base' / 'tokenizer'}: no such folder, expected the tokenizer, which base.safetensors cannot"
    with pytest.raises(FileNotFoundError, match=message):
        write_pretrained(of_files(files), tmp_path / "foundation")


LDM_BIAS = "model.diffusion_model.input_blocks.0.0.bias"


@pytest.mark.parametrize(
    ("name", "tensor", "shape", "part", "message"),
    [
        ("base", LDM_BIAS, None, UNet2DConditionModel, r"unet: found no weights for conv_in\.bias \(1 in all\)"),
        ("base", LDM_BIAS, (15,), UNet2DConditionModel, r"unet: conv_in\.bias: found shape \[15\], expected \[16\]"),
        ("base", "first_stage_model.quant_conv.bias", None, AutoencoderKL, r"vae: found no weights for quant_conv"),
        (
            "base",
            "cond_stage_model.transformer.text_model.final_layer_norm.bias",
            None,
            CLIPTextModel,
            r"text_encoder: found no weights for final_layer_norm\.bias",
        ),
        ("canny", "control_model.time_embed.0.bias", None, ControlNetModel, r"found no weights for time_embedding"),
    ],
)
def test_single_files_at_fault_are_named(
    files: Path, name: str, tensor: str, shape: tuple[int, ...] | None, part: Any, message: str
) -> None:
    path = files / f"{name}.safetensors"
    change(path, **{tensor: None if shape is None else torch.zeros(shape)})
    component = next(key for key, kind in PARTS.items() if kind is part) if name == "base" else ""
    with pytest.raises(ValueError, match=f"^{path}: .*{message}"):
        read(path, part, component)


def test_a_single_file_of_another_size_is_named(files: Path) -> None:
    """Without a configuration beside it a file is taken for Stable Diffusion 1.5's."""
    shutil.rmtree(files / "base")
    path = files / "base.safetensors"
    message = rf"^{path}: unet: found no weights for down_blocks"
    with pytest.raises(ValueError, match=message):
        read(path, UNet2DConditionModel, "unet")
    found = read(path, DDPMScheduler, "scheduler")
    assert found.config.steps_offset == 1


def test_a_pickled_file_is_refused_with_what_converts_it(files: Path) -> None:
    path = files / "base.ckpt"
    content = load_file(files / "base.safetensors")
    torch.save({"state_dict": content, "step": 3}, path)
    (files / "base.safetensors").unlink()
    with pytest.raises(ValueError, match=rf"{path}: found a pickle \(weights\.from\), expected safetensors") as caught:
        read(path, UNet2DConditionModel, "unet")
    exec(recipe(str(caught.value)), {})
    converted = load_file(files / "base.safetensors")
    assert all(torch.equal(converted[name], tensor) for name, tensor in content.items())
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{path}: no such file \(weights\.from\)"):
        read(path, UNet2DConditionModel, "unet")
