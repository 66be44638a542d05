"""The foundation's folder: what it loads to, and how every fault of it is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers.utils import logging as transformers_logging

from ecdm.models.foundation import NETWORKS, PARTS, align, at_once, load_foundation, load_network


@pytest.fixture
def folder(foundation_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(foundation_folder, tmp_path / "foundation"))


def picture(count: int = 2) -> Tensor:
    return torch.rand((count, 3, 32, 32), generator=torch.Generator().manual_seed(0))


def weights_of(folder: Path) -> Path:
    (found,) = folder.glob("*.safetensors")
    return found


def test_networks_are_frozen_and_in_float32(parts: Any) -> None:
    for name in NETWORKS:
        network = getattr(parts, name)
        assert not network.training
        assert not any(parameter.requires_grad for parameter in network.parameters())
        assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def test_half_precision_files_are_read_as_float32(folder: Path) -> None:
    for name in NETWORKS:
        path = weights_of(folder / name)
        save_file({k: v.half() for k, v in load_file(path).items()}, path, {"format": "pt"})
    loaded = load_foundation(folder)
    dtypes = {p.dtype for name in NETWORKS for p in getattr(loaded, name).parameters()}
    assert dtypes == {torch.float32}


def test_latents_are_those_of_diffusers(parts: Any) -> None:
    images, eps = picture(), torch.randn((2, 4, 4, 4), generator=torch.Generator().manual_seed(1))
    posterior, scale = parts.vae.encode(images * 2 - 1).latent_dist, parts.vae.config.scaling_factor
    moments = parts.moments(images)
    torch.testing.assert_close(parts.latents(moments), posterior.mode() * scale)
    torch.testing.assert_close(parts.latents(moments, eps), (posterior.mean + posterior.std * eps) * scale)
    assert scale == 1.5
    assert parts.factor == 8


def test_decoding_undoes_the_scale_and_stays_in_range(parts: Any) -> None:
    z0 = 3 * torch.randn((2, 4, 4, 4), generator=torch.Generator().manual_seed(1))
    raw = parts.vae.decode(z0 / 1.5).sample
    found = parts.decode(z0)
    assert bool((raw.abs() > 1).any())
    torch.testing.assert_close(found, ((raw + 1) / 2).clamp(0, 1))


def test_the_schedule_is_the_schedulers(parts: Any) -> None:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    torch.testing.assert_close(parts.schedule.alpha_bar, (1 - betas).cumprod(0), rtol=1e-4, atol=1e-7)


def test_a_caption_of_any_length_has_as_many_embeddings(parts: Any) -> None:
    found = parts.embed(["", "a red circle", "a red circle " * 40])
    assert found.shape == (3, 40, 96)
    torch.testing.assert_close(parts.embed(["a red circle"])[0], found[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PARTS)
def test_a_missing_component_is_named(folder: Path, name: str) -> None:
    shutil.rmtree(folder / name)
    with pytest.raises(FileNotFoundError, match=f"{folder / name}: missing component"):
        load_foundation(folder)


def _truncated(folder: Path) -> None:
    path = weights_of(folder)
    path.write_bytes(path.read_bytes()[:-100])


def _garbage(folder: Path) -> None:
    weights_of(folder).write_bytes(b"not safetensors at all")


def _pickle_only(folder: Path) -> None:
    """The weights as a pickle, under the name that the libraries fall back to."""
    path = weights_of(folder)
    torch.save(load_file(path), path.with_suffix(".bin").with_name(_pickle_name(path)))
    path.unlink()


def _pickle_name(path: Path) -> str:
    return "pytorch_model.bin" if path.stem == "model" else f"{path.stem}.bin"


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _other_shape(folder: Path) -> None:
    path = weights_of(folder)
    weights = load_file(path)
    name = max(weights, key=lambda key: weights[key].ndim)
    save_file({**weights, name: weights[name][:-1].contiguous()}, path, {"format": "pt"})


def _lost_weight(folder: Path) -> None:
    path = weights_of(folder)
    weights = load_file(path)
    weights.pop(max(weights, key=lambda key: weights[key].numel()))
    save_file(weights, path, {"format": "pt"})


FAULTS: dict[Callable[[Path], None], str] = {
    _truncated: r"found files that cannot be read \(.+\)",
    _garbage: r"found files that cannot be read \(.+\)",
    _pickle_only: r"found no \*\.safetensors",
    _no_config: r"found no config\.json",
    _broken_config: r"found files that cannot be read \(.+\)",
    _other_shape: r"(\S+: found shape \[.+\], expected \[.+\]$|found files .+ \(.+ expected shape .+\), expected)",
    _lost_weight: r"found no weights for \S+ \(1 in all\)",
}


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("spoil", FAULTS)
def test_weights_that_cannot_be_read_are_named(
    folder: Path, name: str, spoil: Callable[[Path], None], capfd: pytest.CaptureFixture[str]
) -> None:
    spoil(folder / name)
    capfd.readouterr()
    with pytest.raises(ValueError, match=f"{folder / name}: {FAULTS[spoil]}") as caught:
        load_foundation(folder)
    message = str(caught.value)
    assert "shape" in message or message.endswith(f", expected a folder of class {PARTS[name].__name__}")
    assert len(message) < len(str(folder)) + 300
    assert capfd.readouterr() == ("", "")


def test_the_libraries_are_as_loud_as_before(folder: Path) -> None:
    logs: tuple[Any, Any] = (diffusers_logging, transformers_logging)
    before = [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs]
    assert all(bars for _, bars in before)
    load_foundation(folder)
    assert [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs] == before
    _truncated(folder / "unet")
    with pytest.raises(ValueError, match="unet: found files"):
        load_foundation(folder)
    assert [(log.get_verbosity(), log.is_progress_bar_enabled()) for log in logs] == before


def test_an_empty_scheduler_folder_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "scheduler")
    (folder / "scheduler").mkdir()
    with pytest.raises(ValueError, match=f"{folder / 'scheduler'}: found files that cannot be read"):
        load_foundation(folder)


def test_an_empty_tokenizer_folder_is_named(folder: Path, parts: Any) -> None:
    """The library makes an empty tokenizer of it."""
    shutil.rmtree(folder / "tokenizer")
    (folder / "tokenizer").mkdir()
    expected = parts.text_encoder.config.vocab_size
    with pytest.raises(ValueError, match=rf"{folder / 'tokenizer'}: entries: found \d, expected {expected}"):
        load_foundation(folder)


def test_a_tokenizer_of_another_length_is_named(folder: Path) -> None:
    path = folder / "tokenizer" / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "model_max_length": 77}))
    with pytest.raises(ValueError, match=f"{folder / 'tokenizer'}: model_max_length: found 77, expected 40"):
        load_foundation(folder)


def _configured(folder: Path, **changes: Any) -> None:
    """A network of another configuration, with weights that fit it."""
    config = json.loads((folder / "config.json").read_text())
    UNet2DConditionModel.from_config({**config, **changes}).save_pretrained(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"in_channels": 9}, "in_channels: found 9, expected 4"),
        ({"out_channels": 8}, "out_channels: found 8, expected 4"),
        ({"cross_attention_dim": 64}, "cross_attention_dim: found 64, expected 96"),
    ],
)
def test_a_unet_that_does_not_fit_is_named(folder: Path, changes: dict[str, int], message: str) -> None:
    _configured(folder / "unet", **changes)
    with pytest.raises(ValueError, match=f"{folder / 'unet'}: {message}"):
        load_foundation(folder)


@pytest.mark.parametrize("name", ["controlnet_canny", "controlnet_inpaint"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"block_out_channels": (16, 24, 40)}, r"block_out_channels: found \[16, 24, 40\], expected \[16, 24, 32\]"),
        ({"layers_per_block": 2}, "layers_per_block: found 2, expected 1"),
        ({"conditioning_channels": 4}, "conditioning_channels: found 4, expected 3"),
        (
            {"conditioning_embedding_out_channels": (8, 8, 16)},
            r"pixels per cell of the hint, a side \(the vae's\): found 4, expected 8",
        ),
    ],
)
def test_a_branch_that_does_not_fit_is_named(folder: Path, name: str, changes: dict[str, Any], message: str) -> None:
    config = json.loads((folder / name / "config.json").read_text())
    PARTS[name].from_config({**config, **changes}).save_pretrained(folder / name)
    with pytest.raises(ValueError, match=f"{folder / name}: {message}"):
        load_foundation(folder)


def test_an_autoencoder_of_another_factor_is_refused(folder: Path) -> None:
    """Its three levels make a cell of 4 x 4 pixels; the hints' cells stay 8 x 8."""
    config = json.loads((folder / "vae" / "config.json").read_text())
    smaller = {key: config[key][:3] for key in ("block_out_channels", "down_block_types", "up_block_types")}
    AutoencoderKL.from_config({**config, **smaller}).save_pretrained(folder / "vae")
    with pytest.raises(ValueError, match=r"controlnet_canny: pixels per cell .* \(the vae's\): found 8, expected 4"):
        load_foundation(folder)


def test_a_scheduler_for_another_prediction_is_named(folder: Path) -> None:
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": "v_prediction"}))
    expected = f"{folder / 'scheduler'}: prediction_type: found v_prediction, expected epsilon"
    with pytest.raises(ValueError, match=expected):
        load_foundation(folder)


def test_components_move_as_a_whole(folder: Path) -> None:
    loaded = load_foundation(folder)
    assert loaded.device == torch.device("cpu")
    assert loaded.to(torch.device("meta")) is loaded
    found = {p.device.type for name in NETWORKS for p in getattr(loaded, name).parameters()}
    assert found == {loaded.device.type} == {"meta"}


def test_the_autoencoder_takes_a_batch_in_slices(parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [at_once(size) for size in (128, 512, 4096)] == [32, 2, 1]
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    whole = parts.moments(images)
    decoded = parts.decode(parts.latents(whole))
    monkeypatch.setattr("ecdm.models.foundation.PIXELS", 2 * 32**2)
    taken: list[int] = []
    handles = [
        module.register_forward_pre_hook(lambda _, inputs: taken.append(len(inputs[0])))
        for module in (parts.vae.encoder, parts.vae.decoder)
    ]
    try:
        sliced = parts.moments(images)
        assert taken == [2, 2, 1]
        torch.testing.assert_close(sliced, whole, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(parts.decode(parts.latents(whole)), decoded, rtol=1e-4, atol=1e-5)
        assert taken == [2, 2, 1, 2, 2, 1]
    finally:
        for handle in handles:
            handle.remove()


def test_weights_begin_where_torchs_own_do(foundation_folder: Path) -> None:
    """Files that are mapped as they are may put them anywhere, which shows in the last bits of a product."""
    unet = load_network(foundation_folder / "unet", PARTS["unet"])
    assert {tensor.data_ptr() % 64 for tensor in unet.state_dict().values()} == {0}
    layer = nn.Linear(3, 2)
    values = torch.arange(7.0)
    layer.weight.data = values[1:].view(2, 3)
    assert layer.weight.data_ptr() % 64
    align(layer)
    assert layer.weight.data_ptr() % 64 == 0
    assert torch.equal(layer.weight.data, values[1:].view(2, 3))
