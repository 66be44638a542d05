"""What the audit of the published methods' networks measures, against direct computation and networks that cheat."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from network_case import write_networks
from torch import Tensor

from ecdm.config import Params, load_params
from ecdm.data.dataset import Batch, image_tensor
from ecdm.data.scenes import draw_scene
from ecdm.evaluation import network_audit
from ecdm.evaluation.items import attributes, single_scenes
from ecdm.evaluation.network_audit import CAPTIONS, GROUPS, NetworkAudit, linear_guess
from ecdm.evaluation.scene_fills import fill_scenes
from ecdm.methods.registry import Ingredients
from ecdm.models.classifier import AttributeClassifier
from ecdm.models.networks import PixelUnet, load_clip, load_pixel
from ecdm.models.similarity import image_features, text_features
from ecdm.models.tiny_networks import tiny_pixel_scheduler
from ecdm.numerics.diffusion import Schedule, q_sample


class Painter:
    """A method that fills every hole with gray and keeps what it was asked for."""

    name, native_size = "painter", None

    def __init__(self) -> None:
        self.batches: list[Batch] = []
        self.drawn: list[list[float]] = []

    def inpaint(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
        self.batches.append(batch)
        self.drawn.append([float(torch.rand((), generator=g)) for g in generators])
        return torch.full_like(batch.images, 0.5)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory, parts: Any, foundation_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    write_networks(folder, parts, foundation_folder)
    return folder


@pytest.fixture(scope="module")
def params(made_tree: Path) -> Params:
    return load_params(made_tree / "params.yaml")


@pytest.fixture(scope="module")
def audit(networks: Path, params: Params, parts: Any, foundation_folder: Path) -> NetworkAudit:
    classifier = AttributeClassifier.load(foundation_folder / "classifier")
    return NetworkAudit(parts, classifier, networks, params.compare, "no", 0, 32)


@pytest.fixture
def painters(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Painter, Ingredients]]:
    """The methods that were made, by name; each only paints gray."""
    made: dict[str, tuple[Painter, Ingredients]] = {}

    def make(name: str, ingredients: Ingredients) -> Painter:
        made[name] = Painter(), ingredients
        return made[name][0]

    monkeypatch.setattr(network_audit, "make_method", make)
    return made


def test_all_is_measured_that_the_gates_read(audit: NetworkAudit, painters: Any) -> None:
    values, rows = audit.measured(("sd_inpaint", "glide", "pixel", "clip"), 5, 2)
    assert list(values) == ["attributes", "retrieval", "denoising"]
    assert list(values["attributes"]) == ["true", "glide", "sd_inpaint"]
    assert {len(v) for found in values["attributes"].values() for v in found.values()} == {5}
    assert [images.shape for images in rows] == [(5, 3, 32, 32)] * 3
    scenes = single_scenes(0, 5, 32)
    for name, images in zip(values["attributes"], rows, strict=True):
        assert values["attributes"][name] == attributes(audit.classifier, scenes, images)
    assert torch.equal(rows[0], torch.stack([image_tensor(scene.image) for scene in scenes]))
    assert len(values["retrieval"]) == CAPTIONS * GROUPS
    assert [len(v) for v in values["denoising"].values()] == [5, 5]


def test_a_network_that_is_not_there_is_not_asked_for(audit: NetworkAudit, painters: Any) -> None:
    values, rows = audit.measured(("glide",), 2, 2)
    assert set(values) == {"attributes"}
    assert list(values["attributes"]) == ["true", "glide"]
    assert len(rows) == 2
    assert set(painters) == {"glide"}


def test_glide_paints_from_text_alone(audit: NetworkAudit, painters: Any, networks: Path, params: Params) -> None:
    scenes = single_scenes(0, 5, 32)
    found = audit.from_text(scenes, 2)
    painter, ingredients = painters["glide"]
    assert [len(batch.ids) for batch in painter.batches] == [2, 2, 1]
    assert all(bool(batch.masks.all()) for batch in painter.batches)
    assert [caption for batch in painter.batches for caption in batch.captions] == [s.captions[0] for s in scenes]
    assert bool((found == 0.5).all())
    expected = (audit.parts, networks, params.compare.glide, "no")
    assert (ingredients.components, ingredients.networks, ingredients.settings, ingredients.precision) == expected
    assert len({value for drawn in painter.drawn for value in drawn}) == 5


def test_stable_diffusion_paints_where_the_object_was(audit: NetworkAudit, painters: Any) -> None:
    scenes = single_scenes(0, 4, 32)
    found = audit.objects(scenes, 4)
    (batch,) = painters["sd_inpaint"][0].batches
    for scene, image, mask, output in zip(scenes, batch.images, batch.masks, found, strict=True):
        (item,), truth = scene.items, image_tensor(scene.image)
        axis = (np.arange(32) + 0.5) / 32
        columns, rows = (np.abs(axis - centre) <= item.radius + 1 / 16 for centre in item.centre)
        hole = torch.from_numpy(rows[:, None] & columns[None])
        assert torch.equal(mask[0].bool(), hole)
        assert torch.equal(image, truth)
        assert torch.equal(output, torch.where(hole, 0.5, truth))


def test_noise_is_an_images_own_whatever_the_batch(audit: NetworkAudit) -> None:
    scenes, masks = single_scenes(0, 3, 32), torch.ones(3, 1, 32, 32)
    drawn = []
    for batch in (1, 3):
        painter = Painter()
        fill_scenes(painter, scenes, masks, 0, batch)
        drawn.append([value for values in painter.drawn for value in values])
    assert drawn[0] == drawn[1]


def test_an_output_that_is_not_finite_is_refused(audit: NetworkAudit) -> None:
    class Broken(Painter):
        def inpaint(self, batch: Batch, generators: Sequence[torch.Generator]) -> Tensor:
            whole = super().inpaint(batch, generators)
            whole[1] = torch.nan
            return whole

    scenes, masks = single_scenes(0, 2, 32), torch.ones(2, 1, 32, 32)
    with pytest.raises(ValueError, match="painter: single, bucket object, image 1: found values that are not finite"):
        fill_scenes(Broken(), scenes, masks, 0, 2)


def test_retrieval_counts_images_that_find_their_caption(audit: NetworkAudit, networks: Path) -> None:
    found = audit.retrieval()
    clip, expected = load_clip(networks / "clip"), []
    for first in (3_000_000, 3_750_000, 4_500_000, 5_250_000):
        scenes = [draw_scene(0, "test", first + i, 32) for i in range(CAPTIONS)]
        captions = [scene.captions[0] for scene in scenes]
        assert len(set(captions)) == CAPTIONS
        images = torch.stack([image_tensor(scene.image) for scene in scenes])
        with torch.no_grad():
            nearest = (image_features(clip, images) @ text_features(clip, captions).T).argmax(1)
        expected += [float(place == own) for own, place in enumerate(nearest.tolist())]
    assert found == expected


def test_a_clip_that_knows_finds_all_and_captions_are_never_asked_for_twice(
    audit: NetworkAudit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each caption is drawn three times over; a row of the identity is what a perfect CLIP makes of it."""
    asked: list[list[str]] = []

    def texts(clip: Any, captions: list[str]) -> Tensor:
        asked.append(captions)
        return torch.eye(CAPTIONS)

    def thrice(seed: int, split: str, index: int, size: int) -> Any:
        return draw_scene(seed, split, index // 3, size)

    monkeypatch.setattr(network_audit, "draw_scene", thrice)
    monkeypatch.setattr(network_audit, "text_features", texts)
    monkeypatch.setattr(network_audit, "image_features", lambda clip, images: torch.eye(CAPTIONS))
    assert audit.retrieval() == [1.0] * (CAPTIONS * GROUPS)
    assert [len(set(captions)) for captions in asked] == [CAPTIONS] * GROUPS
    wrong = torch.eye(CAPTIONS).roll(1, 0)
    monkeypatch.setattr(network_audit, "image_features", lambda clip, images: wrong)
    assert audit.retrieval() == [0.0] * (CAPTIONS * GROUPS)


def test_the_linear_guess_is_that_of_least_squares() -> None:
    schedule, generator = Schedule(tiny_pixel_scheduler().alphas_cumprod.double()), torch.Generator().manual_seed(0)
    x0 = 0.3 + 0.5 * torch.randn(1, 1, 400, 400, generator=generator)
    mean, variance = x0.mean((0, 2, 3), keepdim=True), x0.var((0, 2, 3), keepdim=True)
    for t in (50, 300, 800):
        eps = torch.randn(x0.shape, generator=generator)
        x_t = q_sample(x0, t, eps, schedule)
        slope, offset = np.polyfit(x_t.flatten().numpy(), eps.flatten().numpy(), 1)
        found = linear_guess(x_t, torch.tensor([t]), mean, variance, schedule)
        torch.testing.assert_close(found, float(slope) * x_t + float(offset), rtol=0, atol=0.02)


def test_denoising_compares_a_network_with_that_guess(
    audit: NetworkAudit, networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = audit.denoising(3)
    network = load_pixel(networks / "pixel")
    images = [image_tensor(draw_scene(0, "test", 3_000_000 + i, 32).image) for i in range(3)]
    # Held-out scenes at the network's 16 pixels: means of 2 x 2.
    x0 = torch.stack([image.unflatten(1, (16, 2)).unflatten(3, (16, 2)).mean((2, 4)) for image in images]) * 2 - 1
    levels = torch.tensor([62, 187, 312, 437, 562, 687, 812, 937])
    signal, noise = network.schedule.scales(levels, x0)
    variance = x0.var((0, 2, 3), keepdim=True)
    # What the best linear guess leaves on average, for variance around the mean of all scenes.
    rest = signal.square() * variance / (signal.square() * variance + noise.square())
    assert np.mean(found["linear"]) == pytest.approx(float(rest.mean()), rel=0.1)
    assert all(value > 0.3 for value in found["network"])

    class Knowing:
        """Sees the scene through the noise."""

        def __init__(self) -> None:
            self.config, self.asked = network.unet.config, 0

        def __call__(self, x_t: Tensor, t: Tensor) -> Any:
            signal, noise = network.schedule.scales(t, x_t)
            output = (x_t - signal * x0[self.asked]) / noise
            self.asked += 1
            return type("Output", (), {"sample": torch.cat([output, torch.ones_like(output)], dim=1)})

    monkeypatch.setattr(network_audit, "load_pixel", lambda folder: PixelUnet(Knowing(), network.scheduler))
    knowing = audit.denoising(3)
    assert knowing["linear"] == found["linear"]
    assert max(knowing["network"]) < 1e-3


def test_without_a_classifier_nothing_is_measured(
    tree: Path, load_stage: Callable[[str], ModuleType], write_params: Callable[..., None]
) -> None:
    """A team's own foundation: its samples have no judge, and the gates have nothing to hold."""
    shutil.rmtree(tree / "build/foundation/classifier")
    write_params(tree)
    load_stage("network_audit").main()
    assert [path.name for path in (tree / "build/network_audit").iterdir()] == ["values.json"]
    assert json.loads((tree / "build/network_audit/values.json").read_text()) == {}
