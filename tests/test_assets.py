"""The bundled networks: they load, they are small, and the gates that cost seconds hold for them as committed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ecdm.config import load_params
from ecdm.data.dataset import image_tensor
from ecdm.data.scenes import draw_scene
from ecdm.evaluation.gates import RETRIEVAL, SPECTRAL_SHARE, VAE_PSNR
from ecdm.evaluation.network_audit import NetworkAudit
from ecdm.models.classifier import AttributeClassifier, accuracy, labels
from ecdm.models.foundation import Components, load_foundation
from ecdm.models.networks import NETWORK_PARTS, check_network
from ecdm.numerics.frequency import spectral_share
from ecdm.numerics.metrics import psnr

ASSETS = Path(__file__).resolve().parents[1] / "assets"
FOUNDATION, NETWORKS = ASSETS / "foundation", ASSETS / "networks"
HELD_OUT = range(2_000_000, 2_000_048)


@pytest.fixture(scope="module")
def components() -> Components:
    return load_foundation(FOUNDATION)


def pictures(items: int | None = None) -> torch.Tensor:
    return torch.stack([image_tensor(draw_scene(0, "test", i, 128, items).image) for i in HELD_OUT])


@pytest.mark.parametrize(("folder", "most"), [(FOUNDATION, 25_000_000), (NETWORKS, 20_000_000)])
def test_they_stay_small_and_hold_no_path(folder: Path, most: int) -> None:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert 0 < sum(path.stat().st_size for path in files) <= most
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


@pytest.mark.parametrize("name", NETWORK_PARTS)
def test_the_published_methods_networks_fit_the_foundation(name: str) -> None:
    check_network(name, NETWORKS / name, FOUNDATION)


def test_clip_holds_its_gate(components: Components) -> None:
    compare, classifier = load_params(ASSETS.parent / "params.yaml").compare, AttributeClassifier()
    audit = NetworkAudit(components, classifier, NETWORKS, compare, "no", 0, 128)
    found = audit.retrieval(groups=1)
    assert len(found) == 64
    assert sum(found) / len(found) >= RETRIEVAL
