"""Metrics against scikit-image, torchmetrics and lpips."""

import math

import lpips
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio
from torchmetrics.functional.image import peak_signal_noise_ratio as torch_psnr
from torchmetrics.functional.image import structural_similarity_index_measure as torch_ssim

from ecdm.numerics import metrics


def pair(height: int = 40, width: int = 52) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth targets and outputs at several distances from them, (3, 3, height, width) in [0, 1]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(3, 3, 5, 6, generator=generator)
    target = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 1)
    noise = torch.randn(target.shape, generator=generator)
    return (target + torch.tensor([0.01, 0.1, 0.4])[:, None, None, None] * noise).clamp(0, 1), target


def hole() -> torch.Tensor:
    mask = torch.zeros(3, 1, 40, 52)
    mask[0, :, :10, :7] = 1
    mask[1, :, 5:35, 20:] = 1
    mask[2, :, 3, 3] = 1
    return mask


def channels_last(images: torch.Tensor) -> list[np.ndarray]:
    return list(images.double().permute(0, 2, 3, 1).numpy())


def test_psnr_equals_scikit_image_and_torchmetrics() -> None:
    output, target = pair()
    found = metrics.psnr(output, target)
    pairs = zip(channels_last(target), channels_last(output), strict=True)
    expected = [peak_signal_noise_ratio(b, a, data_range=1) for b, a in pairs]
    assert found.tolist() == pytest.approx(expected, rel=1e-9)
    other = torch_psnr(output.double(), target.double(), data_range=1.0, dim=(1, 2, 3), reduction="none")
    # torchmetrics takes the logarithm of the range in float32.
    assert found.tolist() == pytest.approx(other.tolist(), rel=1e-6)


@pytest.mark.parametrize("size", [(40, 52), (33, 27), (11, 11)])
def test_ssim_equals_torchmetrics_inside_the_border(size: tuple[int, int]) -> None:
    output, target = (x.double() for x in pair(*size))
    _, full = torch_ssim(output, target, sigma=1.5, data_range=1.0, reduction="none", return_full_image=True)
    expected = full[..., 5:-5, 5:-5].flatten(1).mean(1)
    assert metrics.ssim(output, target).tolist() == pytest.approx(expected.tolist(), abs=1e-12)


def test_l1_equals_numpy() -> None:
    output, target = pair()
    expected = np.abs(output.double().numpy() - target.double().numpy()).mean(axis=(1, 2, 3))
    assert metrics.l1(output, target).tolist() == pytest.approx(expected.tolist(), rel=1e-12)


def test_known_values() -> None:
    zero, half = torch.zeros(1, 3, 16, 16), torch.full((1, 3, 16, 16), 0.5)
    assert metrics.psnr(zero, half).item() == pytest.approx(20 * math.log10(2))
    assert metrics.l1(zero, half).item() == 0.5
    # Flat images have no variance: the luminance term is all that is left.
    assert metrics.ssim(zero, half).item() == pytest.approx(1e-4 / (0.25 + 1e-4), rel=1e-6)


def test_identical_images() -> None:
    _, target = pair()
    assert metrics.psnr(target, target).tolist() == [metrics.PSNR_CAP] * 3
    assert metrics.psnr_hole(target, target, hole()).tolist() == [metrics.PSNR_CAP] * 3
    assert metrics.ssim(target, target).tolist() == pytest.approx([1, 1, 1], abs=1e-12)
    assert metrics.l1(target, target).tolist() == [0, 0, 0]


def test_hole_metrics_see_the_hole_alone() -> None:
    output, target = pair()
    mask = hole()
    inside = mask.bool().expand_as(output).numpy()
    for i in range(3):
        a, b = output[i].double().numpy()[inside[i]], target[i].double().numpy()[inside[i]]
        found = metrics.psnr_hole(output, target, mask)[i].item()
        assert found == pytest.approx(peak_signal_noise_ratio(b, a, data_range=1), rel=1e-9)
        assert metrics.l1_hole(output, target, mask)[i].item() == pytest.approx(np.abs(a - b).mean(), rel=1e-9)
    changed = torch.where(mask.bool(), output, 1 - output)
    assert torch.equal(metrics.l1_hole(changed, target, mask), metrics.l1_hole(output, target, mask))
    assert torch.equal(metrics.psnr_hole(changed, target, mask.bool()), metrics.psnr_hole(output, target, mask))


def test_a_full_hole_gives_the_full_image_metrics() -> None:
    output, target = pair()
    full = torch.ones(3, 1, 40, 52)
    torch.testing.assert_close(metrics.psnr_hole(output, target, full), metrics.psnr(output, target))
    torch.testing.assert_close(metrics.l1_hole(output, target, full), metrics.l1(output, target))


def test_an_empty_hole_is_refused() -> None:
    output, target = pair()
    mask = hole()
    mask[1] = 0
    for metric in (metrics.psnr_hole, metrics.l1_hole):
        with pytest.raises(ValueError, match=r"none in images \[1\]"):
            metric(output, target, mask)


def test_perceptual_equals_lpips() -> None:
    """A trunk with random weights under the linear heads that the package carries: no download."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False).eval()
    output, target = pair(64, 64)
    with torch.no_grad():
        expected = net(output, target, normalize=True).flatten()
    found = metrics.perceptual(net, output, target)
    assert found.shape == (3,)
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-4)
    assert metrics.perceptual(net, target, target).tolist() == [0, 0, 0]
    assert not found.requires_grad


def test_values_do_not_depend_on_the_batch() -> None:
    output, target = pair()
    for metric in (metrics.psnr, metrics.ssim, metrics.l1):
        whole = metric(output, target)
        assert whole.shape == (3,)
        assert whole.dtype == torch.float64
        for i in range(3):
            assert metric(output[i : i + 1], target[i : i + 1]).item() == pytest.approx(whole[i].item(), abs=1e-12)


def test_to_uint8_rounds_to_nearest_and_returns_its_own_values() -> None:
    values = torch.arange(256, dtype=torch.uint8)
    for dtype in (torch.float32, torch.float64):
        assert torch.equal(metrics.to_uint8(values.to(dtype) / 255), values)
    odd = torch.tensor([-0.2, 0.0, 0.4 / 255, 0.6 / 255, 0.5, 1.0, 3.0])
    assert metrics.to_uint8(odd).tolist() == [0, 0, 0, 1, 128, 255, 255]
    with pytest.raises(ValueError, match="NaN"):
        metrics.to_uint8(torch.tensor([0.5, float("nan")]))


def test_bad_images_are_refused() -> None:
    output, target = pair()
    with pytest.raises(ValueError, match="one shape"):
        metrics.psnr(output, target[:1])
    with pytest.raises(ValueError, match=r"output: expected \[0, 1\], found -1"):
        metrics.l1(2 * target.round() - 1, target)
    with pytest.raises(ValueError, match="target: expected"):
        metrics.l1(output, target * float("nan"))
    with pytest.raises(ValueError, match="floating"):
        metrics.psnr(metrics.to_uint8(output), metrics.to_uint8(target))
    with pytest.raises(ValueError, match="11x11"):
        metrics.ssim(output[..., :10], target[..., :10])
