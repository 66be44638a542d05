from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from study_case import SIDE, make_project, rebuild, save

from ecdm.data.coco import load_image
from ecdm.data.files import png_name
from ecdm.study.outputs import PUBLISHED
from ecdm.study.plan import Plan

FIRST = {"glide": (1, 2, 3, 4, 5), "copaint": (1, 2, 3)}
METHODS = ("glide", "copaint", "ours")


def folder(root: Path, method: str) -> Path:
    return root / f"build/compare/{method}-scenes/scenes/50-60"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The project with outputs of two published methods on the first images."""
    rng = np.random.default_rng(1)
    make_project(tmp_path)
    for method, images in FIRST.items():
        for number in images:
            pixels = rng.integers(0, 255, (SIDE, SIDE, 3))
            save(folder(tmp_path, method) / "pasted" / png_name(number), pixels, method)
        listed = {"method": method, "images": [{"id": number} for number in images]}
        (folder(tmp_path, method) / "manifest.json").write_text(json.dumps(listed), encoding="utf-8")
    return tmp_path


def shown(root: Path, plan: Plan) -> None:
    """Each option's picture is its method's."""
    for question in plan.questions:
        for option in question.options:
            own = folder(root, option.method) if option.method in FIRST else root / "build/generate/ours-0/scenes/50-60"
            picture = load_image(root / f"study/page/images/{option.id}.png")
            assert np.array_equal(picture, load_image(own / "pasted" / png_name(question.image)))


def test_published_methods_stand_beside_a_variant_on_images_that_all_have(root: Path) -> None:
    plan = rebuild(root, methods=METHODS, count=6)
    assert {question.image for question in plan.questions} == {1, 2, 3}
    assert all({option.method for option in question.options} == set(METHODS) for question in plan.questions)
    shown(root, plan)
    plan = rebuild(root, methods=("glide", "ours"), count=10)
    assert {question.image for question in plan.questions} == {1, 2, 3, 4, 5}
    shown(root, plan)


def test_nothing_on_the_page_tells_them_apart(root: Path) -> None:
    rebuild(root, methods=METHODS, count=6)
    for path in (root / "study/page").rglob("*"):
        for secret in (*METHODS, "compare", "generate", "pasted"):
            assert secret not in path.relative_to(root).as_posix().lower()
            assert not path.is_file() or secret.encode() not in path.read_bytes().lower(), f"{secret} in {path}"


def test_more_questions_than_common_images_are_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="found 3 images, expected 4 for 8 questions"):
        rebuild(root, methods=METHODS, count=8)


def test_what_did_not_run_or_is_damaged_is_named(root: Path) -> None:
    with pytest.raises(ValueError, match=r"methods: unipaint: found no folder .*compare/unipaint-scenes/scenes/50-60"):
        rebuild(root, methods=("ours", "unipaint"))
    manifest = folder(root, "glide") / "manifest.json"
    manifest.write_text('{"images": [1]}', encoding="utf-8")
    with pytest.raises(ValueError, match=r"glide-scenes.*manifest\.json: found .*, expected the list of images"):
        rebuild(root, methods=METHODS)
    manifest.unlink()
    with pytest.raises(FileNotFoundError, match=r"glide-scenes.*manifest\.json"):
        rebuild(root, methods=METHODS)


def test_the_published_are_those_that_can_run() -> None:
    assert {"glide", "blended", "sd_inpaint", "controlnet_inpaint", "unipaint", "copaint"} == PUBLISHED
