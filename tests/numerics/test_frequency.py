"""Eq. 11 against analytic sinusoids and numpy's FFT."""

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from ecdm.numerics import frequency

SIZES = [(32, 32), (33, 33), (32, 45), (31, 64), (64, 31)]
WINDOWS = ["circle", "square"]


def sinusoid(height: int, width: int, rows: int, columns: int) -> torch.Tensor:
    """Wave of `rows` and `columns` whole periods over the image, (1, 1, height, width)."""
    y, x = torch.arange(height).double()[:, None], torch.arange(width).double()
    return torch.cos(2 * math.pi * (rows * y / height + columns * x / width) + 0.7)[None, None]


def random_images(seed: int, *shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def reference(image: torch.Tensor, radius: float, window: str) -> NDArray[np.complex128]:
    """High-passed spectrum by numpy's own frequencies, in float64."""
    height, width = image.shape[-2:]
    y = np.fft.fftfreq(height, 1 / height)[:, None]
    x = np.fft.fftfreq(width, 1 / width)[None]
    distance = np.hypot(y, x) if window == "circle" else np.maximum(abs(y), abs(x))
    return np.where(distance > radius + 1e-6, np.fft.fft2(image.double().numpy()), 0)


@pytest.mark.parametrize("size", [*SIZES, (1, 5), (4, 1)])
def test_radius_is_the_distance_from_dc(size: tuple[int, int]) -> None:
    height, width = size
    y = np.fft.fftshift(np.fft.fftfreq(height, 1 / height))[:, None]
    x = np.fft.fftshift(np.fft.fftfreq(width, 1 / width))[None]
    found = frequency.frequency_radius(height, width, torch.empty(0))
    np.testing.assert_allclose(found.numpy(), np.hypot(y, x), rtol=1e-6)
    assert frequency.max_radius(height, width) == pytest.approx(float(found.max()))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wave", [(0, 1), (3, 0), (2, 3), (3, -2), (0, 4), (4, 0)])
def test_waves_at_or_below_the_radius_vanish(size: tuple[int, int], wave: tuple[int, int]) -> None:
    image = sinusoid(*size, *wave) + 0.5
    for window in WINDOWS:
        assert float(frequency.high_pass(image, 4, window).abs().max()) < 1e-5


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("wave", [(0, 5), (5, 0), (5, -5), (12, 3), (3, 12), (-9, 14)])
def test_waves_above_the_radius_stay(size: tuple[int, int], wave: tuple[int, int]) -> None:
    image = sinusoid(*size, *wave)
    for window in WINDOWS:
        passed = frequency.high_pass(image + 0.5, 4, window)
        torch.testing.assert_close(passed, image.float(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
def test_the_windows_differ_in_their_corners(size: tuple[int, int]) -> None:
    """(4, 4) is 5.7 bins away, yet inside the square of half side 4."""
    image = sinusoid(*size, 4, 4)
    torch.testing.assert_close(frequency.high_pass(image, 4, "circle"), image.float(), rtol=0, atol=1e-5)
    assert float(frequency.high_pass(image, 4, "square").abs().max()) < 1e-5


@pytest.mark.parametrize("size", SIZES)
def test_a_mixture_keeps_its_high_part(size: tuple[int, int]) -> None:
    low, high = sinusoid(*size, 2, -1), sinusoid(*size, 7, 9)
    passed = frequency.high_pass(low + high + 1, 4, "circle")
    torch.testing.assert_close(passed, high.float(), rtol=0, atol=1e-5)


def test_radius_zero_removes_the_mean_alone() -> None:
    image = random_images(0, 2, 3, 20, 31)
    expected = image - image.mean(dim=(-2, -1), keepdim=True)
    torch.testing.assert_close(frequency.high_pass(image, 0, "circle"), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("window", WINDOWS)
def test_high_pass_equals_numpy(size: tuple[int, int], window: str) -> None:
    image = random_images(1, 2, 3, *size)
    expected = np.fft.ifft2(reference(image, 5, window))
    assert abs(expected.imag).max() < 1e-12
    np.testing.assert_allclose(frequency.high_pass(image, 5, window).numpy(), expected.real, atol=1e-5)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("scale", ["linear", "log"])
def test_features_equal_numpy(size: tuple[int, int], window: str, scale: str) -> None:
    image = random_images(2, 2, 3, *size)
    spectrum = np.fft.fftshift(reference(image, 4, window), axes=(-2, -1))
    amplitude = abs(spectrum)
    scaled = np.log1p(amplitude) if scale == "log" else amplitude
    low, high = scaled.min(axis=(1, 2, 3), keepdims=True), scaled.max(axis=(1, 2, 3), keepdims=True)
    found = frequency.frequency_features(image, 4, window, scale)
    assert found.shape == (2, 6, *size)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found[:, :3].numpy(), 2 * (scaled - low) / (high - low) - 1, atol=1e-5)
    turned = np.exp(1j * math.pi * found[:, 3:].double().numpy())
    removed = spectrum == 0
    np.testing.assert_allclose(turned[~removed], (spectrum / np.where(removed, 1, amplitude))[~removed], atol=1e-3)
    assert not found[:, 3:].numpy()[removed].any()
    assert (found[:, :3].numpy()[removed] == -1).all()


def test_features_are_those_of_the_high_passed_image() -> None:
    image = random_images(3, 1, 3, 24, 24)
    expected = np.fft.fftshift(np.fft.fft2(frequency.high_pass(image, 4, "circle").double().numpy()), axes=(-2, -1))
    amplitude = abs(expected)
    found = frequency.frequency_features(image, 4, "circle")
    np.testing.assert_allclose((found[:, :3].numpy() + 1) / 2, amplitude / amplitude.max(), atol=1e-5)


def test_each_sample_is_scaled_alone() -> None:
    image = random_images(4, 3, 3, 16, 20)
    image[1] *= 0.01
    both = frequency.frequency_features(image, 2, "circle")
    assert both[:, :3].amax(dim=(1, 2, 3)).tolist() == [1, 1, 1]
    assert both[:, :3].amin(dim=(1, 2, 3)).tolist() == [-1, -1, -1]
    for i in range(3):
        torch.testing.assert_close(frequency.frequency_features(image[i : i + 1], 2, "circle"), both[i : i + 1])


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 1.0])
@pytest.mark.parametrize("size", [*SIZES, (128, 128), (127, 125)])
def test_a_constant_image_has_amplitude_minus_one_and_no_phase(size: tuple[int, int], value: float) -> None:
    found = frequency.frequency_features(torch.full((2, 3, *size), value), 4, "circle")
    assert (found[:, :3] == -1).all()
    assert (found[:, 3:] == 0).all()


def test_a_waves_phase_stands_in_its_two_bins_alone() -> None:
    found = frequency.frequency_features(sinusoid(33, 48, 6, 7), 4, "circle")[0]
    assert sorted((found[0] > -1).nonzero().tolist()) == [[10, 17], [22, 31]]
    phase = found[1] * math.pi
    assert float(phase[22, 31]) == pytest.approx(0.7, abs=1e-5)
    assert float(phase[10, 17]) == pytest.approx(-0.7, abs=1e-5)
    assert int((phase != 0).sum()) == 2


def test_negative_real_bins_have_phase_plus_one_never_minus_one() -> None:
    """A bin that is its own mirror image has no imaginary part, whose sign of zero must not matter."""
    y, x = torch.arange(16)[:, None], torch.arange(16)
    board = -((-1.0) ** (y + x))[None, None] * 0.25 + 0.5
    found = frequency.frequency_features(board, 4, "circle")[0, 1]
    assert float(found[0, 0]) == 1
    assert int((found != 0).sum()) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_any_dtype_is_transformed_in_float32(dtype: torch.dtype) -> None:
    image = random_images(5, 1, 3, 15, 18).to(dtype)
    before = image.clone()
    expected = frequency.frequency_features(image.float(), 3, "circle")
    assert torch.equal(frequency.frequency_features(image, 3, "circle"), expected)
    assert frequency.high_pass(image, 3, "circle").dtype == torch.float32
    assert torch.equal(image, before)


def test_autocast_changes_nothing() -> None:
    image = random_images(6, 1, 3, 15, 18)
    plain = frequency.frequency_features(image, 3, "circle"), frequency.spectral_share(image, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = frequency.frequency_features(image, 3, "circle"), frequency.spectral_share(image, 3)
    assert torch.equal(plain[0], cast[0])
    assert torch.equal(plain[1], cast[1])


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("size", SIZES)
def test_radius_outside_the_spectrum_is_refused(size: tuple[int, int], window: str) -> None:
    bound = frequency.max_radius(*size, window)
    assert frequency.window_mask(*size, bound - 0.01, window).sum() >= 1
    for radius in (-1, bound, bound + 5, float("nan")):
        with pytest.raises(ValueError, match="radius"):
            frequency.window_mask(*size, radius, window)
    with pytest.raises(ValueError, match="radius"):
        frequency.frequency_features(torch.zeros(1, 3, *size), bound, window)


def test_unknown_amplitude_is_refused() -> None:
    with pytest.raises(ValueError, match="amplitude: expected one of linear, log, found 'power'"):
        frequency.frequency_features(torch.zeros(1, 3, 32, 32), 4, "circle", "power")


def test_unknown_window_is_refused() -> None:
    with pytest.raises(ValueError, match="circle, square"):
        frequency.high_pass(torch.zeros(1, 3, 16, 16), 4, "hexagon")


def test_spectral_share_of_two_waves() -> None:
    """Power goes with the squared amplitude: 1 below and 4 above give 0.8."""
    image = 0.5 + 0.1 * sinusoid(40, 31, 2, 1) + 0.2 * sinusoid(40, 31, 8, -5)
    assert float(frequency.spectral_share(image, 4)) == pytest.approx(0.8, abs=1e-5)
    rgb = image.expand(1, 3, 40, 31)
    assert float(frequency.spectral_share(rgb, 4)) == pytest.approx(0.8, abs=1e-5)


def test_spectral_share_equals_numpy() -> None:
    images = random_images(7, 3, 3, 20, 27)
    gray = np.tensordot(images.double().numpy(), [0.299, 0.587, 0.114], axes=([1], [0]))
    power = abs(np.fft.fft2(gray)) ** 2
    y, x = np.fft.fftfreq(20, 1 / 20)[:, None], np.fft.fftfreq(27, 1 / 27)[None]
    expected = (power * (np.hypot(y, x) > 4)).sum((1, 2)) / (power.sum((1, 2)) - power[:, 0, 0])
    np.testing.assert_allclose(frequency.spectral_share(images, 4).numpy(), expected, rtol=1e-5)


def test_spectral_share_of_a_constant_image_is_zero() -> None:
    assert frequency.spectral_share(torch.full((2, 3, 33, 20), 0.3), 4).tolist() == [0, 0]
    with pytest.raises(ValueError, match="channels"):
        frequency.spectral_share(torch.zeros(1, 2, 16, 16), 4)
