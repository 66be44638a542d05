from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from study_case import IMAGES, METHODS, SCRIPT, SIDE, build, make_project, rebuild, save

from ecdm.data.coco import load_image
from ecdm.data.files import png_name


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("mode", ["choice", "pairwise"])
def test_nothing_on_the_page_tells_methods_apart(tmp_path: Path, mode: str) -> None:
    folder, plan = build(tmp_path, mode=mode)
    page = contents(folder / "page")
    for name, body in page.items():
        for secret in (*METHODS, "generate", "pasted", str(tmp_path)):
            assert secret not in name.lower()
            assert secret.encode() not in body.lower(), f"{secret} in {name}"
        if name.endswith(".png"):
            with Image.open(folder / "page" / name) as image:
                assert image.info == {}
                assert not image.getexif()
    assert "plan.json" not in page
    assert len([name for name in page if name.endswith(".png")]) == sum(1 + len(q.options) for q in plan.questions)


def test_options_show_the_outputs_of_the_planned_methods(tmp_path: Path) -> None:
    folder, plan = build(tmp_path)
    shown = json.loads((folder / "page/questions.json").read_text(encoding="utf-8"))["questions"]
    assert [list(q) for q in shown] == [["ask", "caption", "id", "input", "options"]] * len(plan.questions)
    for question, public in zip(plan.questions, shown, strict=True):
        assert public["options"] == [option.id for option in question.options]
        assert public["caption"] == f"caption {question.image} {SCRIPT}"
        for option in question.options:
            source = tmp_path / f"build/generate/{option.method}-0/scenes/50-60/pasted" / png_name(question.image)
            assert np.array_equal(load_image(folder / f"page/images/{option.id}.png"), load_image(source))
    assert len({q["ask"] for q in shown}) == 2


def test_the_input_shows_nothing_of_the_hole(tmp_path: Path) -> None:
    (folder, plan), hole = build(tmp_path), np.zeros((SIDE, SIDE), dtype=bool)
    hole[4:12, 4:12] = True
    for question in plan.questions:
        shown = load_image(folder / f"page/images/{question.input}.png")
        truth = load_image(tmp_path / "data/scenes/test" / png_name(question.image))
        assert np.array_equal(shown[~hole], truth[~hole])
        save(
            tmp_path / "data/scenes/test" / png_name(question.image), np.where(hole[..., None], 255 - truth, truth), ""
        )
    before = contents(folder)
    rebuild(tmp_path)
    assert contents(folder) == before


def test_equal_settings_give_equal_files(tmp_path: Path) -> None:
    (first, _), (second, _) = build(tmp_path / "a"), build(tmp_path / "b")
    assert contents(first) == contents(second)


def test_building_again_replaces_a_study_without_votes_only(tmp_path: Path) -> None:
    folder, _ = build(tmp_path)
    plan = rebuild(tmp_path, seed=8)
    assert (folder / "plan.json").read_text(encoding="utf-8") == plan.text()
    (folder / "votes.sqlite").write_bytes(b"")
    before = contents(folder)
    with pytest.raises(ValueError, match=r"study: found votes in votes\.sqlite"):
        rebuild(tmp_path)
    assert contents(folder) == before


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    make_project(tmp_path)
    for place in ("build", f"data/scenes/test/{png_name(1)}"):
        with pytest.raises(ValueError, match="found something that is no study"):
            rebuild(tmp_path, place)
    assert len(list((tmp_path / "data/scenes/test").iterdir())) == IMAGES


def _no_folder(root: Path) -> None:
    shutil.rmtree(root / "build/generate/acda-0")


def _no_output(root: Path) -> None:
    for path in (root / "build/generate/acda-0").rglob("*.png"):
        path.unlink()


def _small_output(root: Path) -> None:
    for path in (root / "build/generate/acda-0").rglob("*.png"):
        save(path, np.zeros((8, 8, 3)), "acda")


def _no_mask(root: Path) -> None:
    for path in (root / "build/masks").rglob("*.png"):
        path.unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_folder, "methods: acda: found no folder .*acda-0"),
        (_no_output, r"acda-0.*0000000\d+\.png: expected an image"),
        (_small_output, rf"acda-0.*png: found 8x8 px, expected {SIDE}x{SIDE}"),
        (_no_mask, r"masks.*png: expected an image"),
    ],
)
def test_pictures_that_do_not_fit_are_named_and_the_old_study_stays(
    tmp_path: Path, damage: object, message: str
) -> None:
    folder, _ = build(tmp_path)
    before = contents(folder)
    assert callable(damage)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        rebuild(tmp_path)
    assert contents(folder) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["build", "data", "study"]
