"""Descriptions of runs: whole tables as far as a tag of a run has room."""

from __future__ import annotations

import re
from typing import Any

import pytest

from ecdm.mirror.contents import CI_HIGH, CI_LOW, VS_BASELINE
from ecdm.mirror.notes import Links, parent_note, stage_note
from ecdm.mirror.views import compare_query
from ecdm.mlflow_run import TAG_LENGTH

VARIANTS, SEEDS = ("baseline", "sail", "acda", "ours"), (0, 1, 2)
METRICS = ("psnr", "ssim", "l1", "lpips", "clip", "l1_hole")
ONE = (
    "prepare",
    "masks",
    "canny",
    "foundation",
    "latents",
    "audit",
    "variants",
    "reference",
    "gates",
    "cost",
    "report",
)


def _means(metrics: int, buckets: int, variant: str) -> dict[str, float]:
    names = [f"{name}/{low}0-{low + 1}0" for name in METRICS[:metrics] for low in range(buckets)]
    names += [f"{VS_BASELINE}{name}" for name in names] if variant != "baseline" else []
    return {f"{name}{end}": -0.12345 for name in names for end in ("", CI_LOW, CI_HIGH)}


def _note(metrics: int, buckets: int) -> str:
    matrix = [f"{stage}@{v}-{s}" for stage in ("train", "generate", "evaluate") for v in VARIANTS for s in SEEDS]
    entries = {name: {"cmd": f"python stages/{name}.py"} for name in (*ONE, *matrix)}
    links = Links("1", dict.fromkeys((*entries, *VARIANTS), "0" * 32))
    means = {variant: _means(metrics, buckets, variant) for variant in VARIANTS}
    return parent_note(entries, means, links, compare_query("0" * 64))


def _rows(note: str, header: str) -> tuple[int, int]:
    """How many rows a table shows and how many it says that it leaves out; every row is whole."""
    part = note[note.index(f"| {header} |") :].split("\n\n")
    lines = part[0].splitlines()
    assert {line.count(" | ") for line in lines} == {lines[0].count(" | ")}
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
    more = re.fullmatch(r"… (\d+) more", part[1]) if len(part) > 1 else None
    return len(lines) - 2, int(more[1]) if more else 0


@pytest.mark.parametrize(("metrics", "buckets", "whole"), [(1, 3, True), (6, 6, False)])
def test_the_parent_fits_into_a_tag(metrics: int, buckets: int, whole: bool) -> None:
    note = _note(metrics, buckets)
    assert TAG_LENGTH / 2 < len(note) <= TAG_LENGTH
    shown, left = _rows(note, "metric / hole in percent")
    assert shown + left == 2 * metrics * buckets
    assert (left == 0) == whole
    # The means themselves come first.
    assert shown >= metrics * buckets
    assert sum(_rows(note, "stage")) == len(ONE) + 3 * len(VARIANTS) * len(SEEDS)


def test_the_tables_of_a_stage_share_the_room() -> None:
    def outs(folder: str) -> list[dict[str, Any]]:
        return [{"path": f"{folder}/{'x' * 60}/{i}", "md5": "0" * 32} for i in range(200)]

    note = stage_note("masks", {"cmd": "c", "deps": outs("data"), "outs": outs("build")}, {}, Links("1", {}), None)
    assert len(note) <= TAG_LENGTH
    for header in ("made from", "made"):
        assert sum(_rows(note, header)) == 200
