"""Views of the runs that the UI opens by a key in its address: chosen columns, charts and pictures.

MLflow keeps a shared view as a tag of the experiment, JSON under `mlflow.sharedViewState.<key>`, with the names that
its own page writes there; what a later version does not know it passes over.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ecdm.mirror.contents import VS_BASELINE

VIEW = "mlflow.sharedViewState."
LATEST = "ecdm.latest"
TREE = "tree"
# Else a browser that was never here shows the menu for language models.
ML = "workflowType=machine_learning"
# The page folds children below their parent while it sorts by age, and lists them plainly in every other order.
NESTED, FLAT = "attributes.start_time", "tags.`mlflow.runName`"


def compare_key(key: str) -> str:
    """The view that compares the variants of the reproduction with this key."""
    return f"compare-{key[:8]}"


def compare_query(key: str) -> str:
    """What stands behind `runs?` in the address of the comparison."""
    return f"{ML}&compareRunsMode=CHART&viewStateShareKey={compare_key(key)}"


def links(page: str, tags: Mapping[str, str]) -> list[tuple[str, str]]:
    """Title and address of the experiment's views under the address of its page; none before the first sync."""
    if LATEST not in tags:
        return []
    return [
        ("the variants compared", f"{page}/runs?{compare_query(tags[LATEST])}"),
        ("all runs as a tree", f"{page}/runs?{ML}&viewStateShareKey={TREE}"),
    ]


def views(
    key: str, metrics: Sequence[str], curves: Sequence[str], pictures: Mapping[str, int], baseline: str | None
) -> dict[str, str]:
    """Tags of the experiment that hold the views.

    metrics: means such as `psnr/10-20`, in order. curves: metrics with steps. pictures: step of each image key.
    baseline: the id of the run that differences are counted from.
    """
    shown = [f"metrics.`{name}`" for name in metrics]
    variant = ["tags.`variant`", "tags.`profile`"]
    tree = _state([*variant, "tags.`seed`", "attributes.`Dataset`", "attributes.`Version`", *shown], "", NESTED)
    chosen = f"tags.stage = 'variant' AND tags.reproduction = '{key[:12]}'"
    compare = _state([*variant, *shown], chosen, FLAT) | _charts(metrics, curves, pictures, baseline)
    states = {TREE: tree, compare_key(key): compare}
    tags = {f"{VIEW}{name}": json.dumps(state, separators=(",", ":")) for name, state in states.items()}
    return {**tags, LATEST: key}


def _state(columns: Sequence[str], search: str, order: str) -> dict[str, Any]:
    return {
        "searchFilter": search,
        "orderByKey": order,
        "orderByAsc": order == FLAT,
        "startTime": "ALL",
        "lifecycleFilter": "Active",
        "selectedColumns": list(columns),
    }


def _charts(
    metrics: Sequence[str], curves: Sequence[str], pictures: Mapping[str, int], baseline: str | None
) -> dict[str, Any]:
    """Sections with the charts; MLflow puts one of every other metric into the closed sections."""
    kinds = list(dict.fromkeys(name.rpartition("/")[0] for name in metrics))
    # Of a key `test/<data set>/<bucket>` both folders.
    shown = [name for key in pictures if "/" in key for name in (key.partition("/")[0], key.rpartition("/")[0])]
    others = [*(f"{VS_BASELINE}{kind}" for kind in kinds), "Model metrics", *shown]
    charts = []
    for kind in kinds:
        names = [name for name in metrics if name.rpartition("/")[0] == kind]
        charts.append(_chart(kind, "scores", "BAR", metricKey=names[0], selectedMetricKeys=names))
    more: dict[str, Any] = {"compareGroups": ["Model metrics", "Parameters"], "baselineColumnUuid": baseline or ""}
    more |= {"showChangeFromBaseline": True, "showDifferencesOnly": True, "chartName": "Differences between the runs"}
    charts.append(_chart("difference", "differences", "DIFFERENCE", **more))
    # One chart per step, for it has one slider: a row per image key, a column per run.
    for step in dict.fromkeys(pictures.values()):
        keys = [name for name, found in pictures.items() if found == step]
        charts.append(_chart(f"step {step}", "pictures", "IMAGE", imageKeys=keys, step=step, showRunParams=False))
    for name in curves:
        charts.append(_chart(name, "training", "LINE", metricKey=name, selectedMetricKeys=[name], displayName=name))
    return {
        "compareRunCharts": charts,
        "compareRunSections": [
            _section("scores", columns=3, cardHeight=300),
            _section("pictures", columns=1, cardHeight=900),
            _section("training", columns=3, cardHeight=300),
            _section("differences", columns=1, cardHeight=600),
            *(_section(name, display=False) for name in dict.fromkeys((*kinds, *others))),
        ],
        # Else MLflow sorts the sections by name.
        "isAccordionReordered": True,
        "hideEmptyCharts": True,
    }


def _chart(name: str, section: str, kind: str, **more: Any) -> dict[str, Any]:
    place = {"uuid": f"ecdm-{name}", "metricSectionId": section, "type": kind}
    return {**place, "runsCountToCompare": 10, "deleted": False, "isGenerated": False, **more}


def _section(name: str, **more: Any) -> dict[str, Any]:
    return {"uuid": name, "name": name, "display": True, "isReordered": True, **more}
