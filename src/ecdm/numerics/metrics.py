"""Image metrics, one value per image: PSNR, SSIM, l1, hole-only variants and a perceptual distance.

Images are float (b, 3, h, w) in [0, 1], masks (b, 1, h, w) with 1 = hole; results are (b,) float64.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from ecdm.numerics.masks import is_hole

# Identical images have infinite PSNR, which JSON cannot hold: an error below 1e-10 counts as 100 dB.
PSNR_CAP = 100.0
SSIM_SIGMA = 1.5
# Half the 11x11 window that sigma 1.5 truncated at 3.5 deviations has.
SSIM_BORDER = 5


def to_uint8(x: Tensor) -> Tensor:
    """Convert [0, 1] to uint8: clamp, scale by 255, round to nearest with halves to even.

    Any shape; `x / 255` of a uint8 image comes back exactly. ValueError for NaN or infinite values.
    """
    if not bool(x.isfinite().all()):
        raise ValueError("image: expected finite values, found NaN or infinity")
    return (x.float().clamp(0, 1) * 255).round().to(torch.uint8)


def psnr(output: Tensor, target: Tensor) -> Tensor:
    """Peak signal-to-noise ratio in dB over all pixels and channels, at most `PSNR_CAP`."""
    output, target = _pair(output, target)
    return _decibel((output - target).square().flatten(1).mean(1))


def l1(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference over all pixels and channels, in [0, 1]."""
    output, target = _pair(output, target)
    return (output - target).abs().flatten(1).mean(1)


def ssim(output: Tensor, target: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004), Gaussian window of 11x11 and sigma 1.5, mean over channels.

    The mean leaves out the 5 border pixels whose window would reach beyond the image, as scikit-image does;
    padding never enters. ValueError for images smaller than 11 px.
    """
    output, target = _pair(output, target)
    if min(output.shape[-2:]) < 2 * SSIM_BORDER + 1:
        raise ValueError(f"image: SSIM needs at least 11x11 px, found {tuple(output.shape[-2:])}")
    # In float64 torchmetrics' convolution takes a hundred times as long on the CPU.
    values = [
        structural_similarity(
            a, b, channel_axis=0, gaussian_weights=True, sigma=SSIM_SIGMA, use_sample_covariance=False, data_range=1.0
        )
        for a, b in zip(output.cpu().numpy(), target.cpu().numpy(), strict=True)
    ]
    return torch.tensor(values, dtype=torch.float64, device=output.device)


def psnr_hole(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """PSNR in dB over the hole's pixels alone; ValueError for an empty hole."""
    output, target = _pair(output, target)
    return _decibel(_hole_mean((output - target).square(), mask))


def l1_hole(output: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Mean absolute difference over the hole's pixels alone; ValueError for an empty hole."""
    output, target = _pair(output, target)
    return _hole_mean((output - target).abs(), mask)


def perceptual(net: Callable[[Tensor, Tensor], Tensor], output: Tensor, target: Tensor) -> Tensor:
    """Distance that `net` measures between images scaled to [-1, 1], float32, as `lpips` nets expect them."""
    output, target = _pair(output, target)
    with torch.no_grad():
        distance = net((2 * output - 1).float(), (2 * target - 1).float())
    return distance.reshape(len(output)).double()


def _pair(output: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    if output.shape != target.shape or output.ndim != 4:
        found = f"{tuple(output.shape)} and {tuple(target.shape)}"
        raise ValueError(f"images: expected two of one shape (b, c, h, w), found {found}")
    for name, image in (("output", output), ("target", target)):
        if not image.is_floating_point():
            raise ValueError(f"{name}: expected floating point in [0, 1], found {image.dtype}")
        # Written so that NaN fails too.
        if not bool(((image >= 0) & (image <= 1)).all()):
            raise ValueError(f"{name}: expected [0, 1], found {float(image.min()):g}..{float(image.max()):g}")
    return output.double(), target.double()


def _hole_mean(values: Tensor, mask: Tensor) -> Tensor:
    hole = is_hole(mask).expand_as(values)
    count = hole.flatten(1).sum(1)
    empty = (count == 0).nonzero()[:, 0].tolist()
    if empty:
        raise ValueError(f"mask: expected a hole pixel or more, found none in images {empty} of the batch")
    return torch.where(hole, values, 0.0).flatten(1).sum(1) / count


def _decibel(error: Tensor) -> Tensor:
    return -10 * error.clamp(min=10 ** (-PSNR_CAP / 10)).log10()
