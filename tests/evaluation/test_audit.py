"""What the audit measures, against direct computation, and that its samples read no hole."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from ecdm.config import Generate
from ecdm.data.dataset import image_tensor
from ecdm.data.scenes import SHAPES, Scene, draw_scene
from ecdm.evaluation.audit import Audit, _textures
from ecdm.evaluation.items import SingleItems, attributes, single_scenes
from ecdm.evaluation.jobs import Job
from ecdm.methods.fills import FILLS
from ecdm.models.classifier import ATTRIBUTES, AttributeClassifier
from ecdm.models.perceptual import load_perceptual
from ecdm.numerics import metrics
from ecdm.numerics.frequency import spectral_share

SETTINGS = Generate(sampler="dpmsolver++", steps=3, guidance=2.0, eta=0.0, precision="no", batch=4)


@pytest.fixture(scope="module")
def audit(parts: Any) -> Audit:
    return Audit(parts, SETTINGS, "lpips_random", load_perceptual("lpips_random"), 0, 32, 10)


@pytest.fixture(scope="module")
def items(audit: Audit, foundation_folder: Path) -> SingleItems:
    return SingleItems(audit, AttributeClassifier.load(foundation_folder / "classifier"))


def pictures(tree: Path, splits: tuple[str, ...]) -> Tensor:
    paths = [path for split in splits for path in sorted((tree / "data/scenes" / split).glob("*.png"))]
    return torch.stack([torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1).float() / 255 for path in paths])


def test_the_stage_writes_what_the_gates_read(tree: Path, load_stage: Callable[[str], ModuleType]) -> None:
    load_stage("audit").main()
    values = json.loads((tree / "build/audit/values.json").read_text())
    assert set(values) == {"spectral_share", "vae_psnr", "attributes", "compared"}
    assert len(values["spectral_share"]) == len(values["vae_psnr"]["all"]) == 6
    assert set(values["attributes"]) == {"true", "text", "inpainting"}
    assert all(len(v) == 4 for found in values["attributes"].values() for v in found.values())
    names = ["teacher", "unet", "untuned", "mean_fill", "telea", "navier_stokes"]
    assert list(values["compared"]) == names
    assert {len(v) for found in values["compared"].values() for v in found.values()} == {3}  # of validation
    assert values["compared"]["teacher"] != values["compared"]["unet"] != values["compared"]["untuned"]
    assert Image.open(tree / "build/audit/samples.png").size == (4 * 32, 3 * 32)


def test_the_stage_gives_the_same_bytes(
    tree: Path, load_stage: Callable[[str], ModuleType], digests: Callable[[Path], dict[str, str]]
) -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        load_stage("audit").main()
        found.append(digests(tree / "build" / "audit"))
    assert found[0] == found[1]


def test_a_foundation_without_a_classifier_is_named(tree: Path, load_stage: Callable[[str], ModuleType]) -> None:
    shutil.rmtree(tree / "build/foundation/classifier")
    with pytest.raises(FileNotFoundError, match="build/foundation/classifier: missing component"):
        load_stage("audit").main()
    assert not (tree / "build" / "audit").exists()


def test_images_that_are_no_scenes_are_audited_without_items(
    tree: Path, load_stage: Callable[[str], ModuleType], write_params: Callable[..., None]
) -> None:
    """A team's own data with pretrained weights: nothing tells what an image shows, and no classifier knows it."""
    for place in ("data", "build/edges", "build/masks"):
        (tree / place / "scenes").rename(tree / place / "folder")
    for path in (tree / "data/folder/annotations").glob("scenes_*.json"):
        path.unlink()
    shutil.rmtree(tree / "build/foundation/classifier")
    write_params(tree, data={"source": "folder", "path": "pictures"}, gates={"held_out": 2, "enforce": False})
    load_stage("audit").main()
    values = json.loads((tree / "build/audit/values.json").read_text())
    assert values["attributes"] is None
    assert list(values["vae_psnr"]) == ["all"]
    # Two images of each split.
    assert len(values["spectral_share"]) == len(values["vae_psnr"]["all"]) == 4
    compare = {"variant": {"name": "baseline"}}
    data = {"source": "folder", "path": "pictures"}
    write_params(tree, data=data, variants=["baseline"], compare=compare, gates={"enforce": False})
    for name, text in (("probe/baseline-0.json", "null"), ("network_audit/values.json", "{}")):
        (tree / "build" / name).parent.mkdir()
        (tree / "build" / name).write_text(text)
    load_stage("gates").main()
    gates = json.loads((tree / "reports/gates.json").read_text())["gates"]
    assert {name.partition(".")[0] for name in gates} == {
        "vae", "teacher_over_unet", "teacher_over_untuned", "untuned_over_mean_fill", "untuned_over_telea",
        "untuned_over_navier_stokes",
    }  # fmt: skip


def test_shares_are_those_of_the_images(made_tree: Path, audit: Audit) -> None:
    expected = spectral_share(pictures(made_tree, ("validation", "test")), 4)
    found = audit.shares(made_tree / "data/scenes", ("validation", "test"))
    assert found == pytest.approx(expected.tolist())


def decoded(parts: Any, images: Tensor) -> Tensor:
    """Images after the autoencoder."""
    with torch.no_grad():
        output = parts.vae.decode(parts.vae.encode(images * 2 - 1).latent_dist.mean).sample
    return (output / 2 + 0.5).clamp(0, 1)


def test_reconstruction_is_reported_by_texture(made_tree: Path, audit: Audit, parts: Any) -> None:
    images = pictures(made_tree, ("validation", "test"))
    outputs = decoded(parts, images)
    found = audit.reconstruction(made_tree / "data/scenes", ("validation", "test"), 4)
    assert found["all"] == pytest.approx(metrics.psnr(outputs, images).tolist(), rel=1e-4)
    expected: dict[str, list[float]] = defaultdict(list)
    scenes = [draw_scene(0, split, i, 32) for split in ("validation", "test") for i in range(3)]
    for scene, squared in zip(scenes, ((outputs - images) ** 2).double().numpy(), strict=True):
        distances = []
        for item in scene.items:
            rows, columns = ((np.indices((32, 32)) + 0.5) / 32).reshape(2, 32, 32)
            distances.append(np.sqrt((columns - item.centre[0]) ** 2 + (rows - item.centre[1]) ** 2) / item.radius)
            expected[f"item {item.texture}"].append(-10 * np.log10(squared[:, distances[-1] <= 0.45].mean()))
        alone = np.all([distance > 1.1 for distance in distances], axis=0)
        expected[f"background {scene.background}"].append(-10 * np.log10(squared[:, alone].mean()))
    assert set(found) == {"all", *expected}
    for name, values in expected.items():
        assert found[name] == pytest.approx(values, rel=1e-4)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_pixels_of_a_texture_show_it_alone(shape: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a flat filling and a flat background, each region has one colour: nothing of the other reaches in."""

    def flat(rng: Any, size: int, split: str) -> Any:
        return np.ones((size, size), np.float32)

    monkeypatch.setattr("ecdm.data.scenes.SHAPES", (shape,))
    monkeypatch.setattr("ecdm.data.scenes.FILLINGS", {"flat": flat})
    monkeypatch.setattr("ecdm.data.scenes.BACKGROUNDS", {"flat": (flat, 0.2)})
    for index in range(20):
        scene = draw_scene(0, "test", index, 128)
        for name, region in _textures(scene.description(), 128):
            shown = scene.image[region[0].numpy()]
            assert name in ("background flat", "item flat")
            assert len(shown) > 50
            assert np.ptp(shown.astype(int), axis=0).max() <= 1


def test_single_scenes_are_held_out_and_have_one_item() -> None:
    scenes = single_scenes(0, 5, 32)
    assert [len(scene.items) for scene in scenes] == [1] * 5
    assert len({scene.image.tobytes() for scene in scenes}) == 5
    others = {draw_scene(0, split, i, 32, items=1).image.tobytes() for split in ("train", "test") for i in range(20)}
    assert others.isdisjoint(scene.image.tobytes() for scene in scenes)


def test_attributes_are_counted_per_image(items: SingleItems) -> None:
    scenes = single_scenes(0, 6, 32)
    images = torch.stack([image_tensor(scene.image) for scene in scenes])
    found = attributes(items.classifier, scenes, images)
    with torch.no_grad():
        logits = items.classifier(images * 2 - 1)
    for name, classes in ATTRIBUTES.items():
        guesses = [classes[i] for i in logits[name].argmax(1).tolist()]
        expected = [float(g == getattr(s.items[0], name)) for g, s in zip(guesses, scenes, strict=True)]
        assert found[name] == expected


def test_samples_follow_the_caption_and_not_the_batch(items: SingleItems) -> None:
    scenes = single_scenes(0, 3, 32)
    together, one_by_one = items.text_to_image(scenes, 3), items.text_to_image(scenes, 1)
    assert float((together - one_by_one).abs().max()) < 1 / 255
    other = [dataclasses.replace(scene, captions=("a photo of nothing",)) for scene in scenes]
    assert float((items.text_to_image(other, 3) - together).abs().max()) > 1 / 255
    blank = [dataclasses.replace(scene, image=np.zeros_like(scene.image)) for scene in scenes]
    assert torch.equal(items.text_to_image(blank, 3), together)


def around_item(scene: Scene) -> Tensor:
    """Pixels (h, w) within an item's radius and a sixteenth of the side from its centre, on both axes."""
    (item,) = scene.items
    centres = (np.arange(32) + 0.5) / 32
    columns, rows = (np.abs(centres - c) <= item.radius + 1 / 16 for c in item.centre)
    return torch.from_numpy(rows[:, None] & columns[None])


def test_inpainted_items_are_not_seen(items: SingleItems) -> None:
    scenes = single_scenes(0, 3, 32)
    found, holes = items.object_inpainting(scenes, 3), [around_item(scene) for scene in scenes]
    hidden = [
        dataclasses.replace(scene, image=np.where(hole.numpy()[..., None], np.uint8(0), scene.image))
        for scene, hole in zip(scenes, holes, strict=True)
    ]
    assert torch.equal(items.object_inpainting(hidden, 3), found)
    for scene, hole, output in zip(scenes, holes, found, strict=True):
        assert 0.2 < float(hole.float().mean()) < 0.8
        assert torch.equal(output[:, ~hole], image_tensor(scene.image)[:, ~hole])
        assert not torch.equal(output[:, hole], image_tensor(scene.image)[:, hole])
    assert float((items.object_inpainting(scenes, 1) - found).abs().max()) < 1 / 255


def test_compared_are_pasted_outputs(made_tree: Path, audit: Audit) -> None:
    data, masks = made_tree / "data/scenes", made_tree / "build/masks/scenes"
    job = Job("scenes", "50-60", data, masks, made_tree / "build/edges/scenes/test")
    found = audit.compare(job, 2)
    (batch,) = job.batches(10)
    for fill in FILLS:
        output = fill.inpaint(batch, [])
        assert found[fill.name]["psnr"] == pytest.approx(metrics.psnr(output, batch.images).tolist())
        assert found[fill.name]["ssim"] == pytest.approx(metrics.ssim(output, batch.images).tolist())
    for name in ("teacher", "unet", "untuned"):
        whole, hole = (torch.tensor(found[name][key]) for key in ("l1", "l1_hole"))
        torch.testing.assert_close(whole, hole * batch.masks.mean((1, 2, 3)), rtol=1e-4, atol=1e-6)
