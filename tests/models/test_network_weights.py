"""Pretrained networks of the published methods from folders, from the hub and from a single file, and their faults."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import hub_server
import huggingface_hub
import ldm_layout
import pytest
import torch
from ldm_layout import Ldm
from network_case import NAMES, made_networks, write_networks
from safetensors.torch import load_file, save_file
from weights_case import PNDM, REVISION, recipe, same, weights_of

from ecdm.config import Networks, Params, Weights, load_params
from ecdm.models.networks import load_clip, load_glide, load_inpainting_unet, load_pixel
from ecdm.models.weights import write_network
from ecdm.stage import run

Digests = Callable[[Path], dict[str, str]]


@pytest.fixture
def published(tmp_path: Path, parts: Any, foundation_folder: Path) -> Path:
    """The four networks as they are published, with what nobody needs beside."""
    folder = tmp_path / "published"
    write_networks(folder, parts, foundation_folder)
    shutil.copytree(foundation_folder / "vae", folder / "sd_inpaint" / "vae")
    (folder / "sd_inpaint" / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"another variant")
    for name in ("pytorch_model.bin", "README.md", "tf_model.h5"):
        (folder / "clip" / name).write_bytes(b"another form")
    return folder


@pytest.fixture(scope="session")
def params(made_tree: Path) -> Params:
    return load_params(made_tree / "params.yaml")


@pytest.fixture
def settings(params: Params, published: Path) -> Callable[..., Networks]:
    """The section `networks` of source pretrained, each from its folder but for the given origins."""

    def make(download: bool = False, revision: str | None = None, **origins: Path | str) -> Networks:
        entries = {
            name: Weights(
                origin=str(origins.get(name, published / name)), revision=revision if name in origins else None
            )
            for name in NAMES
        }
        pretrained = params.networks.pretrained.model_copy(update=entries)
        update = {"source": "pretrained", "names": list(NAMES), "download": download, "pretrained": pretrained}
        return params.networks.model_copy(update=update)

    return make


@pytest.fixture
def hub(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All four in the hub's cache as its library keeps them: links to blobs."""
    cache = tmp_path / "cache"
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    for name in NAMES:
        place = cache / f"models--owner--{name}"
        (place / "blobs").mkdir(parents=True)
        for i, path in enumerate(sorted(path for path in (published / name).rglob("*") if path.is_file())):
            link = place / "snapshots" / REVISION / path.relative_to(published / name)
            link.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, place / "blobs" / str(i))
            link.symlink_to(place / "blobs" / str(i))
    return cache


def test_folders_become_networks(
    settings: Callable[..., Networks], parts: Any, foundation_folder: Path, tmp_path: Path
) -> None:
    target, expected = tmp_path / "build", made_networks(parts)
    for name in NAMES:
        write_network(settings(), name, foundation_folder, target / name)
    same(load_inpainting_unet(target / "sd_inpaint", parts), expected["sd_inpaint"]["unet"])
    glide, pixel, clip = load_glide(target / "glide"), load_pixel(target / "pixel"), load_clip(target / "clip")
    same(glide.base.unet, expected["glide"]["unet"])
    same(glide.upsampler.unet, expected["glide"]["upsampler"])
    same(glide.text_encoder, parts.text_encoder)
    same(pixel.unet, expected["pixel"]["unet"])
    same(clip.model, expected["clip"][""])
    assert clip.deviation.flatten().tolist() == pytest.approx([0.2, 0.3, 0.4])
    assert clip.tokenizer("a red circle").input_ids == parts.tokenizer("a red circle").input_ids
    schedules = [glide.base.schedule.alpha_bar, glide.upsampler.schedule.alpha_bar, pixel.schedule.alpha_bar]
    assert torch.equal(schedules[1], schedules[2])
    assert not torch.equal(schedules[0], schedules[1])
    files = [path.relative_to(target) for path in target.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} == {".json", ".safetensors"}
    assert not any("fp16" in path.name or "vae" in path.parts for path in files)
    assert not any(str(tmp_path) in (target / path).read_text() for path in files if path.suffix == ".json")


@pytest.mark.parametrize("name", NAMES)
def test_networks_of_the_cache_are_linked(
    settings: Callable[..., Networks], hub: Path, foundation_folder: Path, tmp_path: Path, digests: Digests, name: str
) -> None:
    write_network(settings(), name, foundation_folder, tmp_path / "folder")
    cached = settings(revision=REVISION, **{name: f"owner/{name}"})
    write_network(cached, name, foundation_folder, tmp_path / "hub")
    assert digests(tmp_path / "hub") == digests(tmp_path / "folder")
    blobs = {path.stat().st_ino for path in hub.glob("*/blobs/*")}
    linked = {path for path in (tmp_path / "hub").rglob("*") if path.stat().st_ino in blobs}
    assert linked == set((tmp_path / "hub").rglob("*.safetensors"))


def test_only_what_is_needed_is_downloaded(
    settings: Callable[..., Networks],
    published: Path,
    foundation_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    origins = {"clip": "owner/clip", "sd_inpaint": "owner/sd_inpaint"}
    missing = rf"owner/clip@{REVISION}: not in the cache .+ \(networks\.pretrained\.clip\), .+networks\.download: true"
    with pytest.raises(FileNotFoundError, match=missing):
        write_network(settings(revision=REVISION, **origins), "clip", foundation_folder, tmp_path / "no")
    wanted = settings(download=True, revision=REVISION, **origins)
    folders = {f"owner/{name}": published / name for name in ("clip", "sd_inpaint")}
    with hub_server.serve(folders, REVISION, monkeypatch) as asked:
        for name in ("clip", "sd_inpaint"):
            write_network(wanted, name, foundation_folder, tmp_path / name)
        fetched = set(asked)
    texts = {"tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"}
    expected = {f"clip/{file}" for file in texts | {"config.json", "model.safetensors"}}
    expected |= {f"sd_inpaint/unet/{file}" for file in ("config.json", "diffusion_pytorch_model.safetensors")}
    assert fetched == expected
    assert load_clip(tmp_path / "clip").size == 32


def test_a_published_sampler_becomes_the_training_schedule(
    settings: Callable[..., Networks], published: Path, foundation_folder: Path, tmp_path: Path
) -> None:
    path = published / "pixel" / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(PNDM))
    write_network(settings(), "pixel", foundation_folder, tmp_path / "pixel")
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    found = load_pixel(tmp_path / "pixel").schedule.alpha_bar
    torch.testing.assert_close(found, (1 - betas).cumprod(0), rtol=1e-4, atol=1e-7)


def test_a_single_file_becomes_the_inpainting_unet(
    settings: Callable[..., Networks], parts: Any, foundation_folder: Path, published: Path, tmp_path: Path
) -> None:
    """In Stable Diffusion's own names; its nine channels are found in the file."""
    ldm = Ldm(channels=(16, 24, 32), attention=(True, True, False), layers=1, context=96, inputs=9)
    generator = torch.Generator().manual_seed(1)
    drawn = {name: torch.randn(shape, generator=generator).half() for name, shape in ldm_layout.unet(ldm).items()}
    file = tmp_path / "inpainting.safetensors"
    save_file(drawn, file)
    (tmp_path / "inpainting" / "unet").mkdir(parents=True)
    shutil.copyfile(published / "sd_inpaint/unet/config.json", tmp_path / "inpainting/unet/config.json")
    write_network(settings(sd_inpaint=file), "sd_inpaint", foundation_folder, tmp_path / "network")
    found = load_inpainting_unet(tmp_path / "network", parts).state_dict()["conv_in.weight"]
    torch.testing.assert_close(found, drawn["model.diffusion_model.input_blocks.0.0.weight"].float())
    assert {tensor.dtype for tensor in load_file(weights_of(tmp_path / "network/unet")).values()} == {torch.float16}


@pytest.mark.parametrize("name", ["glide", "pixel", "clip"])
def test_a_single_file_is_no_network_of_several_components(
    settings: Callable[..., Networks], foundation_folder: Path, tmp_path: Path, name: str
) -> None:
    file = tmp_path / "all.safetensors"
    save_file({"weight": torch.zeros(1)}, file)
    message = rf"^{file}: found a single file \(networks\.pretrained\.{name}\.from\), expected a hub id or a folder of "
    with pytest.raises(ValueError, match=message):
        write_network(settings(**{name: file}), name, foundation_folder, tmp_path / "network")
    assert not (tmp_path / "network").exists()


@pytest.mark.parametrize(
    ("name", "below", "kind"),
    [("sd_inpaint", "unet", "UNet2DConditionModel"), ("glide", "upsampler_scheduler", "DDPMScheduler"),
     ("glide", "text_encoder", "CLIPTextModel"), ("pixel", "unet", "UNet2DModel")],
)  # fmt: skip
def test_a_missing_component_is_one_line_and_the_old_network_stays(
    settings: Callable[..., Networks],
    published: Path,
    foundation_folder: Path,
    tmp_path: Path,
    digests: Digests,
    name: str,
    below: str,
    kind: str,
) -> None:
    target = tmp_path / "build" / name
    write_network(settings(), name, foundation_folder, target)
    before = digests(tmp_path / "build")
    shutil.rmtree(published / name / below)
    message = rf"^{published / name / below}: missing component \(networks\.pretrained\.{name}\), expected .+ {kind}$"
    with pytest.raises(FileNotFoundError, match=message):
        write_network(settings(), name, foundation_folder, target)
    assert digests(tmp_path / "build") == before


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (
            "preprocessor_config.json",
            r"found files that cannot be read \(.+\), expected a folder of class CLIPImagePro",
        ),
        ("tokenizer.json", r"entries: found \d+, expected \d+"),
    ],
)
def test_a_clip_without_its_preprocessor_or_tokenizer_is_named(
    settings: Callable[..., Networks], published: Path, foundation_folder: Path, tmp_path: Path, file: str, message: str
) -> None:
    (published / "clip" / file).unlink()
    with pytest.raises(ValueError, match=rf"^{published / 'clip'}: {message}"):
        write_network(settings(), "clip", foundation_folder, tmp_path / "network")


def test_pickles_are_refused_with_what_converts_them(
    settings: Callable[..., Networks], published: Path, parts: Any, foundation_folder: Path, tmp_path: Path
) -> None:
    folder = published / "pixel" / "unet"
    path = weights_of(folder)
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()
    message = f"^{folder}: found no {path.name}, and pickled weights are not read; convert those you trust: "
    with pytest.raises(ValueError, match=message) as caught:
        write_network(settings(), "pixel", foundation_folder, tmp_path / "network")
    exec(recipe(str(caught.value)), {})
    write_network(settings(), "pixel", foundation_folder, tmp_path / "network")
    same(load_pixel(tmp_path / "network").unet, made_networks(parts)["pixel"]["unet"])


def test_an_inpainting_unet_of_another_foundation_is_named(
    settings: Callable[..., Networks], hub: Path, foundation_folder: Path, tmp_path: Path
) -> None:
    snapshot = hub / "models--owner--sd_inpaint" / "snapshots" / REVISION / "unet"
    shutil.rmtree(snapshot)
    shutil.copytree(foundation_folder / "unet", snapshot)
    given = settings(revision=REVISION, sd_inpaint="owner/sd_inpaint")
    message = f"^owner/sd_inpaint@{REVISION}/unet: in_channels: found 4, expected 9$"
    with pytest.raises(ValueError, match=message):
        write_network(given, "sd_inpaint", foundation_folder, tmp_path / "network")
    assert not (tmp_path / "network").exists()


def test_the_stage_brings_pretrained_networks(
    published: Path,
    foundation_folder: Path,
    tmp_path: Path,
    write_params: Callable[..., None],
    load_stage: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shutil.copytree(foundation_folder, tmp_path / "build/foundation")
    pretrained = {name: {"from": str(published / name)} for name in NAMES}
    write_params(tmp_path, networks={"source": "pretrained", "names": list(NAMES), "pretrained": pretrained})
    monkeypatch.chdir(tmp_path)
    stage = load_stage("networks")
    for name in NAMES:
        stage.main(name)
    assert {path.name for path in (tmp_path / "build/networks").iterdir()} == set(NAMES)
    assert load_pixel(tmp_path / "build/networks/pixel").size == 16
    shutil.rmtree(published / "glide" / "upsampler")
    capfd.readouterr()
    with pytest.raises(SystemExit):
        run("networks@glide", lambda: stage.main("glide"))
    expected = "missing component (networks.pretrained.glide), expected a folder of class UNet2DConditionModel"
    assert capfd.readouterr().err == f"networks@glide: {published / 'glide/upsampler'}: {expected}\n"
    assert load_glide(tmp_path / "build/networks/glide").upsampler.size == 16
