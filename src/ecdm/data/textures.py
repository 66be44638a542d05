"""Surfaces of the embedded scenes: drawn patterns and photographed textures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

import cv2
import numpy as np
import skimage.io
from numpy.typing import NDArray
from skimage.data import data_dir

Array = NDArray[np.float32]
Surface = Callable[[np.random.Generator, int, str], Array]

# Each split cuts its photographed textures from columns of its own, so that no pixel is shared.
PHOTO_COLUMNS = {"train": (0, 256), "validation": (256, 384), "test": (384, 512)}


def grid(size: int) -> tuple[Array, Array]:
    """Pixel-centre coordinates (y, x), each (size, size), in pixels."""
    axis = np.arange(size, dtype=np.float32) + 0.5
    y, x = np.meshgrid(axis, axis, indexing="ij")
    return y, x


def square_wave(phase: Array, softness: float) -> Array:
    """An antialiased square wave of period 1 in [-1, 1]; `softness` is a pixel's share of a period."""
    wave: Array = np.clip(np.sin(2 * np.pi * phase) / max(softness * np.pi, 1e-3), -1, 1)
    return wave


def smooth_noise(rng: np.random.Generator, size: int, cells: int) -> Array:
    """Bicubic noise of `cells` knots a side, about unit amplitude."""
    knots = rng.standard_normal((cells + 3, cells + 3)).astype(np.float32)
    step = max(size // cells, 1)
    big = cv2.resize(knots, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    top, left = rng.integers(0, big.shape[0] - size + 1), rng.integers(0, big.shape[1] - size + 1)
    patch: Array = np.ascontiguousarray(big[top : top + size, left : left + size])
    return patch


def stripes(rng: np.random.Generator, size: int, split: str) -> Array:
    """Bars at one of eight angles, period 1/14 to 1/8 of the side."""
    y, x = grid(size)
    angle = rng.integers(0, 8) * np.pi / 8
    period = size / rng.uniform(8, 14)
    phase = (x * np.cos(angle) + y * np.sin(angle)) / period + rng.uniform()
    return square_wave(phase.astype(np.float32), 1 / period)


def checks(rng: np.random.Generator, size: int, split: str) -> Array:
    """A chessboard with 4 to 7 pairs of squares a side."""
    y, x = grid(size)
    period = size / rng.uniform(4, 7)
    waves = [square_wave(axis / period + np.float32(rng.uniform()), 1 / period) for axis in (y, x)]
    return waves[0] * waves[1]


def wood(rng: np.random.Generator, size: int, split: str) -> Array:
    """Rings bent by slow noise, along one axis."""
    y, x = grid(size)
    along, across = (x, y) if rng.random() < 0.5 else (y, x)
    bend = smooth_noise(rng, size, 3) * 0.6
    phase = across / size * rng.uniform(7, 10) + bend + along / size * rng.uniform(-0.5, 0.5)
    rings: Array = np.sin(2 * np.pi * phase).astype(np.float32)
    return rings


def noise(rng: np.random.Generator, size: int, split: str) -> Array:
    """Grain of two scales."""
    return 0.5 * smooth_noise(rng, size, 12) + 0.35 * smooth_noise(rng, size, 30)


def gradient(rng: np.random.Generator, size: int, split: str) -> Array:
    """A linear ramp in any direction."""
    y, x = grid(size)
    angle = rng.uniform(0, 2 * np.pi)
    ramp: Array = ((x - size / 2) * np.cos(angle) + (y - size / 2) * np.sin(angle)) / (size / 2)
    return ramp.astype(np.float32)


def dots(rng: np.random.Generator, size: int, split: str) -> Array:
    """Round dots on a square lattice, 11 to 14 a side."""
    y, x = grid(size)
    pitch = size / rng.uniform(11, 14)
    offset = rng.uniform(size=2)
    cell_y, cell_x = (y / pitch + offset[0]) % 1 - 0.5, (x / pitch + offset[1]) % 1 - 0.5
    disc: Array = np.clip((0.3 - np.hypot(cell_y, cell_x)) * pitch, -1, 1).astype(np.float32)
    return disc


def plain(rng: np.random.Generator, size: int, split: str) -> Array:
    """One flat value."""
    return np.ones((size, size), np.float32)


@cache
def _photo(name: str) -> Array:
    image = skimage.io.imread(f"{data_dir}/{name}.png").astype(np.float32)
    if image.ndim == 3:
        image = image[..., :3].mean(-1)
    blurred = cv2.GaussianBlur(image, (0, 0), 24)
    flat = image - blurred  # lighting removed: the texture alone
    normal: Array = np.clip(flat / (2.0 * flat.std()), -1.2, 1.2)
    return normal


def photographed(name: str, columns: Mapping[str, tuple[int, int]] | None = PHOTO_COLUMNS) -> Surface:
    """A surface cut from scikit-image's photograph `name`, out of the `columns` of the split; None for all columns."""

    def surface(rng: np.random.Generator, size: int, split: str) -> Array:
        image = _photo(name)
        left, right = (0, image.shape[1]) if columns is None else columns[split]
        side = min(right - left, 128)
        x = int(rng.integers(left, right - side + 1))
        y = int(rng.integers(0, image.shape[0] - side + 1))
        patch = image[y : y + side, x : x + side]
        patch = patch[:, ::-1] if rng.random() < 0.5 else patch
        return np.asarray(cv2.resize(patch, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)

    return surface


BACKGROUNDS: dict[str, tuple[Surface, float]] = {
    # name → surface in about [-1, 1], contrast
    "striped": (stripes, 0.22),
    "checked": (checks, 0.20),
    "wooden": (wood, 0.13),
    "noisy": (noise, 0.13),
    "gradient": (gradient, 0.16),
    "brick": (photographed("brick"), 0.20),
    "grass": (photographed("grass"), 0.15),
    "gravel": (photographed("gravel"), 0.15),
}
FILLINGS: dict[str, Surface] = {
    "plain": plain,
    "striped": stripes,
    "checked": checks,
    "dotted": dots,
    "rocky": photographed("gravel"),
}
