"""The bundled foundation: it loads, it is small, and the gates that cost seconds hold for it as committed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ecdm.data.dataset import image_tensor
from ecdm.data.scenes import draw_scene
from ecdm.evaluation.gates import SPECTRAL_SHARE, VAE_PSNR
from ecdm.models.classifier import AttributeClassifier, accuracy, labels
from ecdm.models.foundation import Components, load_foundation
from ecdm.numerics.frequency import spectral_share
from ecdm.numerics.metrics import psnr

FOUNDATION = Path(__file__).resolve().parents[1] / "assets" / "foundation"
HELD_OUT = range(2_000_000, 2_000_048)


@pytest.fixture(scope="module")
def components() -> Components:
    return load_foundation(FOUNDATION)


def pictures(items: int | None = None) -> torch.Tensor:
    return torch.stack([image_tensor(draw_scene(0, "test", i, 128, items).image) for i in HELD_OUT])


def test_it_stays_small_and_holds_no_path() -> None:
    files = [path for path in FOUNDATION.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 25_000_000
    assert {path.suffix for path in files} <= {".json", ".md", ".safetensors"}
    assert not [path for path in files if path.suffix == ".json" and "_name_or_path" in path.read_text()]


def test_the_autoencoder_holds_its_gate(components: Components) -> None:
    images = pictures()
    restored = components.decode(components.latents(components.moments(images)))
    assert float(psnr(restored, images).mean()) >= VAE_PSNR


def test_the_scenes_hold_their_gate() -> None:
    assert float(spectral_share(pictures(), 4).mean()) >= SPECTRAL_SHARE


def test_the_classifier_knows_true_scenes() -> None:
    classifier = AttributeClassifier.load(FOUNDATION / "classifier")
    scenes = [draw_scene(0, "test", i, 128, items=1) for i in HELD_OUT]
    images = torch.stack([image_tensor(scene.image) for scene in scenes])
    found = accuracy(classifier(images * 2 - 1), labels([scene.items[0] for scene in scenes]))
    assert all(float(correct.mean()) >= 0.9 for correct in found.values()), found
