"""Tables of the comparison: ranks, verdicts, counts and places of hand-made numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pytest

from ecdm.data.scenes import draw_scene, embedded
from ecdm.data.shifted import shifted
from ecdm.numerics.statistics import Interval
from ecdm.reporting.comparison import Facts, Scope
from ecdm.reporting.comparison_results import Comparison
from ecdm.reporting.comparison_tables import (
    UNSEEN,
    Entry,
    GroupedTable,
    change_table,
    cost_table,
    table_1,
    text_table,
)
from ecdm.reporting.scores import Cell
from ecdm.reporting.summary import Bootstrap

RUNS = ("glide", "sd_inpaint", "copaint", "ours")
# By run; PSNR of sd_inpaint and copaint print alike.
PSNR = {"glide": 19.0, "blended": 20.0, "sd_inpaint": 25.00001, "copaint": 25.00004, "ours": 22.5}
N = {"glide": 3, "blended": 3, "sd_inpaint": 8, "copaint": 8, "ours": 8}
CHANGES = {
    "glide": (-3.5, -4.0, -3.0),
    "blended": (-2.5, -3.0, -2.0),
    "sd_inpaint": (2.5, 2.0, 3.0),
    "copaint": (2.5, -0.1, 5.0),
}


def comparison(
    runs: tuple[str, ...] = RUNS,
    metrics: tuple[str, ...] = ("psnr", "ssim", "l1", "lpips"),
    flops: Mapping[str, int] | None = None,
    extra: tuple[tuple[str, str, tuple[str, ...]], ...] = (),
    second: str = "shifted",
) -> Comparison:
    """All metrics of a run are its PSNR, on the second data set plus one, raw minus one; all changes alike."""
    scope = Scope(runs[:-1], "ours", ("scenes", second), ("10-20", "50-60"), ("wide",), "lpips")
    places = [(dataset, bucket, metrics) for dataset in scope.datasets for bucket in scope.buckets]
    means, changes = {}, {}
    for dataset, bucket, names in (*places, *extra):
        for run in runs:
            for metric in names:
                for pasted in (True, False):
                    value = PSNR[run] + (dataset == second) - (not pasted)
                    cell = Cell(dataset, run, bucket, metric, pasted)
                    means[cell] = Interval(value, value - 1, value + 1, N[run])
                    if run != "ours":
                        changes[cell] = Interval(*CHANGES[run], N[run])
    counted = flops or {run: 2_340_000_000 for run in runs}
    facts = {run: Facts(16 if run == "glide" else None, 32, {"unet": 4, "vae": 1}, counted[run]) for run in runs}
    return Comparison(scope, facts, Bootstrap(10, 0.95, 0), means, changes)


def entries(table: GroupedTable, column: int, block: int = 0) -> list[Entry]:
    return [row.entries[column] for row in table.blocks[block].rows]


def test_rows_are_masks_times_methods_in_the_papers_order() -> None:
    table = table_1(comparison(), True)
    assert [block.title for block in table.blocks] == ["10–20 %", "50–60 %"]
    assert [block.heading for block in table.blocks] == ["Holes of 10–20 %", "Holes of 50–60 %"]
    titles = ["GLIDE (16 px)", "Stable Inpaint", "CoPaint", "Ours"]
    assert [[row.title for row in block.rows] for block in table.blocks] == [titles, titles]


def test_columns_are_data_sets_times_metrics_with_the_number_of_images() -> None:
    table = table_1(comparison(), True)
    assert [group.heading for group in table.groups] == ["Scenes", "Shifted scenes"]
    assert [column.title for column in table.columns] == 2 * ["n", "PSNR", "SSIM", "Mean ℓ1", "LPIPS"]
    assert [entry.value.text for entry in entries(table, 0)] == ["3", "8", "8", "8"]
    assert {len(row.entries) for block in table.blocks for row in block.rows} == {10}
    assert len(table.entries) == 2 * 4 * 10


def test_ranks_follow_the_direction_and_ties_share_one() -> None:
    table = table_1(comparison(), True)
    assert [(entry.value.text, entry.rank) for entry in entries(table, 1)] == [
        ("19.0000", "third"), ("25.0000", "best"), ("25.0000", "best"), ("22.5000", "second"),
    ]  # fmt: skip
    assert [entry.rank for entry in entries(table, 3)] == ["best", "third", "third", "second"]


def test_marks_need_an_interval_apart_from_zero_and_know_what_is_better() -> None:
    table = table_1(comparison(), True)
    assert [entry.verdict for entry in entries(table, 1)] == ["worse", "better", "open", ""]
    assert [entry.verdict for entry in entries(table, 4)] == ["better", "worse", "open", ""]


def test_the_second_table_is_of_raw_outputs() -> None:
    found = comparison()
    pasted, raw = table_1(found, True), table_1(found, False)
    assert entries(raw, 6, 1)[0].value.text == "19.0000"
    assert entries(pasted, 6, 1)[0].value.text == "20.0000"
    assert entries(raw, 6, 1)[0].value.key == "shifted,glide,50-60,psnr,pasted=0"
    assert (pasted.name, raw.name) == ("comparison-pasted", "comparison-raw")


def test_a_method_whose_raw_outputs_are_its_pasted_ones_is_named() -> None:
    found = comparison(("glide", "blended", "copaint", "ours"))
    assert table_1(found, True).notes == ()
    enlarged, same = table_1(found, False).notes
    assert enlarged == "GLIDE puts known pixels back itself at 16 px; its raw outputs have them enlarged."
    assert same.startswith("Blended Diff. puts known pixels back itself: its raw values are its pasted ones")
    assert table_1(comparison(("copaint", "ours")), False).notes == ()


def test_the_text_of_shifted_scenes_has_a_warning() -> None:
    (note,) = text_table(comparison(metrics=("psnr", "clip_score"))).notes
    assert "never saw 11 words of the captions of scenes of another distribution: marbled, moon, over" in note
    assert text_table(comparison(metrics=("psnr", "clip_score"), second="coco")).notes == ()


def test_the_words_are_those_that_the_embedded_scenes_lack() -> None:
    words: dict[tuple[int, ...], set[str]] = {}
    for kind in (embedded(), shifted()):
        scenes = [draw_scene(0, "train", i, 32, distribution=kind) for i in range(300)]
        words[kind.key] = set(re.findall("[a-z]+", " ".join(text for scene in scenes for text in scene.captions)))
    assert tuple(sorted(words[shifted().key] - words[embedded().key])) == UNSEEN


def test_below_a_mean_stands_its_difference_to_ours() -> None:
    table = table_1(comparison(), True, "change")
    below = [entry.below for entry in entries(table, 3)]
    assert below[-1] is None
    assert below[0] is not None
    assert below[0].text == "-3.50000\n[-4.00000, -3.00000]"
    assert below[0].source == "comparison_differences.csv: scenes,glide,10-20,l1,pasted=1"
    assert all(entry.below is None for entry in table_1(comparison(), True).entries)


def test_differences_are_those_of_the_methods() -> None:
    table = change_table(comparison())
    assert [row.title for row in table.blocks[0].rows] == ["GLIDE (16 px)", "Stable Inpaint", "CoPaint"]
    count, first = table.blocks[0].rows[0].entries[:2]
    assert (count.value.text, count.value.path) == ("3", "comparison_differences.csv")
    assert (first.value.text, first.verdict) == ("-3.500", "worse")
    assert first.below is not None
    assert first.below.text == "[-4.000, -3.000]"


def test_ours_alone_is_neither_ranked_nor_judged() -> None:
    found = comparison(("ours",))
    table = table_1(found, True, "change")
    assert [row.title for row in table.blocks[0].rows] == ["Ours"]
    assert {(entry.rank, entry.verdict, entry.below) for entry in table.entries} == {("", "", None)}
    assert all(not block.rows for block in change_table(found).blocks)


def test_text_alignment_has_the_buckets_of_both_data_sets() -> None:
    table = text_table(comparison(metrics=("psnr", "clip_score")))
    assert [block.title for block in table.blocks] == ["10–20 %", "50–60 %"]
    assert [column.title for column in table.columns] == ["n", "CLIP score", "n", "CLIP score"]
    best = entries(table, 1)[1]
    assert (best.value.text, best.rank, best.verdict) == ("25.0000", "best", "better")
    assert best.below is not None
    assert (best.below.text, best.below.path) == ("[24.0000, 26.0000]", "comparison.csv")


def test_without_clip_scores_there_is_no_text_alignment() -> None:
    assert text_table(comparison()).blocks == ()


@pytest.mark.parametrize(
    ("flops", "unit", "shown"),
    [
        ((2_340_000_000, 9_870_000_000_000), "GFLOPs", ["2.34", "9870.00"]),
        ((1_500_000_000_000, 321_000_000_000_000), "TFLOPs", ["1.50", "321.00"]),
    ],
)
def test_cost_is_in_the_unit_that_the_cheapest_run_needs(flops: tuple[int, int], unit: str, shown: list[str]) -> None:
    found = comparison(("glide", "ours"), flops=dict(zip(("glide", "ours"), flops, strict=True)))
    table = cost_table(found)
    assert table.title == "Cost"
    assert [column.title for column in table.columns] == ["Network evaluations", unit]
    assert [entry.value.text for entry in entries(table, 1)] == shown
    first = table.blocks[0].rows[0].entries[0].value
    assert (first.text, first.source) == ("unet 4, vae 1", "comparison.json: /facts/glide/evaluations")


def test_attributes_stand_beside_the_cost_with_intervals() -> None:
    names = ("clip_score", "shape", "colour", "texture")
    table = cost_table(comparison(extra=(("objects", "object", (*names, "psnr")),)))
    assert table.title == "Attributes and cost"
    assert [(group.heading, len(group.columns)) for group in table.groups] == [("Objects", 5), ("Per image", 2)]
    shape = entries(table, 2)[1]
    assert shape.value.key == "objects,sd_inpaint,object,shape,pasted=1"
    assert (shape.rank, shape.verdict) == ("best", "better")
    assert shape.below is not None
    assert shape.below.text == "[24.0000, 26.0000]"
    assert not table.masked
