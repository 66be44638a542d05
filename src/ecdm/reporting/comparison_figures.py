"""Figures 4 and 5: inputs, originals and what every method made, for masks drawn by hand and for stroke widths."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ecdm.data.coco import read_json
from ecdm.reporting.comparison import CUSTOM, Scope
from ecdm.reporting.grids import INPUTS, ROWS, TILE, Folders, Grid, Sample, cut_grid, draw_grid, read_samples
from ecdm.reporting.labels import bucket_title, data_heading, model_title
from ecdm.reporting.pictures import Sheet

# The pictures' folder in reports/, and what stands in them as text.
FIGURES, TEXTS = "figures", "figures.json"
# What a prompt asks for exists nowhere; the picture from which the hole was cut does.
ORIGINAL = (INPUTS[0], "Original")


def read_figures(scope: Scope, data: Path, build: Path) -> list[Grid]:
    """Grids `custom` and `strokes`, each of at most `ROWS` rows, with the pasted outputs of all runs.

    Raises: as `read_samples`; FileNotFoundError and ValueError naming a manifest that is missing or of another form.
    """
    made_by_hand = _samples(scope, data, build, CUSTOM, ROWS)
    share, strokes = ROWS // max(len(scope.strokes), 1), []
    for name in scope.strokes:
        title = bucket_title(name).capitalize()
        rows = _samples(scope, data, build, (scope.main, name), share)
        strokes += [replace(row, caption=f"{title}: {row.caption}") for row in rows]
    asked = "Outputs pasted. The original shows what was there, not what the prompt below it asks for."
    heading = f"{data_heading(scope.main)}, {' and '.join(scope.strokes) or 'no'} strokes"
    return [
        Grid("custom", "Masks and prompts made by hand", made_by_hand, asked, ORIGINAL),
        Grid("strokes", heading, strokes, "Outputs pasted. The first test images, under each width of strokes."),
    ]


def write_figures(reports: Path, grids: Sequence[Grid]) -> None:
    """Draw the grids as `reports`/figures/<name>.png, and their texts into a file beside them."""
    folder = reports / FIGURES
    for grid in grids:
        draw_grid(grid, folder / f"{grid.name}.png")
    texts = [
        {
            "name": grid.name,
            "heading": grid.heading,
            "note": grid.note,
            "titles": grid.titles,
            "captions": [sample.caption for sample in grid.samples],
            "side": max((max(sample.truth.shape) for sample in grid.samples), default=TILE),
        }
        for grid in grids
    ]
    (folder / TEXTS).write_text(json.dumps(texts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_sheets(reports: Path) -> list[Sheet]:
    """The figures that `write_figures` drew, cut into their tiles.

    Raises: FileNotFoundError without the texts; ValueError naming a file of another form.
    """
    path = reports / FIGURES / TEXTS
    content = read_json(path)
    try:
        return [_cut(path.parent, one) for one in content]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: found {error!r}, expected what the stage comparison writes") from error


def _cut(folder: Path, found: Mapping[str, Any]) -> Sheet:
    name, titles, captions = found["name"], tuple(found["titles"]), found["captions"]
    tiles = cut_grid(folder / f"{name}.png", len(titles), captions, found["side"])
    return Sheet(name, found["heading"], titles, list(zip(captions, tiles, strict=True)), found["note"])


def _samples(scope: Scope, data: Path, build: Path, place: tuple[str, str], most: int) -> list[Sample]:
    """The first images that every run was given, `most` of them or fewer."""
    dataset, bucket = place
    made = {run: build / "compare" / f"{run}-{scope.main}" / dataset / bucket for run in scope.runs}
    count = min(most, *(_count(folder / "manifest.json") for folder in made.values()))
    outputs = {model_title(run): folder / "pasted" for run, folder in made.items()}
    return read_samples(Folders.tested(data, build, dataset, bucket, outputs), count)


def _count(path: Path) -> int:
    """How many images a manifest lists."""
    content = read_json(path)
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list):
        raise ValueError(f"{path}: images: found {images!r}, expected the list of images")
    return len(images)
