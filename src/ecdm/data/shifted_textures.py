"""Surfaces of the shifted scenes: other patterns and other photographs than those of the embedded ones."""

from __future__ import annotations

import numpy as np

from ecdm.data.textures import Array, Surface, grid, photographed, smooth_noise, square_wave


def woven(rng: np.random.Generator, size: int, split: str) -> Array:
    """A basket weave: cells of three strands, along and across in turn, 7 to 10 cells a side."""
    y, x = grid(size)
    pitch = size / rng.uniform(7, 10)
    v, u = y / pitch + np.float32(rng.uniform()), x / pitch + np.float32(rng.uniform())
    along = (np.floor(u) + np.floor(v)) % 2 == 0
    strand, length = np.where(along, v, u) % 1, np.where(along, u, v) % 1
    bulge = np.sqrt(np.abs(np.sin(3 * np.pi * strand))) * (0.45 + 0.55 * np.sin(np.pi * length))
    return (2 * bulge - 1).astype(np.float32)


def tiles(rng: np.random.Generator, size: int, split: str) -> Array:
    """Hexagons with dark joints, 6 to 9 a side; every tile has a shade of its own."""
    y, x = grid(size)
    pitch = size / rng.uniform(6, 9)
    lattice = np.array([1.0, np.sqrt(3.0)], np.float32)
    point = np.stack([x, y], -1) / pitch + rng.uniform(0, 1, 2).astype(np.float32)
    # The nearest of two rectangular lattices of centres, one shifted by half a cell, is the hexagon's.
    nearest = [np.round((point - shift) / lattice) * lattice + shift for shift in (0 * lattice, lattice / 2)]
    first, second = (((point - centre) ** 2).sum(-1) for centre in nearest)
    centre = np.where((first <= second)[..., None], *nearest)
    dx, dy = np.abs(point - centre).transpose(2, 0, 1)
    edge = 0.5 - np.maximum(dx, 0.5 * dx + np.sqrt(0.75) * dy)
    shade = np.sin(centre @ rng.uniform(3, 40, 2) + rng.uniform(0, 6)) * 0.45
    joint = np.clip((edge - 0.045) * pitch, 0, 1)
    return (joint * (0.45 + shade) - (1 - joint) * 1.2).astype(np.float32)


def zigzag(rng: np.random.Generator, size: int, split: str) -> Array:
    """Bars with sharp bends, 8 to 12 of them across."""
    y, x = grid(size)
    along, across = (x, y) if rng.random() < 0.5 else (y, x)
    period, bends = size / rng.uniform(8, 12), rng.uniform(3, 6)
    bend = 2 * np.abs((along / size * bends + rng.uniform()) % 1 - 0.5)
    phase = across / period + bend * rng.uniform(1.0, 1.8)
    return square_wave(phase.astype(np.float32), 1.4 / period)


def waves(rng: np.random.Generator, size: int, split: str) -> Array:
    """Swinging bars at any angle, 9 to 13 of them across."""
    y, x = grid(size)
    angle = rng.uniform(0, np.pi)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    period = size / rng.uniform(9, 13)
    swing = np.sin(2 * np.pi * along / size * rng.uniform(3, 5)) * rng.uniform(0.35, 0.6)
    return square_wave((across / period + swing).astype(np.float32), 1 / period)


def rings(rng: np.random.Generator, size: int, split: str) -> Array:
    """Circles around one point of the canvas, period 1/17 to 1/12 of the side."""
    y, x = grid(size)
    centre = rng.uniform(0.2, 0.8, 2) * size
    period = size / rng.uniform(12, 17)
    distance = np.hypot(y - centre[0], x - centre[1])
    return square_wave((distance / period).astype(np.float32), 1 / period)


def marble(rng: np.random.Generator, size: int, split: str) -> Array:
    """Thin dark veins in a cloudy ground."""
    cloud = 0.7 * smooth_noise(rng, size, 4) + 0.35 * smooth_noise(rng, size, 10)
    vein = np.abs(np.sin(np.pi * (1.6 * cloud + rng.uniform())))
    speck = smooth_noise(rng, size, 20) * 0.3
    return (1.1 * np.minimum(vein * 1.8, 1) ** 0.7 - 0.75 + 0.2 * cloud + speck).astype(np.float32)


def spots(rng: np.random.Generator, size: int, split: str) -> Array:
    """Patches of any form with sharp borders, less than half of the surface."""
    height = smooth_noise(rng, size, 20) + np.float32(rng.uniform(0.2, 0.4))
    return np.clip(height * np.float32(size / 24), -1, 1)


BACKGROUNDS: dict[str, tuple[Surface, float]] = {
    "woven": (woven, 0.20),
    "tiled": (tiles, 0.20),
    "zigzag": (zigzag, 0.19),
    "marbled": (marble, 0.18),
    "moon": (photographed("moon", None), 0.22),
    "tissue": (photographed("ihc", None), 0.18),
}
FILLINGS: dict[str, Surface] = {
    "wavy": waves,
    "ringed": rings,
    "woven": woven,
    "tiled": tiles,
    "spotted": spots,
}
