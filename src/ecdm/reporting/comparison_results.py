"""What the comparison found: means and paired differences to ours with intervals, and the files that hold them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecdm.data.coco import read_json
from ecdm.numerics.statistics import Interval
from ecdm.reporting.comparison import OBJECTS, Facts, Scope, Values, parsed_facts
from ecdm.reporting.labels import METRICS
from ecdm.reporting.records import csv_text, read_rows
from ecdm.reporting.scores import Cell
from ecdm.reporting.summary import DECIMALS, Bootstrap

MEANS, CHANGES, ABOUT = "comparison.csv", "comparison_differences.csv", "comparison.json"
HEADER = ("dataset", "method", "bucket", "metric", "mean", "ci_low", "ci_high", "n", "pasted")
Intervals = Mapping[Cell, Interval]


@dataclass(frozen=True)
class Comparison:
    """All that tables need: scope, facts by run, how intervals were drawn, means, and changes (method minus ours)."""

    scope: Scope
    facts: Mapping[str, Facts]
    draws: Bootstrap
    means: Intervals
    changes: Intervals

    @classmethod
    def of(cls, scope: Scope, facts: Mapping[str, Facts], values: Values, draws: Bootstrap) -> Comparison:
        """Means over each run's own images; changes over the images that a method has in common with ours."""
        means: dict[Cell, Interval] = {}
        changes: dict[Cell, Interval] = {}
        for cell in sorted(values, key=_order(scope)):
            images = values[cell]
            means[cell] = _rounded(draws.mean(np.array([images[i] for i in sorted(images)])))
            own = values[cell._replace(variant=scope.ours)]
            common = sorted(images.keys() & own.keys())
            if cell.variant != scope.ours:
                pair = (np.array([one[i] for i in common]) for one in (images, own))
                changes[cell] = _rounded(draws.difference(*pair))
        return cls(scope, facts, draws, means, changes)

    def files(self) -> dict[str, str]:
        """The texts of `MEANS`, `CHANGES` and `ABOUT`, which `read_comparison` reads."""
        about = {
            "scope": asdict(self.scope),
            "draws": asdict(self.draws),
            "facts": {run: asdict(facts) for run, facts in self.facts.items()},
        }
        text = json.dumps(about, indent=1) + "\n"
        return {MEANS: to_csv(self.means), CHANGES: to_csv(self.changes), ABOUT: text}


def to_csv(found: Intervals) -> str:
    """Intervals as CSV text under `HEADER`, numbers with six decimals; the header alone without intervals."""
    rows = []
    for cell, interval in found.items():
        numbers = [f"{value:.{DECIMALS}f}" for value in (interval.mean, interval.low, interval.high)]
        place = [cell.dataset, cell.variant, cell.bucket, cell.metric]
        rows.append([*place, *numbers, interval.n, int(cell.pasted)])
    return csv_text(HEADER, rows)


def cell_key(cell: Cell) -> str:
    """How a link names a row: how it begins in its CSV file, and its last column."""
    return f"{cell.dataset},{cell.variant},{cell.bucket},{cell.metric},pasted={int(cell.pasted)}"


def read_comparison(reports: Path) -> Comparison | None:
    """The comparison whose files lie in `reports`; None where there is none.

    Raises: FileNotFoundError for one file without the others; ValueError naming a file of another form.
    """
    if not (reports / ABOUT).is_file():
        return None
    path = reports / ABOUT
    content = read_json(path)
    try:
        scope = Scope(**{key: _tuple(value) for key, value in content["scope"].items()})
        draws = Bootstrap(**content["draws"])
        facts = {run: parsed_facts(path, entry, f"facts.{run}.") for run, entry in content["facts"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: found {error!r}, expected what the stage comparison writes") from error
    return Comparison(scope, facts, draws, _intervals(reports / MEANS), _intervals(reports / CHANGES))


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _intervals(path: Path) -> dict[Cell, Interval]:
    found = {}
    for place, row in read_rows(path, HEADER):
        cell = Cell(row["dataset"], row["method"], row["bucket"], row["metric"], row["pasted"] == "1")
        try:
            mean, low, high = (float(row[name]) for name in ("mean", "ci_low", "ci_high"))
            found[cell] = Interval(mean, low, high, int(row["n"]))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{place}: expected numbers in mean, ci_low, ci_high and n: {error}") from error
    return found


def _rounded(found: Interval) -> Interval:
    """As the files hold it, so that tables show the files' numbers; without a minus before zero."""
    mean, low, high = (round(value, DECIMALS) + 0.0 for value in (found.mean, found.low, found.high))
    return Interval(mean, low, high, found.n)


def _order(scope: Scope) -> Callable[[Cell], tuple[int, int, int, int, str, bool]]:
    """By set, run, masks, metric, pasted before raw; metrics that no table knows come last, by name."""
    sets, masks = (*scope.datasets, OBJECTS[0]), (*scope.buckets, OBJECTS[1])
    known = {metric.name: place for place, metric in enumerate(METRICS)}

    def order(cell: Cell) -> tuple[int, int, int, int, str, bool]:
        column = known.get(cell.metric, len(known))
        run, bucket = scope.runs.index(cell.variant), masks.index(cell.bucket)
        return sets.index(cell.dataset), run, bucket, column, cell.metric, not cell.pasted

    return order
