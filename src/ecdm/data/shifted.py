"""A second distribution of scenes, with other textures, colours and layouts, which nothing is trained on.

The words for shapes are those of the embedded scenes, and most for colours and places, so that a model of these can be
asked; what the words look like, and how they go together, is new to it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecdm.data.scenes import Colour, Distribution, Item, Spot, joined, with_article
from ecdm.data.shifted_textures import BACKGROUNDS, FILLINGS

COLOURS: dict[str, Colour] = {
    # Tints and known colours in hues that the embedded scenes do not have.
    "pink": (0.97, 0.36, 0.66),
    "teal": (0.03, 0.74, 0.68),
    "brown": (0.36, 0.19, 0.08),
    "gray": (0.38, 0.42, 0.50),
    "red": (0.48, 0.02, 0.20),
    "green": (0.60, 0.85, 0.14),
    "blue": (0.36, 0.72, 0.97),
    "purple": (0.72, 0.56, 0.96),
}
TINTS: dict[str, Colour] = {
    "yellow": (0.82, 0.73, 0.46),
    "green": (0.40, 0.52, 0.34),
    "blue": (0.33, 0.40, 0.62),
    "purple": (0.47, 0.33, 0.50),
    "orange": (0.80, 0.52, 0.34),
    "white": (0.84, 0.83, 0.78),
}
ROWS = {"at the top": 0.22, "": 0.5, "at the bottom": 0.78}
COLUMNS = {"left": 0.22, "": 0.5, "right": 0.78}


def shifted() -> Distribution:
    """The distribution; its scenes are those of split `test` alone."""
    return Distribution(
        key=(1,),
        colours=COLOURS,
        tints=TINTS,
        backgrounds=BACKGROUNDS,
        fillings=FILLINGS,
        second_tone=_paler,
        counts=(0.4, 0.4, 0.2),
        turn=0.6,
        layout=_layout,
        captions=_captions,
    )


def _paler(colour: str, first: NDArray[np.float32]) -> NDArray[np.float32]:
    """Three quarters of the way to white for dark colours, to a deep shade of itself for pale ones."""
    if first.mean() < 0.5:
        return (0.3 * first + 0.7).astype(np.float32)
    return (first * np.array([0.30, 0.22, 0.34], np.float32)).astype(np.float32)


def _layout(rng: np.random.Generator, count: int) -> list[Spot]:
    """One small item off the middle or one large, a pair that overlaps, or a row of three small ones."""
    if count == 1:
        return [_large(rng) if rng.random() < 0.4 else _aside(rng)]
    return _pair(rng) if count == 2 else _row(rng)


def _near(rng: np.random.Generator, x: float, y: float, spread: float) -> tuple[float, float]:
    return float(x + rng.uniform(-spread, spread)), float(y + rng.uniform(-spread, spread))


def _large(rng: np.random.Generator) -> Spot:
    return Spot(_near(rng, 0.5, 0.5, 0.05), float(rng.uniform(0.35, 0.42)), "in the middle")


def _aside(rng: np.random.Generator) -> Spot:
    spots = [(row, column) for row in ROWS for column in COLUMNS if row or column]
    row, column = spots[rng.integers(len(spots))]
    place = f"{row} {column}" if row and column else row or f"on the {column}"
    return Spot(_near(rng, COLUMNS[column], ROWS[row], 0.05), float(rng.uniform(0.11, 0.15)), place)


def _pair(rng: np.random.Generator) -> list[Spot]:
    """The hinder one and, over a part of it, the other."""
    middle, radius, turn = _near(rng, 0.5, 0.5, 0.12), rng.uniform(0.20, 0.25), rng.uniform(0, 2 * np.pi)
    apart = radius * rng.uniform(1.0, 1.25) / 2 * np.array([np.cos(turn), np.sin(turn)])
    lying = abs(apart[0]) > abs(apart[1])
    places = ("on the left", "on the right") if lying else ("at the top", "at the bottom")
    if apart[0 if lying else 1] > 0:
        places = places[::-1]
    return [
        Spot((float(middle[0] + side * apart[0]), float(middle[1] + side * apart[1])), float(radius), place)
        for side, place in zip((1, -1), places, strict=True)
    ]


def _row(rng: np.random.Generator) -> list[Spot]:
    lying, level, radius = rng.random() < 0.5, rng.uniform(0.25, 0.75), float(rng.uniform(0.10, 0.13))
    points = [(at, level) if lying else (level, at) for at in (0.2, 0.5, 0.8)]
    return [Spot(_near(rng, x, y, 0.03), radius, "in a row") for x, y in points]


def _captions(rng: np.random.Generator, items: list[Item], places: list[str], where: str) -> tuple[str, ...]:
    """Four captions that name every item and the background, in other forms than those of the embedded scenes."""
    phrases = [item.phrase for item in items]
    placed = joined([f"{phrase} {place}" for phrase, place in zip(phrases, places, strict=True)])
    if len(items) == 3:
        # With a place for each, the caption would be longer than what the bundled text encoder reads.
        placed = f"{joined(phrases)} {places[0]}"
    surface = with_article(f"{where} surface")
    forms = [
        f"{placed}, {surface} behind",
        f"{surface} behind {joined(phrases)}",
        f"{joined(phrases)} over {surface}",
        f"{surface}: {placed}",
    ]
    if len(items) == 2:
        hinder, upper = phrases
        forms[1] = f"{upper} on top of {hinder}, {surface} behind"
        forms[2] = f"{hinder} behind {upper} over {surface}"
    return tuple(forms[i] for i in rng.permutation(len(forms)))
