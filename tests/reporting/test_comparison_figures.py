"""Figures 4 and 5: which rows and columns they have, and files that are missing or of another form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from comparison_project import ComparisonProject
from PIL import Image

from ecdm.reporting.comparison import Scope
from ecdm.reporting.comparison_figures import FIGURES, TEXTS, read_figures, read_sheets, write_figures
from ecdm.reporting.grids import GAP, HEAD, MARGIN, TILE, Grid, draw_grid

CUSTOM, WIDE, NARROW = ("custom", "custom"), ("scenes", "wide"), ("scenes", "narrow")
TITLES = ("GLIDE", "Blended Diff.", "Stable Inpaint", "Control Inpaint", "Uni-paint", "CoPaint", "Ours")


@pytest.fixture
def made(tmp_path: Path) -> ComparisonProject:
    """Pictures of all runs: seven made by hand, four under each width of strokes."""
    project = ComparisonProject(tmp_path)
    for place, count in ((CUSTOM, 7), (WIDE, 4), (NARROW, 4)):
        project.write_pictures(place, count)
    return project


def figures(project: ComparisonProject, scope: Scope | None = None) -> list[Grid]:
    return read_figures(scope or project.scope, project.root / "data", project.root / "build")


def test_masks_made_by_hand_have_the_original_and_the_prompt(made: ComparisonProject) -> None:
    custom = figures(made)[0]
    assert (custom.name, custom.titles) == ("custom", ("Masked input", "Original", *TITLES))
    assert [sample.caption for sample in custom.samples] == [f"caption {i} of custom & more" for i in range(1, 7)]
    assert "not what the prompt" in custom.note
    first = custom.samples[0]
    assert first.truth[0, 0].tolist() == [10, 10, 10]
    assert first.hole[:8].all()
    assert not first.hole[8:].any()
    assert [int(image[0, 0, 0]) for image in first.outputs.values()] == [60 + 20 * rank for rank in range(7)]


def test_strokes_stand_in_groups_that_their_captions_name(made: ComparisonProject) -> None:
    strokes = figures(made)[1]
    assert (strokes.name, strokes.titles) == ("strokes", ("Masked input", "Ground truth", *TITLES))
    assert [sample.caption for sample in strokes.samples] == [
        f"{width} strokes: caption {i} of scenes & more" for width in ("Wide", "Narrow") for i in (1, 2, 3)
    ]
    assert strokes.heading == "Scenes, wide and narrow strokes"


def test_the_pictures_show_every_output_in_its_column(made: ComparisonProject, tmp_path: Path) -> None:
    draw_grid(figures(made)[1], tmp_path / "strokes.png")
    with Image.open(tmp_path / "strokes.png") as image:
        picture = np.asarray(image.convert("RGB"))
    assert picture.shape[1] == 2 * MARGIN + 9 * TILE + 8 * GAP
    for rank in range(7):
        left = MARGIN + (rank + 2) * (TILE + GAP)
        tile = picture[MARGIN + HEAD : MARGIN + HEAD + TILE, left : left + TILE]
        assert (tile[: TILE // 2] == 60 + 20 * rank).all()
        assert (tile[TILE // 2 :] == 10).all()


def test_rows_are_those_that_every_run_was_given(made: ComparisonProject) -> None:
    path = made.manifest("unipaint", CUSTOM)
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "images": content["images"][:2]}))
    custom, strokes = figures(made)
    assert (len(custom.samples), len(strokes.samples)) == (2, 6)


def test_methods_that_are_left_out_have_no_column(made: ComparisonProject) -> None:
    alone = ComparisonProject(made.root, ())
    assert figures(alone)[0].titles == ("Masked input", "Original", "Ours")


def test_one_set_of_strokes_or_none(made: ComparisonProject) -> None:
    one = Scope.of((), "ours", ("scenes", "shifted"), ["10-20"], ["narrow"], "lpips")
    assert len(figures(made, one)[1].samples) == 4
    none = Scope.of((), "ours", ("scenes", "shifted"), ["10-20"], [], "lpips")
    strokes = figures(made, none)[1]
    assert strokes.samples == []
    assert strokes.titles == ("Masked input", "Ground truth")


def test_missing_and_odd_files_are_named(made: ComparisonProject) -> None:
    output = made.output("copaint", WIDE, 2)
    made.save(output, np.zeros((8, 4, 3), np.uint8))
    with pytest.raises(ValueError, match=r"copaint-scenes/scenes/wide/pasted/000000000002\.png: found 4x8 px"):
        figures(made)
    output.unlink()
    with pytest.raises(ValueError, match=r"copaint-scenes/scenes/wide/pasted/000000000002\.png: expected an image"):
        figures(made)
    path = made.manifest("glide", CUSTOM)
    path.write_text('{"images": 3}')
    with pytest.raises(
        ValueError, match=r"glide-scenes/custom/custom/manifest\.json: images: found 3, expected the list"
    ):
        figures(made)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"glide-scenes/custom/custom/manifest\.json: no such file"):
        figures(made)


def test_the_files_give_back_texts_and_tiles(made: ComparisonProject, tmp_path: Path) -> None:
    grids = figures(made)
    write_figures(tmp_path / "reports", grids)
    assert {path.name for path in (tmp_path / "reports" / FIGURES).iterdir()} == {"custom.png", "strokes.png", TEXTS}
    for grid, sheet in zip(grids, read_sheets(tmp_path / "reports"), strict=True):
        assert (sheet.name, sheet.heading, sheet.titles, sheet.note) == (
            grid.name,
            grid.heading,
            grid.titles,
            grid.note,
        )
        for sample, (caption, tiles) in zip(grid.samples, sheet.rows, strict=True):
            assert caption == sample.caption
            for tile, image in zip(tiles[1:], (sample.truth, *sample.outputs.values()), strict=True):
                np.testing.assert_array_equal(tile, image)


def test_a_figure_without_rows_has_none_in_the_page(made: ComparisonProject, tmp_path: Path) -> None:
    none = Scope.of((), "ours", ("scenes", "shifted"), ["10-20"], [], "lpips")
    write_figures(tmp_path / "reports", figures(made, none))
    assert [len(sheet.rows) for sheet in read_sheets(tmp_path / "reports")] == [6, 0]


def test_texts_that_are_missing_or_of_another_form_are_named(made: ComparisonProject, tmp_path: Path) -> None:
    write_figures(tmp_path, figures(made))
    path = tmp_path / FIGURES / TEXTS
    for text in ("3", '[{"name": "custom"}]', "[1]"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"figures\.json: found .*, expected what the stage comparison writes"):
            read_sheets(tmp_path)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"figures\.json: no such file"):
        read_sheets(tmp_path)
