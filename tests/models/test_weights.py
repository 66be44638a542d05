"""Pretrained networks from folders and from the hub: what they become, and how faults are named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hub_server
import huggingface_hub
import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel
from weights_case import (
    BASE,
    CANNY,
    INPAINT,
    PNDM,
    REVISION,
    change,
    hub_settings,
    of_folders,
    read,
    recipe,
    same,
    settings,
    weights_of,
)

from ecdm.models import outline
from ecdm.models.foundation import NETWORKS, PARTS, load_foundation
from ecdm.models.outline import check_foundation
from ecdm.models.weights import write_pretrained

Digests = Callable[[Path], dict[str, str]]
UNET = "diffusion_pytorch_model.safetensors"


def test_folders_become_a_foundation(given: Path, parts: Any, tmp_path: Path, digests: Digests) -> None:
    (given / "base" / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"another variant")
    (given / "base" / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"a pickle")
    (given / "base" / "safety_checker").mkdir()
    target = tmp_path / "build" / "foundation"
    write_pretrained(of_folders(given), target)
    assert {path.name for path in target.iterdir()} == set(PARTS)
    found, expected = digests(target), digests(given / "base")
    for name in ("vae/config.json", "text_encoder/model.safetensors", f"unet/{UNET}", "tokenizer/tokenizer.json"):
        assert found[name] == expected[name]
    assert {Path(name).suffix for name in found} == {".json", ".safetensors"}
    assert not any("fp16" in name for name in found)
    loaded = load_foundation(target)
    for name in NETWORKS:
        same(getattr(loaded, name), getattr(parts, name))
    assert {path.stat().st_nlink for path in target.rglob("*") if path.is_file()} == {1}
    assert {path.name for path in (tmp_path / "build").iterdir()} == {"foundation"}


def test_the_published_sampler_becomes_the_training_schedule(given: Path, parts: Any, tmp_path: Path) -> None:
    write_pretrained(of_folders(given), tmp_path / "foundation")
    scheduler = load_foundation(tmp_path / "foundation").scheduler
    torch.testing.assert_close(scheduler.alphas_cumprod, parts.scheduler.alphas_cumprod)
    kept = {key: scheduler.config[key] for key in ("clip_sample", "steps_offset", "set_alpha_to_one")}
    assert kept == {"clip_sample": False, "steps_offset": 1, "set_alpha_to_one": False}
    written = json.loads((tmp_path / "foundation" / "scheduler" / "scheduler_config.json").read_text())
    assert written["_class_name"] == "DDPMScheduler"
    assert str(tmp_path) not in json.dumps(written)


def test_weights_of_the_cache_are_linked_and_outlive_it(cached: Path, parts: Any, tmp_path: Path) -> None:
    target = tmp_path / "foundation"
    write_pretrained(hub_settings(), target)
    blobs = {path.stat().st_ino for path in cached.glob("*/blobs/*")}
    linked = {path for path in target.rglob("*") if path.stat().st_ino in blobs}
    assert linked == set(target.rglob("*.safetensors"))
    assert len(linked) == len(NETWORKS)
    assert not any(path.is_symlink() for path in target.rglob("*"))
    shutil.rmtree(cached)
    same(load_foundation(target).unet, parts.unet)


def test_weights_are_copied_where_no_link_can_be_made(
    cached: Path, parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr("os.link", refuse)
    write_pretrained(hub_settings(), tmp_path / "foundation")
    same(load_foundation(tmp_path / "foundation").unet, parts.unet)


@pytest.mark.parametrize(
    ("revision", "message"),
    [
        (None, r"foundation\.pretrained\.base\.revision: found null, expected the commit of owner/base, 40 hex"),
        ("f" * 40, rf"owner/base@{'f' * 40}: not in the cache .+/cache \(foundation\.pretrained\.base\).+"
                   r"foundation\.download: true fetches it"),
    ],
)  # fmt: skip
def test_an_id_without_its_revision_or_not_in_the_cache_is_named(
    cached: Path, tmp_path: Path, revision: str | None, message: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        write_pretrained(settings(BASE, CANNY, INPAINT, revision), tmp_path / "build" / "foundation")
    assert not (tmp_path / "build" / "foundation").exists()


@pytest.mark.parametrize("origin", ["weights/of/mine", "/nowhere/weights", "", "./weights", "a b/c"])
def test_what_is_neither_id_nor_folder_nor_file_is_refused(origin: str, cache: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"weights\.from: found '{origin}', expected a hub id, a folder or"):
        read(origin, UNet2DConditionModel, "unet")


def test_only_what_is_needed_is_downloaded(
    given: Path, cache: Path, parts: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("unet/diffusion_pytorch_model.bin", f"unet/{UNET[:-12]}.fp16.safetensors", "model.ckpt"):
        (given / "base" / name).write_bytes(b"another form of the weights")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    wanted = hub_settings().model_copy(update={"download": True})
    with hub_server.serve({f"owner/{path.name}": path for path in given.iterdir()}, REVISION, monkeypatch) as asked:
        write_pretrained(wanted, tmp_path / "foundation")
        fetched = sorted(asked)
        write_pretrained(wanted, tmp_path / "again")
        assert sorted(asked) == fetched
        with pytest.raises(FileNotFoundError, match=f"owner/none@{REVISION}: cannot be fetched .foundation.pretrained"):
            write_pretrained(
                settings("owner/none", CANNY, INPAINT, REVISION).model_copy(update={"download": True}), tmp_path / "no"
            )
    assert huggingface_hub.constants.HF_HUB_OFFLINE
    files = {f"base/{name}/{file}" for name, file in (("vae", UNET), ("unet", UNET), ("text_encoder", "model"))}
    configs = {f"base/{name}/config.json" for name in ("vae", "unet", "text_encoder")}
    texts = {"base/scheduler/scheduler_config.json", "base/tokenizer/tokenizer.json"}
    expected = {f"{name}.safetensors" if name.endswith("model") else name for name in files} | configs | texts
    expected |= {"base/tokenizer/tokenizer_config.json"}
    expected |= {f"{name}/{file}" for name in ("canny", "inpaint") for file in ("config.json", UNET)}
    assert set(fetched) == expected
    same(load_foundation(tmp_path / "foundation").controlnet_inpaint, parts.controlnet_inpaint)


def test_a_folder_of_pickles_is_refused_with_what_converts_it(given: Path, parts: Any, tmp_path: Path) -> None:
    path = weights_of(given / "base" / "unet")
    torch.save(load_file(path), path.with_suffix(".bin"))
    path.unlink()
    folder = given / "base" / "unet"
    with pytest.raises(ValueError, match=f"{folder}: found no {UNET}, and pickled weights are not read") as caught:
        write_pretrained(of_folders(given), tmp_path / "foundation")
    exec(recipe(str(caught.value)), {})
    path.with_suffix(".bin").unlink()
    write_pretrained(of_folders(given), tmp_path / "foundation")
    same(load_foundation(tmp_path / "foundation").unet, parts.unet)


def test_pickles_of_the_hub_are_refused_with_what_converts_them(cached: Path) -> None:
    snapshot = cached / "models--owner--base" / "snapshots" / REVISION / "unet"
    (snapshot / UNET).rename(snapshot / "diffusion_pytorch_model.bin")
    message = rf"owner/base@{REVISION}/unet: found no {UNET}.+from_pretrained\('owner/base', revision='{REVISION}', "
    with pytest.raises(ValueError, match=message + r"subfolder='unet'.+save_pretrained\('owner--base/unet'\)"):
        read(BASE, UNet2DConditionModel, "unet", REVISION)


def test_another_variant_of_the_weights_is_named(given: Path) -> None:
    path = weights_of(given / "canny")
    path.rename(path.with_name("diffusion_pytorch_model.fp16.safetensors"))
    message = f"{given / 'canny'}: found diffusion_pytorch_model.fp16.safetensors, expected {UNET}"
    with pytest.raises(ValueError, match=message):
        read(given / "canny", ControlNetModel, "")


def _other_shape(path: Path) -> None:
    change(path, conv_in__bias=torch.zeros(15))


def _lost(path: Path) -> None:
    change(path, conv_in__bias=None)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


FAULTS: dict[Callable[[Path], None], str] = {
    _other_shape: r"conv_in\.bias.+(found shape \[15\], expected \[16\]|expected shape .*16.*15)",
    _lost: r"found no weights for conv_in\.bias \(1 in all\)",
    _cut: r"found files that cannot be read \(.+\)",
}


@pytest.mark.parametrize("spoil", FAULTS)
@pytest.mark.parametrize("entry", ["base", "inpaint"])
def test_weights_at_fault_are_named_by_folder(
    given: Path, tmp_path: Path, entry: str, spoil: Callable[[Path], None]
) -> None:
    folder = given / "base" / "unet" if entry == "base" else given / "inpaint"
    spoil(weights_of(folder))
    with pytest.raises(ValueError, match=f"^{folder}: .*{FAULTS[spoil]}"):
        write_pretrained(of_folders(given), tmp_path / "build" / "foundation")
    assert not list((tmp_path / "build").iterdir())


def test_weights_at_fault_are_named_by_id(cached: Path, tmp_path: Path) -> None:
    _lost((cached / "models--owner--base" / "snapshots" / REVISION / "unet" / UNET).resolve())
    with pytest.raises(ValueError, match=f"^owner/base@{REVISION}/unet: {FAULTS[_lost]}"):
        write_pretrained(hub_settings(), tmp_path / "foundation")


@pytest.mark.parametrize("origin", ["folder", "hub"])
def test_a_missing_component_is_named(given: Path, cached: Path, tmp_path: Path, origin: str) -> None:
    for folder in (given / "base", cached / "models--owner--base" / "snapshots" / REVISION):
        shutil.rmtree(folder / "tokenizer")
    wanted = of_folders(given) if origin == "folder" else hub_settings()
    place = given / "base" / "tokenizer" if origin == "folder" else f"owner/base@{REVISION}/tokenizer"
    message = f"^{place}: missing component .foundation.pretrained.base., expected a folder of class CLIPTokenizer"
    with pytest.raises(FileNotFoundError, match=message):
        write_pretrained(wanted, tmp_path / "foundation")


def test_components_that_do_not_fit_are_named(given: Path, cached: Path, tmp_path: Path) -> None:
    snapshot = cached / "models--owner--canny" / "snapshots" / REVISION
    config = json.loads((snapshot / "config.json").read_text())
    shutil.rmtree(snapshot)
    ControlNetModel.from_config({**config, "cross_attention_dim": 64}).save_pretrained(snapshot)
    message = f"^owner/canny@{REVISION}: cross_attention_dim: found 64, expected 96"
    with pytest.raises(ValueError, match=message):
        write_pretrained(hub_settings(), tmp_path / "foundation")
    (given / "base" / "scheduler" / "scheduler_config.json").write_text(
        json.dumps({**PNDM, "prediction_type": "v_prediction"})
    )
    message = f"^{given / 'base' / 'scheduler'}: prediction_type: found v_prediction, expected epsilon"
    with pytest.raises(ValueError, match=message):
        write_pretrained(of_folders(given), tmp_path / "foundation")
    assert not (tmp_path / "foundation").exists()


def test_names_of_earlier_versions_are_read(given: Path, parts: Any, tmp_path: Path) -> None:
    """The autoencoder and the text encoder as Stable Diffusion 1.5's are published."""
    renamed = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    path = weights_of(given / "base" / "vae")
    content = load_file(path)
    for new, old in renamed.items():
        content = {k.replace(new, old) if "mid_block.attentions" in k else k: v for k, v in content.items()}
    assert "encoder.mid_block.attentions.0.query.weight" in content
    save_file(content, path, {"format": "pt"})
    path = weights_of(given / "base" / "text_encoder")
    content = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in load_file(path).items()}
    content["text_model.embeddings.position_ids"] = torch.arange(40)[None]
    save_file(content, path, {"format": "pt"})
    write_pretrained(of_folders(given), tmp_path / "foundation")
    loaded = load_foundation(tmp_path / "foundation")
    same(loaded.vae, parts.vae)
    same(loaded.text_encoder, parts.text_encoder)


def test_weights_in_several_files_are_read(given: Path, parts: Any, tmp_path: Path) -> None:
    folder = given / "base" / "unet"
    weights_of(folder).unlink()
    parts.unet.save_pretrained(folder, max_shard_size="200KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    write_pretrained(of_folders(given), tmp_path / "foundation")
    same(load_foundation(tmp_path / "foundation").unet, parts.unet)
    sorted(folder.glob("*.safetensors"))[0].unlink()
    with pytest.raises(ValueError, match=rf"^{folder}: found files that cannot be read"):
        write_pretrained(of_folders(given), tmp_path / "foundation")


def test_checking_reads_no_weights_that_fit(foundation_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path, part: Any) -> Any:
        raise AssertionError(f"{folder} was read")

    monkeypatch.setattr(outline, "load_network", refuse)
    check_foundation(foundation_folder)


def test_the_unet_of_sd_inpainting_is_read(given: Path) -> None:
    folder = given / "inpainting" / "unet"
    config = json.loads((given / "base" / "unet" / "config.json").read_text())
    unet = UNet2DConditionModel.from_config({**config, "in_channels": 9})
    unet.half().save_pretrained(folder)
    found = read(given / "inpainting", UNet2DConditionModel, "unet")
    same(found, unet.float())
    assert not any(p.requires_grad for p in found.parameters())
    assert found(torch.zeros(1, 9, 4, 4), 1, torch.zeros(1, 3, 96)).sample.shape == (1, 4, 4, 4)


def test_clip_is_read_by_folder_and_by_id(given: Path, cached: Path) -> None:
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    text, vision = {**small, "vocab_size": 16}, {**small, "image_size": 8, "patch_size": 4}
    clip = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=4)).eval()
    clip.save_pretrained(given / "clip")
    clip.save_pretrained(cached / "models--owner--clip" / "snapshots" / REVISION)
    for origin, revision in ((given / "clip", None), ("owner/clip", REVISION)):
        found = read(origin, CLIPModel, "", revision)
        same(found, clip)
        assert found.get_text_features(torch.tensor([[1, 2]])).pooler_output.shape == (1, 4)
