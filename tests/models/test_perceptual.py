"""The perceptual distance: the lpips package's own values, and its stand-in's fixed weights."""

from __future__ import annotations

from urllib.error import URLError

import lpips
import pytest
import torch
from torch import Tensor

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


def test_pretrained_weights_that_cannot_be_had_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def offline(**options: object) -> None:
        asked.append(bool(options["pnet_rand"]))
        raise URLError("no network")

    monkeypatch.setattr(lpips, "LPIPS", offline)
    with pytest.raises(OSError, match=r"evaluate\.perceptual: lpips needs .* \(.*no network.*\)"):
        load_perceptual("lpips")
    assert asked == [False]
