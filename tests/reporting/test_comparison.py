"""Inputs of the comparison: all runs read, in the paper's order, and every disagreement named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from comparison_project import METHODS, ComparisonProject

from ecdm.reporting import labels
from ecdm.reporting.comparison import Facts, Scope, read_facts, read_values
from ecdm.reporting.scores import Cell
from ecdm.sections.compare import MethodName

Rows = list[list[Any]]


@pytest.fixture
def made(tmp_path: Path) -> ComparisonProject:
    """Score files and facts of all runs."""
    project = ComparisonProject(tmp_path)
    for run in project.runs:
        project.write_facts(run)
        for dataset in ("scenes", "shifted"):
            project.write_scores(run, dataset)
    return project


def values(project: ComparisonProject) -> Any:
    return read_values(project.root / "build" / "compared", project.scope)


def test_every_method_of_the_settings_has_a_title() -> None:
    assert set(labels.METHODS) == set(get_args(MethodName))
    assert [labels.model_title(name) for name in METHODS] == [
        "GLIDE", "Blended Diff.", "Stable Inpaint", "Control Inpaint", "Uni-paint", "CoPaint",
    ]  # fmt: skip


def test_sets_and_masks_have_titles() -> None:
    assert labels.DATASETS["shifted"] == ("Shifted scenes", "scenes of another distribution")
    assert {"objects", "custom"} <= set(labels.DATASETS)
    assert labels.bucket_title("object") == "whole items"
    assert labels.bucket_heading("custom") == "Custom masks"


def test_runs_stand_in_the_papers_order_with_ours_last() -> None:
    scope = Scope.of(("copaint", "glide", "unipaint"), "sail", ("scenes", "shifted"), ["10-20"], [], "lpips")
    assert scope.runs == ("glide", "unipaint", "copaint", "sail")
    assert scope.metrics == ("psnr", "ssim", "l1", "lpips")


def test_values_are_those_of_the_files(made: ComparisonProject) -> None:
    found = values(made)
    for run in made.runs:
        for place, metric in ((("shifted", "50-60"), "l1"), (("objects", "object"), "colour")):
            for pasted in (0, 1):
                cell = Cell(place[0], run, place[1], metric, bool(pasted))
                assert found[cell] == {i: made.value(run, place, i, metric, pasted) for i in made.images(run)}
    assert {cell.variant for cell in found} == {*METHODS, "ours"}


def test_without_methods_ours_alone_is_read(made: ComparisonProject) -> None:
    alone = ComparisonProject(made.root, ())
    assert {cell.variant for cell in values(alone)} == {"ours"}
    assert set(read_facts(alone.root / "build" / "compare", alone.scope)) == {"ours"}


def test_files_of_methods_that_are_left_out_do_not_matter(made: ComparisonProject) -> None:
    (made.root / "build/compared/unipaint-scenes.csv").write_text("broken")
    few = ComparisonProject(made.root, ("glide", "copaint"))
    assert {cell.variant for cell in values(few)} == {"glide", "copaint", "ours"}


def without(rows: Rows, **found: Any) -> Rows:
    """The rows but those whose columns have these values."""
    columns = ("dataset", "variant", "seed", "image_id", "bucket", "metric", "pasted", "value")
    return [row for row in rows if any(row[columns.index(key)] != value for key, value in found.items())]


def changed(place: int, column: int, value: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [
        [*row[:column], value, *row[column + 1 :]] if i == place else row for i, row in enumerate(rows)
    ]


@pytest.mark.parametrize(
    ("run", "spoil", "message"),
    [
        (
            "glide",
            changed(0, 1, "copaint"),
            r"glide-scenes\.csv: line 2: found a score of copaint, expected glide alone",
        ),
        ("glide", changed(0, 0, "photos"), r"line 2: found a score on photos 10-20, expected one of scenes 10-20,"),
        ("glide", changed(0, 4, "60-70"), r"line 2: found a score on scenes 60-70, expected one of scenes 10-20,"),
        ("glide", changed(1, 2, 5), r"glide-scenes\.csv: line 3: found a second seed, 5, expected one"),
        ("glide", changed(1, 3, 1), r"line 3: a second value for scenes 10-20 psnr raw, image 1"),
        ("glide", lambda rows: rows[1:], r"glide-scenes\.csv: scenes 10-20 psnr raw and .*: image 1 is in only one"),
        (
            "glide",
            lambda rows: without(rows, bucket="30-40", metric="clip_score"),
            r"glide-scenes\.csv: found no scores for scenes 30-40 clip_score \w+, expected as in those of ours, which",
        ),
        (
            "ours",
            lambda rows: without(rows, dataset="objects"),
            r"glide-scenes\.csv: found scores for objects object .*, expected as in those of ours, which lacks them",
        ),
        (
            "ours",
            lambda rows: without(rows, metric="lpips_random"),
            r"ours-scenes\.csv: found no scores for scenes 10-20 lpips_random pasted, expected them",
        ),
        (
            "ours",
            lambda rows: without(rows, bucket="50-60"),
            r"ours-scenes\.csv: found no scores for scenes 50-60 psnr",
        ),
        (
            "unipaint",
            lambda rows: [row for row in rows if row[3] == 2],
            r"unipaint-scenes\.csv: scenes 10-20 psnr raw: found 1 images in common with ours, expected at least 2",
        ),
    ],
)
def test_scores_that_do_not_fit_are_named(
    made: ComparisonProject, run: str, spoil: Callable[[Rows], Rows], message: str
) -> None:
    made.write_scores(run, "scenes", spoil(made.rows(run, "scenes")))
    with pytest.raises(ValueError, match=message):
        values(made)


def test_a_missing_file_is_named(made: ComparisonProject) -> None:
    (made.root / "build/compared/copaint-shifted.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"compared/copaint-shifted\.csv: no such file"):
        values(made)


def test_single_items_belong_to_the_main_data_set(made: ComparisonProject) -> None:
    rows = [["objects", *row[1:]] for row in made.rows("ours", "shifted")]
    made.write_scores("ours", "shifted", rows)
    with pytest.raises(ValueError, match=r"ours-shifted\.csv: line 2: found a score on objects 10-20"):
        values(made)


def test_facts_are_read_and_smaller_images_known(made: ComparisonProject) -> None:
    facts = read_facts(made.root / "build" / "compare", made.scope)
    assert list(facts) == list(made.runs)
    assert facts["copaint"] == Facts(None, 128, {"unet": 60}, 1_234_567_890_123 // 8)
    assert {run for run, one in facts.items() if one.enlarged} == {"glide"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "blended"}, r"glide-scenes/facts\.json: method: found 'blended', expected 'glide'"),
        ({"native_size": "64"}, r"facts\.json: native_size: found '64', expected the side of an image or null"),
        ({"image_size": 0}, r"facts\.json: image_size: found 0, expected the side of an image"),
        (
            {"evaluations": {"unet": 1.5}},
            r"facts\.json: evaluations: found \{'unet': 1\.5\}, expected a count for every",
        ),
        ({"flops": None}, r"facts\.json: flops: found None, expected a count"),
        ({"flops": True}, r"facts\.json: flops: found True, expected a count"),
        ({"image_size": 256}, r"blended-scenes/facts\.json: image_size: found 128, expected 256 as of other runs"),
    ],
)
def test_facts_of_another_form_are_named(made: ComparisonProject, changes: dict[str, Any], message: str) -> None:
    made.write_facts("glide", **changes)
    with pytest.raises(ValueError, match=message):
        read_facts(made.root / "build" / "compare", made.scope)


def test_facts_that_are_missing_or_no_mapping_are_named(made: ComparisonProject) -> None:
    path = made.write_facts("glide")
    path.write_text(json.dumps([1]))
    with pytest.raises(ValueError, match=re.escape("method: found [1], expected 'glide'")):
        read_facts(made.root / "build" / "compare", made.scope)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"glide-scenes/facts\.json: no such file"):
        read_facts(made.root / "build" / "compare", made.scope)
