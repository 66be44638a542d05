"""The perceptual distance: the lpips package's own values, and its stand-in's fixed weights."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import lpips
import pytest
import torch
from torch import Tensor
from torchvision.models import AlexNet_Weights, alexnet

from ecdm.models import perceptual
from ecdm.models.perceptual import Perceptual, load_perceptual


@pytest.fixture(scope="module")
def stand_in() -> Perceptual:
    return load_perceptual("lpips_random")


def pictures(seed: int) -> Tensor:
    return torch.rand((3, 3, 64, 64), generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_the_stand_in_is_the_packages_distance_over_a_random_trunk(stand_in: Perceptual) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(perceptual.SEED)
        own = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    with torch.no_grad():
        expected = own(pictures(0), pictures(1)).flatten()
    found = stand_in(pictures(0), pictures(1))
    assert torch.equal(found, expected)
    assert found.shape == (3,)
    assert float(found.min()) > 0
    # The heads are the trained ones, which the package carries: no weight of them is negative.
    assert all(float(head.model[-1].weight.detach().min()) >= 0 for head in own.lins)


def test_equal_pictures_have_no_distance(stand_in: Perceptual) -> None:
    assert stand_in(pictures(0), pictures(0)).tolist() == [0, 0, 0]


def test_loading_leaves_the_global_generator_alone_and_does_not_depend_on_it(stand_in: Perceptual) -> None:
    torch.manual_seed(123)
    state = torch.get_rng_state()
    again = load_perceptual("lpips_random")
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(again(pictures(0), pictures(1)), stand_in(pictures(0), pictures(1)))


def test_it_is_frozen(stand_in: Perceptual) -> None:
    assert not any(parameter.requires_grad for parameter in stand_in.parameters())
    assert not stand_in.net.training


def test_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"evaluate\.perceptual: found 'vgg'"):
        load_perceptual("vgg")


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the pretrained trunk would lie, and from where nothing is fetched."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    path.parent.mkdir(parents=True)
    return path


def test_pretrained_weights_are_not_fetched_unasked(cached: Path) -> None:
    with pytest.raises(FileNotFoundError, match=rf"lpips needs .* found no {cached}; `python -c .*` fetches it"):
        load_perceptual("lpips")


def test_another_file_than_the_published_one_is_not_read(cached: Path) -> None:
    torch.save(alexnet().state_dict(), cached)
    with pytest.raises(ValueError, match=rf"{cached}: found a SHA-256 that begins with .{{8}}, expected 7be5be79"):
        load_perceptual("lpips")


def test_the_trunk_in_the_cache_is_the_packages(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under the checksum of a file made here, as the published one is not to be had."""
    torch.manual_seed(5)
    network = alexnet()
    torch.save(network.state_dict(), cached)
    with cached.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    weights = AlexNet_Weights.IMAGENET1K_V1
    monkeypatch.setattr(perceptual, "ALEXNET", f"alexnet-owt-{digest[:8]}.pth")
    cached.rename(cached.with_name(perceptual.ALEXNET))
    published = dataclasses.replace(weights.value, url=weights.url.replace("7be5be79", digest[:8]))
    monkeypatch.setattr(weights, "_value_", published)
    found = load_perceptual("lpips")
    inner = found.net.net.slice1[0].weight
    assert torch.equal(inner, network.features[0].weight)
