"""The pipeline: the stage's very images, its call, its folder, and what must not load."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import branch_case
import numpy as np
import pytest
import torch
from diffusers import ControlNetModel, DiffusionPipeline, StableDiffusionControlNetInpaintPipeline
from PIL import Image

from ecdm.config import Generate
from ecdm.data.coco import read_split
from ecdm.evaluation.generate import generate
from ecdm.evaluation.jobs import jobs
from ecdm.evaluation.team import Team
from ecdm.methods.base import generator_for
from ecdm.methods.ours import variant
from ecdm.models.branch import Branch, start_branch
from ecdm.serving.pipeline import FROZEN, InpaintPipeline

SETTINGS = Generate(sampler="ddim", steps=3, guidance=2.0, eta=1.0, precision="no", batch=4)
PROMPTS = ["a red circle", "a blue square"]


def branch_of(parts: Any, acda: bool) -> Branch:
    branch = start_branch(parts, branch_case.IMAGE if acda else None, 0)
    return branch_case.randomised(branch) if acda else branch


def make(parts: Any, acda: bool = True) -> InpaintPipeline:
    branch = branch_of(parts, acda)
    frozen = {name: getattr(parts, name) for name in FROZEN}
    settings = {key: getattr(SETTINGS, key) for key in ("sampler", "eta", "steps", "guidance", "precision")}
    return InpaintPipeline(**frozen, controlnet=branch.controlnet, acda=branch.acda, **settings)


@pytest.fixture(scope="module")
def ours(parts: Any) -> InpaintPipeline:
    return make(parts)


@pytest.fixture(scope="module")
def saved(ours: InpaintPipeline, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "ours"
    ours.save_pretrained(folder)
    return folder


@pytest.fixture
def exported(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "ours"))


def arrays(count: int = 2, side: int = 32) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    masks = np.zeros((count, side, side), bool)
    for i in range(count):
        masks[i, 4 + i : 20, 6 : 25 + i] = True
    return images, masks


def seeds(count: int = 2) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(3 + i) for i in range(count)]


@pytest.mark.parametrize("acda", [True, False])
def test_it_gives_the_stages_very_images(parts: Any, made_tree: Path, tmp_path: Path, acda: bool) -> None:
    data, masks, key = made_tree / "data", made_tree / "build" / "masks", ("scenes", "50-60")
    method = variant("ours", parts, branch_of(parts, acda).requires_grad_(False).eval(), SETTINGS)
    generate(method, jobs([key[0]], [key[1]], data, masks), tmp_path, 5, SETTINGS.batch, Team.of_processes())
    written = tmp_path.joinpath(*key)
    rows = json.loads((written / "manifest.json").read_text())["images"]
    names = {entry.id: entry.file_name for entry in read_split(data / "scenes", "test")}
    images = [Image.open(data / "scenes" / "test" / names[row["id"]]) for row in rows]
    holes = [Image.open(masks.joinpath(*key, row["file"])) for row in rows]
    generators = [generator_for(5, *key, row["id"]) for row in rows]
    found = make(parts, acda)([row["caption"] for row in rows], images, holes, generator=generators).images
    assert len(found) == 3
    for row, image, before, hole in zip(rows, found, images, holes, strict=True):
        expected, known = np.array(Image.open(written / "pasted" / row["file"])), np.array(hole) == 0
        assert np.array_equal(np.array(image), expected)
        assert np.array_equal(expected[known], np.array(before)[known])
        assert not np.array_equal(expected[~known], np.array(before)[~known])


def test_all_forms_of_input_and_output_agree(ours: InpaintPipeline) -> None:
    images, masks = arrays(1)
    image, mask = images[0], masks[0]
    pil, gray = Image.fromarray(image), Image.fromarray(np.where(mask, 128, 127).astype(np.uint8))
    tensor = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    first = ours(PROMPTS[0], image, mask, generator=seeds(1)).images[0]
    assert isinstance(first, Image.Image)
    for one, hole in ((pil, gray), (tensor, torch.from_numpy(mask)), (tensor[None], torch.from_numpy(mask)[None, None]),
                      ([pil], [gray]), (image / 255, mask.astype(float))):  # fmt: skip
        assert ours(PROMPTS[0], one, hole, generator=seeds(1)).images[0] == first
    array = ours(PROMPTS[0], pil, gray, generator=seeds(1), output_type="np").images
    assert array.shape == (1, 32, 32, 3)
    assert array.dtype == np.float32
    assert np.array_equal((array[0] * 255).round(), np.asarray(first))
    (pt,) = ours(PROMPTS[0], pil, gray, generator=seeds(1), output_type="pt", return_dict=False)
    assert np.array_equal(pt.permute(0, 2, 3, 1).numpy(), array)


def test_one_prompt_image_or_mask_serves_all(ours: InpaintPipeline) -> None:
    images, masks = arrays()
    both = ours(PROMPTS, images[0], masks[0], generator=seeds()).images
    for i in range(2):
        alone = ours(PROMPTS[i], images[0], masks[0], generator=seeds()[i]).images[0]
        assert abs(np.asarray(both[i]).astype(int) - np.asarray(alone)).max() <= 1


def test_a_call_is_repeatable_and_overrides_the_settings(ours: InpaintPipeline) -> None:
    images, masks = arrays(1)

    def call(**options: Any) -> Any:
        torch.manual_seed(5)
        return ours(PROMPTS[0], images[0], masks[0], **options).images[0]

    assert call() == call() == call(num_inference_steps=3, guidance_scale=2.0)
    others = [call(num_inference_steps=2), call(guidance_scale=5.0), call(generator=seeds(1))]
    assert all(other != call() for other in others)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": np.zeros((30, 32, 3), np.uint8)}, "mask_image: found 32x32 px, expected 32x30 px"),
        (
            {"image": np.zeros((30, 20, 3), np.uint8), "mask_image": np.ones((30, 20), bool)},
            "image: found 20x30 px, expected sides divisible by 8",
        ),
        ({"prompt": ["a", "b", "c"], "image": np.zeros((2, 32, 32, 3), np.uint8)}, "image: found 2, expected 1 or 3"),
        ({"generator": seeds(2)}, "generator: found 2, expected 1 or 1"),
        ({"num_inference_steps": 0}, "num_inference_steps: found 0"),
        ({"guidance_scale": -1.0}, "guidance_scale: found -1.0"),
        ({"output_type": "latent"}, "output_type: found 'latent'"),
        ({"image": np.full((32, 32, 3), 2.0)}, "image: found values outside"),
        ({"image": np.full((32, 32, 3), np.nan)}, "image: found values outside"),
        ({"image": np.zeros((32, 32, 4), np.uint8)}, "image: found an array"),
        ({"image": "cat.png"}, "image: found str"),
        ({"mask_image": np.eye(32, dtype=np.uint8)}, "mask_image: found uint8 values of 0 and 1"),
    ],
)
def test_bad_arguments_are_named(ours: InpaintPipeline, options: dict[str, Any], message: str) -> None:
    arguments = {"prompt": "a", "image": np.zeros((32, 32, 3), np.uint8), "mask_image": np.ones((32, 32), bool)}
    with pytest.raises(ValueError, match=message):
        ours(**{**arguments, **options})


def test_all_of_it_moves_to_devices(saved: Path) -> None:
    fresh = InpaintPipeline.from_pretrained(saved)
    assert fresh.to("meta") is fresh
    assert fresh.device.type == "meta"
    for name, part in fresh.components.items():
        if isinstance(part, torch.nn.Module):
            found = {tensor.device.type for tensor in (*part.parameters(), *part.buffers())}
            assert found == {"meta"}, name


def test_how_it_samples_must_be_said(parts: Any) -> None:
    frozen = {name: getattr(parts, name) for name in FROZEN}
    with pytest.raises(ValueError, match="steps"):
        InpaintPipeline(**frozen, controlnet=branch_of(parts, False).controlnet, sampler="ddim", eta=0.0, guidance=1.0)


def test_it_samples_in_float32_only(ours: InpaintPipeline) -> None:
    with pytest.raises(ValueError, match=r"found torch\.float16, expected torch\.float32"):
        ours.to(torch.float16)  # type: ignore[arg-type]


def test_a_folder_gives_the_same_model_and_the_same_folder(
    ours: InpaintPipeline, saved: Path, tmp_path: Path, digests: Any, library_messages: Any
) -> None:
    before = torch.get_rng_state()
    loaded = InpaintPipeline.from_pretrained(saved)
    assert torch.equal(torch.get_rng_state(), before)
    images, masks = arrays(1)
    assert (
        loaded(PROMPTS[0], images[0], masks[0], generator=seeds(1)).images
        == ours(PROMPTS[0], images[0], masks[0], generator=seeds(1)).images
    )
    loaded.save_pretrained(tmp_path / "again")
    assert digests(tmp_path / "again") == digests(saved)
    assert library_messages() == []
    weights = {path.suffix for path in saved.rglob("*") if path.is_file()}
    assert weights == {".json", ".safetensors"}
    assert not [path for path in saved.rglob("*.json") if "name_or_path" in path.read_text()]
    assert not any(
        p.requires_grad for n in ("unet", "vae", "controlnet", "acda") for p in getattr(loaded, n).parameters()
    )


@pytest.mark.parametrize(
    "name", ["acda/model.safetensors", "acda/config.json", "controlnet/needs_acda.safetensors", "model_index.json"]
)
def test_a_missing_file_is_named(exported: Path, name: str) -> None:
    (exported / name).unlink()
    with pytest.raises(FileNotFoundError, match=str(exported / name)):
        InpaintPipeline.from_pretrained(exported)


def test_without_acda_no_other_loader_makes_a_model_of_it(exported: Path, saved: Path) -> None:
    with pytest.raises(OSError, match=r"no file named diffusion_pytorch_model"):
        ControlNetModel.from_pretrained(saved, subfolder="controlnet")
    with pytest.raises(OSError, match=r"no file named diffusion_pytorch_model.*controlnet"):
        ControlNetModel.from_pretrained(saved / "controlnet")
    with pytest.raises(OSError, match=r"no file named diffusion_pytorch_model.*controlnet"):
        StableDiffusionControlNetInpaintPipeline.from_pretrained(saved, safety_checker=None, feature_extractor=None)
    with pytest.raises(AttributeError, match="InpaintPipeline"):
        DiffusionPipeline.from_pretrained(saved)
    index = json.loads((exported / "model_index.json").read_text())
    (exported / "model_index.json").write_text(json.dumps({**index, "acda": [None, None]}))
    with pytest.raises(ValueError, match="controlnet"):
        InpaintPipeline.from_pretrained(exported)


def test_the_branch_without_acda_is_a_plain_controlnet(parts: Any, tmp_path: Path) -> None:
    pipeline = make(parts, acda=False)
    pipeline.save_pretrained(tmp_path / "baseline")
    assert not (tmp_path / "baseline" / "acda").exists()
    plain, info = ControlNetModel.from_pretrained(
        tmp_path / "baseline", subfolder="controlnet", output_loading_info=True
    )
    assert not any(info.values())
    for key, value in plain.state_dict().items():
        assert torch.equal(value, pipeline.controlnet.state_dict()[key])
    assert InpaintPipeline.from_pretrained(tmp_path / "baseline").acda is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "model_index.json"),
        ("{}", "_class_name"),
        ('{"_class_name": "StableDiffusionPipeline"}', "sampler"),
        (None, "steps"),
    ],
)
def test_a_strange_index_is_refused(exported: Path, text: str | None, message: str) -> None:
    path = exported / "model_index.json"
    path.write_text(text or json.dumps({**json.loads(path.read_text()), "steps": 0}))
    with pytest.raises(ValueError, match=message):
        InpaintPipeline.from_pretrained(exported)


@pytest.mark.parametrize("name", ["controlnet/needs_acda.safetensors", "acda/model.safetensors", "tokenizer"])
def test_damaged_files_are_named(exported: Path, name: str) -> None:
    path = exported / name
    for file in path.iterdir() if path.is_dir() else [path]:
        file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(ValueError, match=str(path)):
        InpaintPipeline.from_pretrained(exported)


def test_an_export_takes_the_place_of_an_export_only(parts: Any, exported: Path, tmp_path: Path) -> None:
    make(parts, acda=False).save_pretrained(exported)
    assert not (exported / "controlnet" / "needs_acda.safetensors").exists()
    other = tmp_path / "other"
    other.mkdir()
    (other / "letter.txt").write_text("dear")
    for target in (other, other / "letter.txt"):
        with pytest.raises(ValueError, match="found other files"):
            make(parts).save_pretrained(target)
    with pytest.raises(ValueError, match="safetensors only"):
        make(parts).save_pretrained(exported, safe_serialization=False)
    assert [path.name for path in other.iterdir()] == ["letter.txt"]
