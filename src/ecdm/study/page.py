"""The page of a study: everything a browser gets, and nothing that tells methods apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecdm.data.coco import load_image, read_split, write_json
from ecdm.data.files import fresh_folder, png_name, save_png
from ecdm.study.plan import PLAN, Plan, Question, Settings, make_plan
from ecdm.study.votes import VOTES

Pixels = NDArray[np.uint8]

PAGE, QUESTIONS, IMAGES = "page", "questions.json", "images"
ASSETS = ("index.html", "study.css", "study.js", "icon.svg")
SPLIT = "test"
ASK = {
    "text": "Which picture fits the description best?",
    "realism": "Which picture looks the most real and natural?",
}
# Colours of a hole's hatching and its period in pixels.
HOLE, HATCH, PERIOD = 222, 176, 8


@dataclass(frozen=True)
class Sources:
    """Where a study's pictures lie: a COCO-captions folder, its masks under one bucket, every method's outputs."""

    dataset: Path
    masks: Path
    outputs: dict[str, Path]

    @classmethod
    def of(cls, data: Path, build: Path, settings: Settings) -> Sources:
        """The pipeline's folders."""
        dataset, bucket = settings.dataset, settings.bucket
        outputs = {
            name: build / "generate" / f"{name}-{settings.training_seed}" / dataset / bucket / "pasted"
            for name in settings.methods
        }
        return cls(data / dataset, build / "masks" / dataset / bucket, outputs)


def build_study(settings: Settings, sources: Sources, folder: Path) -> Plan:
    """Write `folder`: plan.json for the server alone, and page/ with what participants get; returns the plan.

    Raises: as `read_split` and `make_plan`; ValueError for a folder that holds votes or something that is no
    study, and for a picture that is missing, unreadable or of another size than its ground truth. An error leaves
    the old folder as it was.
    """
    _require_replaceable(folder)
    for name, place in sources.outputs.items():
        if not place.is_dir():
            raise ValueError(f"methods: {name}: found no folder {place}, expected its outputs")
    captioned = {image.id: image for image in read_split(sources.dataset, SPLIT)}
    plan = make_plan(settings, {number: image.captions[0] for number, image in captioned.items()})
    with fresh_folder(folder) as beside:
        page = beside / PAGE
        for question in plan.questions:
            truth = sources.dataset / SPLIT / captioned[question.image].file_name
            for name, pixels in _pictures(question, truth, sources):
                # Written anew from pixels alone: no text chunk, EXIF or name of the source survives.
                save_png(page / IMAGES / f"{name}.png", pixels)
        write_json(page / QUESTIONS, {"mode": settings.mode, "questions": [_shown(q) for q in plan.questions]})
        for name in ASSETS:
            (page / name).write_bytes((files("ecdm.study") / "assets" / name).read_bytes())
        (beside / PLAN).write_text(plan.text(), encoding="utf-8")
    return plan


def _require_replaceable(folder: Path) -> None:
    if (folder / VOTES).exists():
        raise ValueError(f"{folder}: found votes in {VOTES}, expected a folder without; choose another --out")
    if folder.exists() and not (folder / PLAN).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder}: found something that is no study, expected a new or empty folder")


def _shown(question: Question) -> dict[str, object]:
    return {
        "id": question.id,
        "ask": ASK[question.kind],
        "caption": question.caption,
        "input": question.input,
        "options": [option.id for option in question.options],
    }


def _pictures(question: Question, truth: Path, sources: Sources) -> Iterator[tuple[str, Pixels]]:
    """Id and pixels of the input and of every option."""
    pixels, name = load_image(truth), png_name(question.image)
    hole = _sized(sources.masks / name, pixels)[..., 0] >= 128
    yield question.input, masked(pixels, hole)
    for option in question.options:
        yield option.id, _sized(sources.outputs[option.method] / name, pixels)


def masked(image: Pixels, hole: NDArray[np.bool_]) -> Pixels:
    """The image (h, w, 3) with its hole (h, w), True = hole, hatched in gray."""
    y, x = np.indices(hole.shape)
    hatch = np.where((x + y) % PERIOD < PERIOD // 4, HATCH, HOLE).astype(np.uint8)
    return np.where(hole[..., None], hatch[..., None], image)


def _sized(path: Path, truth: Pixels) -> Pixels:
    """The picture at `path`, of the size of its ground truth: another one would give a method away."""
    pixels = load_image(path)
    if pixels.shape != truth.shape:
        found, expected = ("x".join(map(str, shape[1::-1])) for shape in (pixels.shape, truth.shape))
        raise ValueError(f"{path}: found {found} px, expected {expected} as its ground truth")
    return pixels
