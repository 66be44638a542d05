"""The folders of the published methods' networks: what they load to, and how every fault of them is named."""

from __future__ import annotations

import json
import math
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel, UNet2DModel
from network_case import NAMES, small_clip, write_networks
from safetensors.torch import load_file
from torch import Tensor
from weights_case import weights_of

from ecdm.models import outline
from ecdm.models.networks import (
    NETWORK_PARTS,
    check_network,
    enlarged,
    glide_input,
    load_clip,
    load_glide,
    load_inpainting_unet,
    load_pixel,
)
from ecdm.models.sd15 import sd15_text_encoder, sd15_unet, sd15_vae

COMPONENTS = [(name, part) for name in NAMES for part in NETWORK_PARTS[name]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, parts: Any, foundation_folder: Path) -> Path:
    """All four networks; not to be written to."""
    folder = tmp_path_factory.mktemp("networks")
    write_networks(folder, parts, foundation_folder)
    return folder


@pytest.fixture
def given(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "given"))


@pytest.fixture
def load(parts: Any) -> Callable[[str, Path], Any]:
    """The loader of a network by name."""

    def find(name: str, folder: Path) -> Any:
        if name == "sd_inpaint":
            return load_inpainting_unet(folder, parts)
        return {"glide": load_glide, "pixel": load_pixel, "clip": load_clip}[name](folder)

    return find


def frozen(network: Any) -> bool:
    return not network.training and not any(p.requires_grad or p.dtype != torch.float32 for p in network.parameters())


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_all_load_frozen(made: Path, load: Callable[[str, Path], Any]) -> None:
    unet, glide, pixel, clip = (load(name, made / name) for name in NAMES)
    networks = [unet, glide.base.unet, glide.upsampler.unet, glide.text_encoder, pixel.unet, clip.model]
    assert all(frozen(network) for network in networks)
    assert unet.config.in_channels == 9
    assert (glide.base.size, glide.upsampler.size, pixel.size) == (8, 16, 16)
    assert (glide.base.unet.config.in_channels, glide.upsampler.unet.config.in_channels) == (7, 10)
    assert len(glide.tokenizer) == glide.text_encoder.config.vocab_size


def test_schedules_are_the_schedulers_own(made: Path) -> None:
    linear = (1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64)).cumprod(0)
    glide = load_glide(made / "glide")
    for found in (load_pixel(made / "pixel").schedule, glide.upsampler.schedule):
        torch.testing.assert_close(found.alpha_bar, linear, rtol=1e-4, atol=1e-7)
    angle = (torch.arange(1, 900, dtype=torch.float64) / 1000 + 0.008) / 1.008 * math.pi / 2
    expected = angle.cos() ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    torch.testing.assert_close(glide.base.schedule.alpha_bar[:899], expected, rtol=1e-3, atol=1e-6)


def test_the_noise_stands_before_a_learned_variance(made: Path) -> None:
    pixel = load_pixel(made / "pixel")
    output = pixel.unet(normal(2, 3, 16, 16), 7).sample
    assert output.shape == (2, 6, 16, 16)
    assert torch.equal(pixel.eps(output), output[:, :3])
    assert pixel.eps(output.double()).dtype == torch.float32


def test_clip_says_how_it_wants_its_images(made: Path) -> None:
    clip = load_clip(made / "clip")
    assert clip.size == 32
    assert clip.mean.shape == clip.deviation.shape == (1, 3, 1, 1)
    assert clip.mean.flatten().tolist() == pytest.approx([0.4, 0.5, 0.6])
    assert clip.deviation.flatten().tolist() == pytest.approx([0.2, 0.3, 0.4])


def test_the_pairs_input_has_its_channels_in_order() -> None:
    """Noisy image, known image, known mask, enlarged image; what the hole hides is nowhere in it."""
    x_t, images, low = normal(2, 3, 4, 4), normal(2, 3, 4, 4) + 9, normal(2, 3, 4, 4) - 9
    masks = torch.zeros(2, 1, 4, 4)
    masks[0, 0, 1, 2] = masks[1, 0, :2] = 1
    found = glide_input(x_t, images, masks, low)
    assert found.shape == (2, 10, 4, 4)
    assert torch.equal(found[:, :3], x_t)
    assert torch.equal(found[:, 6:7], 1 - masks)
    assert torch.equal(found[:, 7:], low)
    hole = masks.bool().expand(-1, 3, -1, -1)
    assert torch.equal(found[:, 3:6][~hole], images[~hole])
    assert not bool(found[:, 3:6][hole].any())
    assert torch.equal(glide_input(x_t, images, masks), found[:, :7])
    hidden = torch.where(hole, torch.nan, images)
    assert torch.equal(glide_input(x_t, hidden, masks.bool(), low), found)


def test_enlarging_is_bilinear_between_the_centres_of_pixels() -> None:
    ramp = torch.arange(4.0).expand(1, 3, 4, 4)
    row = enlarged(ramp, 16)[0, 1, 5]
    centres = np.clip((np.arange(16) + 0.5) / 4 - 0.5, 0, 3)
    np.testing.assert_allclose(row.numpy(), centres, atol=1e-6)


@pytest.mark.parametrize(("name", "part"), COMPONENTS)
def test_a_missing_component_is_named_with_its_network(
    given: Path, foundation_folder: Path, load: Callable[[str, Path], Any], name: str, part: str
) -> None:
    below, kind = NETWORK_PARTS[name][part]
    folder = given / name / below
    shutil.rmtree(folder)
    message = f"^{folder}: missing component of network {name}, expected a folder of class "
    for check in (load, lambda name, folder: check_network(name, folder, foundation_folder)):
        with pytest.raises(FileNotFoundError, match=message) as caught:
            check(name, given / name)
        # Where several share the folder, the first of them is looked for first.
        assert str(caught.value).endswith(kind.__name__ if below else "CLIPModel")


@pytest.mark.parametrize(
    ("name", "below"),
    [("sd_inpaint", "unet"), ("glide", "unet"), ("glide", "upsampler"), ("glide", "text_encoder"), ("pixel", "unet"),
     ("clip", "")],
)  # fmt: skip
def test_pickles_are_not_read(given: Path, load: Callable[[str, Path], Any], name: str, below: str) -> None:
    path = weights_of(given / name / below)
    other = "pytorch_model.bin" if path.stem == "model" else f"{path.stem}.bin"
    torch.save(load_file(path), path.with_name(other))
    path.unlink()
    with pytest.raises(ValueError, match=rf"^{given / name / below}: found no \*\.safetensors, expected a folder of"):
        load(name, given / name)


def _unet(folder: Path, **changes: Any) -> None:
    """The UNet of a folder with another configuration and weights that fit it."""
    config = json.loads((folder / "config.json").read_text())
    kind = UNet2DModel if config["_class_name"] == "UNet2DModel" else UNet2DConditionModel
    kind.from_config({**config, **changes}).save_pretrained(folder)


def _json(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


Spoil = Callable[[Path], None]
MISFITS: list[tuple[str, str, Spoil, str]] = [
    ("sd_inpaint", "unet", lambda f: _unet(f, in_channels=4), "in_channels: found 4, expected 9"),
    ("sd_inpaint", "unet", lambda f: _unet(f, out_channels=8), "out_channels: found 8, expected 4"),
    ("sd_inpaint", "unet", lambda f: _unet(f, cross_attention_dim=64), "cross_attention_dim: found 64, expected 96"),
    ("glide", "unet", lambda f: _unet(f, in_channels=10), "in_channels: found 10, expected 7"),
    ("glide", "upsampler", lambda f: _unet(f, in_channels=7), "in_channels: found 7, expected 10"),
    ("glide", "upsampler", lambda f: _unet(f, cross_attention_dim=64), "cross_attention_dim: found 64, expected 96"),
    ("glide", "unet", lambda f: _unet(f, out_channels=4), r"out_channels \(3, or 6 .+\): found 4, expected 3"),
    ("glide", "unet", lambda f: _unet(f, sample_size=None), "type of sample_size: found NoneType, expected int"),
    ("glide", "unet", lambda f: _unet(f, class_embed_type="simple_projection", projection_class_embeddings_input_dim=8),
     "class_embed_type: found simple_projection, expected None"),
    ("glide", "upsampler_scheduler", lambda f: _json(f / "scheduler_config.json", prediction_type="v_prediction"),
     "prediction_type: found v_prediction, expected epsilon"),
    ("glide", "tokenizer", lambda f: _json(f / "tokenizer_config.json", model_max_length=77),
     "model_max_length: found 77, expected 40"),
    ("pixel", "unet", lambda f: _unet(f, in_channels=6), "in_channels: found 6, expected 3"),
    ("pixel", "unet", lambda f: _unet(f, num_class_embeds=10), "num_class_embeds: found 10, expected None"),
    ("pixel", "scheduler", lambda f: _json(f / "scheduler_config.json", prediction_type="sample"),
     "prediction_type: found sample, expected epsilon"),
    ("clip", "", lambda f: small_clip(16).save_pretrained(f), r"entries: found \d+, expected 16"),
    ("clip", "", lambda f: _json(f / "preprocessor_config.json", image_mean=[0.5]),
     "means of channels: found 1, expected 3"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "below", "spoil", "message"), MISFITS)
def test_components_that_do_not_fit_are_named(
    given: Path,
    foundation_folder: Path,
    load: Callable[[str, Path], Any],
    name: str,
    below: str,
    spoil: Spoil,
    message: str,
) -> None:
    spoil(given / name / below)
    for check in (load, lambda name, folder: check_network(name, folder, foundation_folder)):
        with pytest.raises(ValueError, match=f"^{given / name / below}: {message}$"):
            check(name, given / name)


@pytest.mark.parametrize("name", NAMES)
def test_checking_reads_no_weights_that_fit(
    made: Path, foundation_folder: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path, part: Any) -> Any:
        raise AssertionError(f"{folder} was read")

    monkeypatch.setattr(outline, "load_network", refuse)
    check_network(name, made / name, foundation_folder)


def _headers_alone(folder: Path, network: Any, weights: str) -> None:
    """A network's folder whose weights, in half precision, are a header and a hole in the file system."""
    entries, end = {}, 0
    for name, tensor in network.state_dict().items():
        start, end = end, end + 2 * tensor.numel()
        entries[name] = {"dtype": "F16", "shape": list(tensor.shape), "data_offsets": [start, end]}
    header = json.dumps(entries).encode()
    folder.mkdir(parents=True)
    with (folder / weights).open("wb") as file:
        file.write(struct.pack("<Q", len(header)) + header)
        file.truncate(8 + len(header) + end)
    (getattr(network, "save_config", None) or network.config.save_pretrained)(folder)


@pytest.mark.parametrize("channels", [9, 4])
def test_the_published_inpainting_unet_fits_stable_diffusion(tmp_path: Path, channels: int) -> None:
    """At full size, by configurations and headers: two gigabytes of weights of which nothing is there."""
    with torch.device("meta"):
        unet, vae, text = sd15_unet(channels), sd15_vae(), sd15_text_encoder()
    name = "diffusion_pytorch_model.safetensors"
    _headers_alone(tmp_path / "inpainting" / "unet", unet, name)
    _headers_alone(tmp_path / "base" / "vae", vae, name)
    _headers_alone(tmp_path / "base" / "text_encoder", text, "model.safetensors")
    assert weights_of(tmp_path / "inpainting" / "unet").stat().st_size > 1.7e9
    if channels == 9:
        check_network("sd_inpaint", tmp_path / "inpainting", tmp_path / "base")
        return
    with pytest.raises(ValueError, match="unet: in_channels: found 4, expected 9"):
        check_network("sd_inpaint", tmp_path / "inpainting", tmp_path / "base")
