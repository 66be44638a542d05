"""Views of the UI as MLflow keeps them, and the addresses that open them."""

from __future__ import annotations

import json
from typing import Any

from ecdm.mirror.views import LATEST, VIEW, links, views
from ecdm.tracking import EXPERIMENT_TAG_LENGTH

KEY = "0123456789abcdef"
METRICS = ["psnr/10-20", "psnr/50-60", "ssim/10-20"]


def made() -> tuple[dict[str, Any], dict[str, Any]]:
    tags = views(KEY, METRICS, ["loss"], {"test/scenes/10-20": 240, "test/photos": 240, "validation": 120}, "run-1")
    assert tags[LATEST] == KEY
    assert max(map(len, tags.values())) < EXPERIMENT_TAG_LENGTH
    tree, compare = json.loads(tags[f"{VIEW}tree"]), json.loads(tags[f"{VIEW}compare-01234567"])
    return tree, compare


def test_columns_and_filter() -> None:
    tree, compare = made()
    for state in (tree, compare):
        assert {"tags.`variant`", "metrics.`psnr/50-60`"} <= set(state["selectedColumns"])
    assert tree["searchFilter"] == ""
    assert compare["searchFilter"] == "tags.stage = 'variant' AND tags.reproduction = '0123456789ab'"


def test_every_chart_stands_in_a_section_that_is_open() -> None:
    _, compare = made()
    charts, sections = compare["compareRunCharts"], compare["compareRunSections"]
    shown = {section["uuid"] for section in sections if section["display"]}
    assert {chart["metricSectionId"] for chart in charts} == shown
    assert len({chart["uuid"] for chart in charts}) == len(charts)
    assert len({section["uuid"] for section in sections}) == len(sections)
    by_type: dict[str, list[dict[str, Any]]] = {}
    for chart in charts:
        by_type.setdefault(chart["type"], []).append(chart)
    assert [chart["selectedMetricKeys"] for chart in by_type["BAR"]] == [METRICS[:2], METRICS[2:]]
    assert by_type["DIFFERENCE"][0]["baselineColumnUuid"] == "run-1"
    pictures = [(chart["step"], chart["imageKeys"]) for chart in by_type["IMAGE"]]
    assert pictures == [(240, ["test/scenes/10-20", "test/photos"]), (120, ["validation"])]


def test_sections_of_pictures_are_closed_for_any_data_set() -> None:
    tags = views(KEY, METRICS, [], {"test/coco/10-20": 1, "test/photos/10-20": 1, "validation": 1}, None)
    sections = json.loads(tags[f"{VIEW}compare-01234567"])["compareRunSections"]
    closed = [section["uuid"] for section in sections if not section["display"]]
    assert closed[-3:] == ["test", "test/coco", "test/photos"]


def test_addresses() -> None:
    assert links("http://x/#/experiments/1", {}) == []
    (_, compare), (_, tree) = links("http://x/#/experiments/1", {LATEST: KEY})
    assert compare.endswith("&compareRunsMode=CHART&viewStateShareKey=compare-01234567")
    assert tree.endswith("&viewStateShareKey=tree")


def test_a_large_reproduction_fits() -> None:
    """Six metrics in six buckets of two data sets' pictures, and the curves of all variants."""
    buckets = [f"{low}-{low + 10}" for low in range(0, 60, 10)]
    metrics = [f"{name}/{bucket}" for name in ("psnr", "ssim", "l1", "lpips", "clip", "l1_hole") for bucket in buckets]
    pictures = {f"test/{data}/{bucket}": 100000 for data in ("scenes", "photos") for bucket in buckets}
    curves = ["loss", "loss_simple", "loss_soft", "grad_norm", "lr", "lr_acda", "rms_text", "rms_frequency"]
    tags = views(KEY, metrics, [*curves, "validation_loss"], {**pictures, "validation": 100000}, "0" * 32)
    assert max(map(len, tags.values())) < EXPERIMENT_TAG_LENGTH
