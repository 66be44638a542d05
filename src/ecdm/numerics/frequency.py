"""High-pass filter, amplitude and phase of the masked image, and spectral shares (eq. 11)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

WINDOWS = ("circle", "square")
AMPLITUDES = ("linear", "log")
LUMA = (0.299, 0.587, 0.114)
# Rounding of a float32 FFT, relative to the image's Euclidean norm: about eps * log2(pixels), with some room.
ROUNDING = 4e-6


def frequency_radius(height: int, width: int, like: Tensor) -> Tensor:
    """Return each bin's Euclidean distance from DC, (height, width) float32 in bins.

    DC stands at (height // 2, width // 2), as `fftshift` puts it for even and odd sizes alike; the result
    lies on the device of `like`.
    """
    rows, columns = _offsets(height, width, like)
    return torch.hypot(rows, columns)


def _offsets(height: int, width: int, like: Tensor) -> tuple[Tensor, Tensor]:
    rows = torch.arange(height, device=like.device, dtype=torch.float32) - height // 2
    columns = torch.arange(width, device=like.device, dtype=torch.float32) - width // 2
    return rows[:, None].expand(height, width), columns[None, :].expand(height, width)


def max_radius(height: int, width: int, window: str = "circle") -> float:
    """Return the distance in bins of the farthest bin; a high-pass radius must stay below it."""
    _check_window(window)
    rows, columns = height // 2, width // 2
    return math.hypot(rows, columns) if window == "circle" else float(max(rows, columns))


def _check_window(window: str) -> None:
    if window not in WINDOWS:
        raise ValueError(f"window: expected one of {', '.join(WINDOWS)}, found {window!r}")


def window_mask(height: int, width: int, radius: float, window: str, like: Tensor | None = None) -> Tensor:
    """Return the high-pass window, (height, width) float32 in fftshift layout: 1 above the radius, else 0.

    The distance is Euclidean for `circle`, the larger of both axes' for `square`. ValueError for another
    window, a negative radius and one that leaves no bin.
    """
    bound = max_radius(height, width, window)
    if not 0 <= radius < bound:
        raise ValueError(f"radius: expected 0 <= radius < {bound:g} bins ({window}, {height}x{width}), found {radius}")
    like = torch.empty(0) if like is None else like
    if window == "circle":
        distance = frequency_radius(height, width, like)
    else:
        rows, columns = _offsets(height, width, like)
        distance = torch.maximum(rows.abs(), columns.abs())
    return (distance > radius).float()


def _spectrum(image: Tensor) -> Tensor:
    """Spectrum without DC (b, c, h, w), complex64, centred; parts within rounding of 0 are exactly 0.

    Without that, bins that hold nothing would show rounding noise: a phase that differs between machines,
    and, for a constant image, an amplitude that normalisation blows up.
    """
    with torch.autocast(image.device.type, enabled=False):
        wide = image.float()
        # No filter here keeps DC, and without it only the contrast contributes rounding to the other bins.
        contrast = wide - wide.mean(dim=(-2, -1), keepdim=True)
        spectrum = torch.fft.fftshift(torch.fft.fft2(contrast), dim=(-2, -1))
        floor = ROUNDING * wide.square().sum(dim=(-2, -1), keepdim=True).sqrt()
        return torch.complex(_above(spectrum.real, floor), _above(spectrum.imag, floor))


def _above(values: Tensor, floor: Tensor) -> Tensor:
    return torch.where(values.abs() > floor, values, torch.zeros_like(values))


def high_pass(image: Tensor, radius: float, window: str) -> Tensor:
    """Remove all frequencies at or below `radius` bins from a real image: I_h of eq. 11.

    `image`: (b, c, h, w), any floating dtype; the result is float32 of that shape. Errors as in
    `window_mask`.
    """
    height, width = image.shape[-2:]
    kept = _spectrum(image) * window_mask(height, width, radius, window, image)
    return torch.fft.ifft2(torch.fft.ifftshift(kept, dim=(-2, -1))).real


def frequency_features(masked: Tensor, radius: float, window: str, amplitude: str = "linear") -> Tensor:
    """Amplitude and phase of the high-passed masked image, concatenated over channels: f_freq of eq. 11.

    `masked`: (b, c, h, w) in [0, 1], hole 0, any floating dtype. Result: (b, 2c, h, w) float32 in [-1, 1],
    fftshift layout: c amplitudes, |F| for `linear` and log(1 + |F|) for `log`, min-max scaled over the channels
    and bins of each sample alone (all -1 where nothing is above the radius), then c phases divided by pi, 0 in bins
    without content. Errors as in `window_mask`; ValueError for another amplitude.
    """
    if amplitude not in AMPLITUDES:
        raise ValueError(f"amplitude: expected one of {', '.join(AMPLITUDES)}, found {amplitude!r}")
    height, width = masked.shape[-2:]
    keep = window_mask(height, width, radius, window, masked)
    spectrum = _spectrum(masked)
    real, imag = spectrum.real * keep, spectrum.imag * keep
    # Adding 0 turns -0 into 0, for which atan2 would flip the phase between pi and -pi.
    phase = torch.atan2(imag + 0.0, real + 0.0) / math.pi
    size = torch.hypot(real, imag)
    return torch.cat([_min_max(torch.log1p(size) if amplitude == "log" else size), phase], dim=1)


def _min_max(values: Tensor) -> Tensor:
    low = values.amin(dim=(1, 2, 3), keepdim=True)
    span = values.amax(dim=(1, 2, 3), keepdim=True) - low
    return 2 * (values - low) / torch.where(span > 0, span, torch.ones_like(span)) - 1


def spectral_share(images: Tensor, radius: float) -> Tensor:
    """Share of the power above `radius`: sum |F|^2 of bins farther than it / sum |F|^2 of all but DC.

    `images`: (b, 3, h, w), of which F is the spectrum of the luma (Rec. 601), or (b, 1, h, w). Result: (b,)
    float64 in [0, 1]; 0 for a constant image. Errors as in `window_mask`.
    """
    channels, height, width = images.shape[-3:]
    if channels not in (1, 3):
        raise ValueError(f"images: expected 1 or 3 channels, found {channels}")
    weights = images.new_tensor(LUMA if channels == 3 else (1.0,), dtype=torch.float32)
    gray = (images.float() * weights[:, None, None]).sum(dim=1, keepdim=True)
    spectrum = _spectrum(gray)
    power = spectrum.real.double().square() + spectrum.imag.double().square()
    above = (power * window_mask(height, width, radius, "circle", images)).sum(dim=(1, 2, 3))
    total = (power * window_mask(height, width, 0, "circle", images)).sum(dim=(1, 2, 3))
    return above / torch.where(total > 0, total, torch.ones_like(total))
