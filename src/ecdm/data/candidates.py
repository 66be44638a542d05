"""What a source offers: images and their captions, in an order that a seed decides, for one split or several."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

# Reasons for which an image is rejected, each maybe with details after a colon.
NO_CAPTION, DUPLICATE, UNKNOWN = "no caption", "duplicate", "caption of an unknown image"
OUTSIDE, MISSING = "outside its folder", "missing file"


@dataclass(frozen=True)
class Candidate:
    """An image that a source offers: its id, its file below the pool's root, its captions.

    `flaw`: why it cannot be taken, as far as the source's lists tell; None for no reason.
    """

    id: int
    name: str
    captions: tuple[str, ...]
    flaw: str | None = None


@dataclass(frozen=True)
class Pool:
    """Images of one folder, `root`, out of which `splits` are drawn one after the other, none of them twice.

    `strays`: (name, reason) of entries of the source's lists that belong to no image.
    `fetch`: brings the files of the named images to `root`, where the source is a remote one; those it does not
    find stay missing.
    """

    root: Path
    splits: tuple[str, ...]
    candidates: Sequence[Candidate]
    strays: tuple[tuple[str, str], ...] = ()
    fetch: Callable[[Sequence[str]], None] | None = None


def serving(folders: Mapping[str, tuple[str, ...]], splits: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Of folders and the splits that are drawn out of each, those that serve some of the wanted ones, with these."""
    wanted = {name: tuple(split for split in own if split in splits) for name, own in folders.items()}
    return {name: own for name, own in wanted.items() if own}


def kept(captions: Iterable[str]) -> tuple[str, ...]:
    """The captions without surrounding white space; blank ones do not count."""
    return tuple(stripped for caption in captions if (stripped := caption.strip()))


def caption_drawn(captions: Sequence[str], seed: int, image: str | int) -> tuple[str, ...]:
    """The captions with one of them, which seed and image decide, moved to the front.

    It is the one that inpainting asks for; people wrote the captions independently, so none is the first by right.
    """
    if not captions:
        return ()
    place = _number(seed, "caption", image) % len(captions)
    return (captions[place], *captions[:place], *captions[place + 1 :])


def in_seeded_order(candidates: Iterable[Candidate], seed: int) -> list[Candidate]:
    """The candidates in an order that seed and names decide.

    Each has a place of its own: one more or one less leaves the order of the others as it is.
    """
    return sorted(candidates, key=lambda candidate: _number(seed, "image", candidate.name))


def _number(seed: int, *key: str | int) -> int:
    text = json.dumps([str(part) for part in (seed, *key)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest())
