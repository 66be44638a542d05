"""The page of a study: everything a browser gets, and nothing that tells methods apart."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from ecdm.data.coco import CaptionedImage, load_image, load_like, read_split, write_json
from ecdm.data.files import fresh_folder, png_name, save_png
from ecdm.reporting.grids import Folders, Pixels, masked_input
from ecdm.reporting.labels import model_title
from ecdm.study.outputs import common_images, output_folders
from ecdm.study.plan import PLAN, Plan, Question, Settings, make_plan
from ecdm.study.votes import VOTES

PAGE, QUESTIONS, IMAGES = "page", "questions.json", "images"
ASSETS = ("index.html", "study.css", "study.js", "icon.svg")
ASK = {
    "text": "Which picture fits the description best?",
    "realism": "Which picture looks the most real and natural?",
}


def build_study(settings: Settings, data: Path, build: Path, folder: Path) -> Plan:
    """Write `folder`: plan.json for the server alone, and page/ with what participants get; returns the plan.

    `data`, `build`: the pipeline's folders of data sets and of masks and outputs.
    Only images that every method was given are drawn.
    Raises: as `output_folders`, `read_split`, `common_images` and `make_plan`; ValueError for a folder that holds
    votes or something that is no study, and for a picture that is missing, unreadable or of another size than its
    ground truth. An error leaves the old folder as it was.
    """
    _require_replaceable(folder)
    outputs = output_folders(settings, build)
    titled = {model_title(name): place for name, place in outputs.items()}
    folders = Folders.tested(data, build, settings.dataset, settings.bucket, titled)
    captioned = {image.id: image for image in read_split(folders.dataset, folders.split)}
    plan = make_plan(settings, {number: captioned[number].captions[0] for number in common_images(outputs, captioned)})
    with fresh_folder(folder) as beside:
        page = beside / PAGE
        for question in plan.questions:
            for name, pixels in _pictures(question, captioned[question.image], folders):
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


def _pictures(question: Question, image: CaptionedImage, folders: Folders) -> Iterator[tuple[str, Pixels]]:
    """Id and pixels of the input and of every option, all of one size: another one would give a method away."""
    truth, name = load_image(folders.dataset / folders.split / image.file_name), png_name(image.id)
    yield question.input, masked_input(truth, load_like(folders.masks / name, truth)[..., 0] >= 128)
    for option in question.options:
        yield option.id, load_like(folders.outputs[model_title(option.method)] / name, truth)
