"""What a search over hyperparameters found, as `ecdm tune report` left it, for the page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from ecdm.reporting.cited import Cited
from ecdm.reporting.pictures import Tile, webp

FOLDER, SUMMARY, LANDSCAPE = "search", "summary.json", "landscape.png"
# Largest width of the picture in the page, pixels, and its quality as WebP.
WIDTH, QUALITY = 1200, 90


@dataclass(frozen=True)
class SearchLine:
    """The paper's values or the best ones: each value, the objectives in the search, and their means over seeds."""

    title: str
    params: tuple[Cited, ...]
    values: tuple[Cited, ...]
    means: tuple[Cited, ...]


@dataclass(frozen=True)
class Searched:
    """A search: the answer in a sentence, how many trials it comes from, and the landscape, if there is one.

    `counts`: complete and pruned trials, and how many there will be.
    """

    sentence: str
    keys: tuple[str, ...]
    objectives: tuple[str, ...]
    lines: tuple[SearchLine, ...]
    counts: tuple[Cited, Cited, Cited]
    picture: Tile | None


def read_search(reports: Path) -> Searched | None:
    """The search below `reports`; None where there is none. Raises ValueError naming a file that is broken."""
    path = reports / FOLDER / SUMMARY
    if not path.is_file():
        return None
    try:
        return _searched(json.loads(path.read_text(encoding="utf-8")), path.parent)
    except (KeyError, TypeError, json.JSONDecodeError) as error:
        raise ValueError(f"{path}: found {error!r}, expected what `ecdm tune report` writes") from error


def _searched(found: Mapping[str, Any], folder: Path) -> Searched:
    keys, goals = tuple(found["paper"]["params"]), tuple(found["objectives"])
    lines = [_line("Paper's values", found, "paper", "noise", keys, goals)]
    if found["best"]:
        lines.append(_line("Best values", found, "best", "confirm", keys, goals))
    complete, pruned = (_cited(found["counts"][name], f"/counts/{name}") for name in ("complete", "pruned"))
    counts = complete, pruned, _cited(found["slots"], "/slots")
    return Searched(found["sentence"], keys, goals, tuple(lines), counts, _picture(folder / LANDSCAPE, goals[0]))


def _line(
    title: str, found: Mapping[str, Any], part: str, seeds: str, keys: tuple[str, ...], goals: tuple[str, ...]
) -> SearchLine:
    params, values = found[part]["params"], found[part]["values"]
    means = (found[seeds] or {}).get("mean") or {}
    return SearchLine(
        title,
        tuple(_cited(params.get(key), f"/{part}/params/{key}") for key in keys),
        tuple(_cited((values or {}).get(goal), f"/{part}/values/{_pointer(goal)}") for goal in goals),
        tuple(_cited(means.get(goal), f"/{seeds}/mean/{_pointer(goal)}") for goal in goals),
    )


def _cited(value: float | str | None, key: str) -> Cited:
    if value is None:
        return Cited("–")
    text = value if isinstance(value, str) else f"{value:.5g}"
    return Cited(text, f"{FOLDER}/{SUMMARY}", key)


def _pointer(name: str) -> str:
    """A name within a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")


def _picture(path: Path, goal: str) -> Tile | None:
    if not path.is_file():
        return None
    with Image.open(path) as image:
        shown = image.convert("RGB")
    shown.thumbnail((WIDTH, WIDTH))
    return Tile.of(f"{goal} of every trial over the searched values", webp(shown, QUALITY), *shown.size)
