"""Numbers with the place they come from, and the page's tables made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ecdm.reporting.gates import Gate, Gates
from ecdm.reporting.labels import Metric, bucket_heading, model_title
from ecdm.reporting.marks import bounds, number, ranks, signed, verdict
from ecdm.reporting.summary import Key, Row

MEANS, CHANGES, PHOTO_MEANS = "ablation.csv", "differences.csv", "photos.csv"
RANKS = ("best", "second", "third")


@dataclass(frozen=True)
class Cited:
    """A text as it is shown; where it is a number also its file, relative to reports/, and the key of its place there.

    A row's key is the row's beginning, in the comparison also what its last column says; a place in JSON is a pointer
    such as /gates/vae.psnr/value.
    """

    text: str
    path: str = ""
    key: str = ""

    @property
    def href(self) -> str:
        """Link to the place, empty without one."""
        return f"{self.path}#{self.key}" if self.path else ""

    @property
    def source(self) -> str:
        """The place in words."""
        return f"{self.path}: {self.key}" if self.path else ""


@dataclass(frozen=True)
class Cell:
    """A mean, its rank among the variants (best, second, third or empty), and its difference to baseline."""

    mean: Cited
    rank: str = ""
    change: Cited | None = None
    interval: str = ""
    verdict: str = ""


@dataclass(frozen=True)
class Line:
    """A row of a result table."""

    title: str
    variant: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class ResultTable:
    """One bucket's means, a column per metric; `n` images."""

    heading: str
    n: int
    metrics: Sequence[Metric]
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Source:
    """Which rows of which file a result table shows, and for which models."""

    means: Mapping[Key, Row]
    changes: Mapping[Key, Row]
    file: str
    pasted: bool
    variants: Sequence[str]
    references: Sequence[str]


def row_key(row: Row) -> str:
    """How the row begins in its CSV file."""
    return f"{row.variant},{row.seed},{row.bucket},{row.metric},{int(row.pasted)}"


def result_table(source: Source, bucket: str, images: int, metrics: Sequence[Metric]) -> ResultTable:
    """Variants ranked among themselves with differences to baseline, references below; a missing value is a dash."""
    placed = {}
    for metric in metrics:
        values = [source.means[name, bucket, metric.name, source.pasted].interval.mean for name in source.variants]
        placed[metric.name] = dict(zip(source.variants, ranks(values, metric.higher), strict=True))
    lines = []
    for name in (*source.variants, *source.references):
        keys = [(name, bucket, metric.name, source.pasted) for metric in metrics]
        if any(key in source.means for key in keys):
            pairs = zip(metrics, keys, strict=True)
            cells = [_cell(source, metric, key, placed[metric.name].get(name, -1)) for metric, key in pairs]
            lines.append(Line(model_title(name), name in source.variants, tuple(cells)))
    return ResultTable(bucket_heading(bucket), images, metrics, tuple(lines))


def _cell(source: Source, metric: Metric, key: Key, rank: int) -> Cell:
    row, change = source.means.get(key), source.changes.get(key)
    if row is None:
        return Cell(Cited("–"))
    mean = Cited(number(row.interval.mean), source.file, row_key(row))
    place = RANKS[rank] if 0 <= rank < len(RANKS) else ""
    if change is None:
        return Cell(mean, place)
    found = change.interval
    cited = Cited(signed(metric, found.mean), CHANGES, row_key(change))
    return Cell(mean, place, cited, bounds(metric, found), verdict(metric, found))


@dataclass(frozen=True)
class GateLine:
    """A gate with cited numbers."""

    gate: Gate
    value: Cited
    bound: Cited
    interval: Cited


def gate_lines(gates: Gates, path: str) -> list[GateLine]:
    """All gates, their numbers citing the file."""
    lines = []
    for gate in gates.gates:
        texts = {"value": gate.value, "bound": gate.bound, "interval": gate.interval}
        cells = {
            key: Cited(text, path, f"/gates/{gate.name}/{key}") if text else Cited("") for key, text in texts.items()
        }
        lines.append(GateLine(gate, **cells))
    return lines
