"""Parts that other stages and the search add to reports/: shown as soon as their files are there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ecdm.reporting.cited import Cited, cite
from ecdm.reporting.labels import METRICS, bucket_heading
from ecdm.reporting.pictures import Tile, picture_tile
from ecdm.reporting.records import read_rows
from ecdm.reporting.tables import number

COMPARISON, TRIALS = "comparison.csv", "search/trials.csv"
COMPARISON_COLUMNS = ("dataset", "method", "bucket", "metric", "mean", "ci_low", "ci_high", "n", "pasted")
TRIAL_COLUMNS = ("number", "state")
# Of a trial, times are measured and so not part of this page.
MEASURED = ("datetime_start", "datetime_complete", "duration")
FIGURES = {
    "comparison/figure_4.png": "Figure 4: outputs under masks and prompts of one's own",
    "comparison/figure_5.png": "Figure 5: outputs under wide and narrow masks",
}


@dataclass(frozen=True)
class Sheet:
    """A table whose numbers all cite one file; the first `labels` columns are names."""

    heading: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cited, ...], ...]
    labels: int = 1


@dataclass(frozen=True)
class Picture:
    """A figure of another stage: its file below reports/, what it shows, the picture itself."""

    path: str
    title: str
    tile: Tile


@dataclass(frozen=True)
class Additions:
    """Table 1 by data set and bucket, figures 4 and 5, trials and figures of the search; empty where absent."""

    comparison: tuple[Sheet, ...]
    figures: tuple[Picture, ...]
    trials: tuple[Sheet, ...]
    landscapes: tuple[Picture, ...]


def read_additions(reports: Path) -> Additions:
    """Read what is there; ValueError naming file and column for a file of another form."""
    comparison, trials = reports / COMPARISON, reports / TRIALS
    shown = {name: title for name, title in FIGURES.items() if (reports / name).is_file()}
    drawn = sorted((reports / "search").glob("*.png"))
    return Additions(
        _comparison(comparison) if comparison.is_file() else (),
        tuple(_picture(reports, name, title) for name, title in shown.items()),
        (_trials(trials),) if trials.is_file() else (),
        tuple(_picture(reports, f"search/{path.name}", path.stem.replace("_", " ")) for path in drawn),
    )


def _picture(reports: Path, name: str, title: str) -> Picture:
    return Picture(name, title, picture_tile(reports / name, title))


def _comparison(path: Path) -> tuple[Sheet, ...]:
    """One table per data set and bucket, pasted outputs: methods down, metrics across."""
    found: dict[tuple[str, str], dict[str, dict[str, Cited]]] = {}
    for place, row in read_rows(path, COMPARISON_COLUMNS):
        if row["pasted"] != "1":
            continue
        try:
            text = number(float(row["mean"]))
        except ValueError as error:
            raise ValueError(f"{place}: expected a number in mean: {error}") from error
        key = ",".join(row[name] for name in ("dataset", "method", "bucket", "metric"))
        methods = found.setdefault((row["dataset"], row["bucket"]), {})
        methods.setdefault(row["method"], {})[row["metric"]] = cite(text, COMPARISON, key)
    return tuple(_sheet(dataset, bucket, methods) for (dataset, bucket), methods in found.items())


def _sheet(dataset: str, bucket: str, methods: dict[str, dict[str, Cited]]) -> Sheet:
    present = {metric for cells in methods.values() for metric in cells}
    metrics = [metric for metric in METRICS if metric.name in present]
    none = Cited("–")
    rows = [(Cited(method), *(cells.get(metric.name, none) for metric in metrics)) for method, cells in methods.items()]
    header = ("Method", *(metric.heading.replace("`", "") for metric in metrics))
    return Sheet(f"{dataset}, {bucket_heading(bucket).lower()}", header, tuple(rows))


def _trials(path: Path) -> Sheet:
    """All trials as they stand in the file, times left out."""
    rows = [row for _, row in read_rows(path, TRIAL_COLUMNS)]
    columns = [name for name in (rows[0] if rows else TRIAL_COLUMNS) if name not in MEASURED]
    cells = [tuple(_trial(row, name) for name in columns) for row in rows]
    return Sheet("All trials", tuple(name.removeprefix("params_") for name in columns), tuple(cells))


def _trial(row: dict[str, str], name: str) -> Cited:
    text = row[name] or "–"
    try:
        text = f"{float(text):.6g}"
    except ValueError:
        return Cited(text)
    return cite(text, TRIALS, f"{row['number']},{name}")
