"""The embedded data: captioned scenes of textured shapes on textured backgrounds, any number, from a seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ecdm.data.textures import BACKGROUNDS, FILLINGS, Surface

Colour = tuple[float, float, float]

SPLITS = ("train", "validation", "test")
SHAPES = ("circle", "square", "triangle", "cross", "diamond")
COLOURS = {
    "red": (0.82, 0.13, 0.14),
    "orange": (0.95, 0.55, 0.10),
    "yellow": (0.93, 0.85, 0.20),
    "green": (0.15, 0.60, 0.25),
    "blue": (0.15, 0.32, 0.80),
    "purple": (0.52, 0.20, 0.65),
    "white": (0.93, 0.93, 0.92),
    "black": (0.10, 0.10, 0.11),
}
TINTS = {
    "gray": (0.52, 0.52, 0.53),
    "brown": (0.62, 0.47, 0.33),
    "pink": (0.80, 0.60, 0.62),
    "teal": (0.40, 0.60, 0.60),
}
# The second tone of a filling: darker for most colours, lighter for black.
SECOND_TONE = {"black": (0.62, 0.62, 0.62)}
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Item:
    """One shape of a scene; `centre` (x, y) and `radius` in shares of the side, `angle` in radians."""

    shape: str
    colour: str
    texture: str
    centre: tuple[float, float]
    radius: float
    angle: float

    @property
    def phrase(self) -> str:
        """The words for it, as `a red striped circle`."""
        return with_article(f"{self.colour} {self.texture} {self.shape}")


@dataclass(frozen=True)
class Scene:
    """An image (size, size, 3) uint8, its captions and what it shows."""

    image: NDArray[np.uint8]
    captions: tuple[str, ...]
    items: tuple[Item, ...]
    background: str
    tint: str

    def description(self) -> dict[str, Any]:
        """What the scene shows, as plain data for a JSON file."""
        return {"background": self.background, "tint": self.tint, "items": [asdict(i) for i in self.items]}


@dataclass(frozen=True)
class Spot:
    """Where an item comes to stand: `centre` and `radius` as an item has them, and the words for the place."""

    centre: tuple[float, float]
    radius: float
    place: str


@dataclass(frozen=True)
class Distribution:
    """What scenes are made of, each drawn with equal probability by its name; colours are RGB in [0, 1].

    `key`: sets the random streams apart from those of other distributions. `second_tone`: of a filling, from the name
    of its colour and its first tone. `counts`: probabilities of one, two and three items. `turn`: the largest angle of
    an item, radians. `layout`: the spots of so many items, hindmost first. `captions`: of items, their places and the
    words for the background.
    """

    key: tuple[int, ...]
    colours: Mapping[str, Colour]
    tints: Mapping[str, Colour]
    backgrounds: Mapping[str, tuple[Surface, float]]
    fillings: Mapping[str, Surface]
    second_tone: Callable[[str, NDArray[np.float32]], NDArray[np.float32]]
    counts: tuple[float, float, float]
    turn: float
    layout: Callable[[np.random.Generator, int], list[Spot]]
    captions: Callable[[np.random.Generator, list[Item], list[str], str], tuple[str, ...]]


def embedded() -> Distribution:
    """The distribution that the bundled foundation was trained on."""
    return Distribution(
        key=(),
        colours=COLOURS,
        tints=TINTS,
        backgrounds=BACKGROUNDS,
        fillings=FILLINGS,
        second_tone=_darker,
        counts=(0.5, 0.3, 0.2),
        turn=0.12,
        layout=_layout,
        captions=_captions,
    )


def scene_rng(seed: int, split: str, index: int, key: tuple[int, ...] = ()) -> np.random.Generator:
    """The generator of one scene: no two (seed, split, index, key of a distribution) share a stream.

    Raises: ValueError for an unknown split.
    """
    if split not in SPLITS:
        raise ValueError(f"split: found {split!r}, expected one of {', '.join(SPLITS)}")
    return np.random.default_rng(np.random.SeedSequence([seed, SPLITS.index(split), index, *key]))


def _outline(shape: str) -> NDArray[np.float32]:
    """Vertices (n, 2) of a shape in the unit circle."""
    if shape == "circle":
        turn = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    elif shape == "triangle":
        turn = np.array([-0.5, 1 / 6, 5 / 6]) * np.pi
    elif shape == "diamond":
        diamond: NDArray[np.float32] = np.array([(0, -1), (0.62, 0), (0, 1), (-0.62, 0)], np.float32)
        return diamond
    elif shape == "square":
        turn = np.array([0.25, 0.75, 1.25, 1.75]) * np.pi
    else:
        a, b = 0.36, 0.98
        ring = [(a, b), (a, a), (b, a), (b, -a), (a, -a), (a, -b)]
        cross: NDArray[np.float32] = np.array(ring + [(-x, -y) for x, y in ring], np.float32)
        return cross
    return np.stack([np.cos(turn), np.sin(turn)], 1).astype(np.float32)


def _coverage(item: Item, size: int) -> NDArray[np.float32]:
    """The share of each pixel (size, size) that the item covers."""
    cos, sin = np.cos(item.angle), np.sin(item.angle)
    turned = _outline(item.shape) @ np.array([[cos, sin], [-sin, cos]], np.float32)
    points = (turned * item.radius + np.array(item.centre, np.float32)) * size
    canvas = np.zeros((size, size), np.uint8)
    cv2.fillPoly(canvas, [np.round(points * 256).astype(np.int32)], 255, cv2.LINE_AA, shift=8)
    return np.asarray(canvas.astype(np.float32) / 255, np.float32)


def _jittered(rng: np.random.Generator, colour: Colour, spread: float) -> NDArray[np.float32]:
    return np.clip(np.array(colour) + rng.uniform(-spread, spread, 3), 0.03, 0.97).astype(np.float32)


def _darker(colour: str, first: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.array(SECOND_TONE[colour], np.float32) if colour in SECOND_TONE else first * 0.42


def _fill(rng: np.random.Generator, item: Item, size: int, split: str, of: Distribution) -> NDArray[np.float32]:
    """The item's surface over the whole canvas, (size, size, 3)."""
    first = _jittered(rng, of.colours[item.colour], 0.03)
    second = of.second_tone(item.colour, first)
    share = np.clip(0.5 + 0.5 * of.fillings[item.texture](rng, size, split), 0, 1)[..., None]
    return first * share + second * (1 - share)


def _background(
    rng: np.random.Generator, name: str, tint: str, size: int, split: str, of: Distribution
) -> NDArray[np.float32]:  # fmt: skip
    surface, contrast = of.backgrounds[name]
    tone = surface(rng, size, split)[..., None] * contrast * rng.uniform(0.8, 1.1)
    return _jittered(rng, of.tints[tint], 0.05) * (1 + tone * 1.6)


def _layout(rng: np.random.Generator, count: int) -> list[Spot]:
    """Spots of one radius, apart from each other."""
    if count == 1:
        spots = {"in the middle": (0.5, 0.5), "on the left": (0.36, 0.5), "on the right": (0.64, 0.5),
                 "at the top": (0.5, 0.36), "at the bottom": (0.5, 0.64)}  # fmt: skip
        radius = rng.uniform(0.24, 0.31)
    elif count == 2:
        spots = (
            {"on the left": (0.28, 0.5), "on the right": (0.72, 0.5)}
            if rng.random() < 0.5
            else {"at the top": (0.5, 0.28), "at the bottom": (0.5, 0.72)}
        )
        radius = rng.uniform(0.18, 0.23)
    else:
        spots = {"at the top left": (0.27, 0.27), "at the top right": (0.73, 0.27),
                 "at the bottom left": (0.27, 0.73), "at the bottom right": (0.73, 0.73)}  # fmt: skip
        radius = rng.uniform(0.16, 0.20)
    names = list(spots)
    chosen = sorted(rng.choice(len(names), count, replace=False))
    centres = [tuple(np.array(spots[names[i]]) + rng.uniform(-0.03, 0.03, 2)) for i in chosen]
    return [Spot((float(x), float(y)), float(radius), names[i]) for (x, y), i in zip(centres, chosen, strict=True)]


def with_article(words: str) -> str:
    """The words after `a` or `an`."""
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def joined(parts: list[str]) -> str:
    """The parts as an enumeration: `a, b and c`."""
    return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]


def _captions(rng: np.random.Generator, items: list[Item], places: list[str], where: str) -> tuple[str, ...]:
    """Four captions that name every item, its place and the background, each in another form."""
    phrases = [item.phrase for item in items]
    placed = [f"{phrase} {place}" for phrase, place in zip(phrases, places, strict=True)]
    forms = [
        f"{joined(placed)} on a {where} background",
        f"{joined(phrases)} on a {where} background",
        f"a {where} background with {joined(placed)}",
        f"{joined(placed)}, behind it a {where} surface",
    ]
    if len(items) == 2:
        relation = "to the left of" if places[0] == "on the left" else "above"
        forms[3] = f"{phrases[0]} {relation} {phrases[1]} on a {where} background"
    return tuple(forms[i] for i in rng.permutation(len(forms)))


def draw_scene(
    seed: int, split: str, index: int, size: int, items: int | None = None, distribution: Distribution | None = None
) -> Scene:
    """Draw one scene: `items` shapes (1 to 3, drawn when None) before one background.

    Of the embedded distribution, if of no other. Returns a Scene whose image is (size, size, 3) uint8 and depends on
    the arguments alone.
    Raises: ValueError for an unknown split.
    """
    of = distribution or embedded()
    rng = scene_rng(seed, split, index, of.key)
    spots = of.layout(rng, items or int(rng.choice([1, 2, 3], p=of.counts)))
    shown = [
        Item(
            shape=str(rng.choice(SHAPES)),
            colour=str(rng.choice(list(of.colours))),
            texture=str(rng.choice(list(of.fillings))),
            centre=spot.centre,
            radius=spot.radius,
            angle=float(rng.uniform(-of.turn, of.turn)),
        )
        for spot in spots
    ]
    background, tint = str(rng.choice(list(of.backgrounds))), str(rng.choice(list(of.tints)))
    big = size * SUPERSAMPLING
    canvas = _background(rng, background, tint, big, split, of)
    for item in shown:
        alpha = _coverage(item, big)[..., None]
        canvas = canvas * (1 - alpha) + _fill(rng, item, big, split, of) * alpha
    small = cv2.resize(np.clip(canvas, 0, 1), (size, size), interpolation=cv2.INTER_AREA)
    captions = of.captions(rng, shown, [spot.place for spot in spots], f"{tint} {background}")
    return Scene(np.round(small * 255).astype(np.uint8), captions, tuple(shown), background, tint)
