"""The tables of the comparison as cells with ranks, verdicts and places, before Markdown, LaTeX and HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ecdm.reporting.cited import RANKS, Cited
from ecdm.reporting.comparison import OBJECTS
from ecdm.reporting.comparison_results import ABOUT, CHANGES, MEANS, Comparison, cell_key
from ecdm.reporting.labels import METRICS, Metric, bucket_heading, bucket_title, data_heading, data_title, model_title
from ecdm.reporting.marks import bounds, number, ranks, signed, verdict
from ecdm.reporting.scores import Cell

ATTRIBUTES = ("shape", "colour", "texture")
# Methods that put known pixels back themselves, at the size of their own networks.
KEEPERS = ("glide", "blended")
# Words in captions of shifted scenes that those of the embedded scenes, which the small CLIP was trained on, lack.
UNSEEN = ("marbled", "moon", "over", "ringed", "row", "spotted", "tiled", "tissue", "wavy", "woven", "zigzag")
# What stands below a mean: its own interval, or its difference to ours with the interval of that.
Below = Literal["", "interval", "change"]
# A set under one bucket of masks, and the metrics shown of it.
Place = tuple[str, str, tuple[str, ...]]


@dataclass(frozen=True)
class Entry:
    """A number of a table with its rank in the column, its verdict against ours, a second line, a sign for a note."""

    value: Cited
    rank: str = ""
    verdict: str = ""
    below: Cited | None = None
    sign: str = ""


@dataclass(frozen=True)
class Column:
    """A column: a metric, or what its title says."""

    title: str
    metric: Metric | None = None


@dataclass(frozen=True)
class Group:
    """Columns under one heading."""

    heading: str
    columns: tuple[Column, ...]


@dataclass(frozen=True)
class Row:
    """A method's entries, one for each column of all groups."""

    title: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Block:
    """Rows under the masks of one bucket; the only block of a table may have none."""

    bucket: str
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """The masks in a column of their own."""
        return bucket_title(self.bucket) if self.bucket else ""

    @property
    def heading(self) -> str:
        """The masks as a heading."""
        return bucket_heading(self.bucket) if self.bucket else ""


@dataclass(frozen=True)
class GroupedTable:
    """A table of blocks of rows by groups of columns, with notes on its signs; `name` is its anchor."""

    name: str
    title: str
    groups: tuple[Group, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[Column, ...]:
        """The columns of all groups."""
        return tuple(column for group in self.groups for column in group.columns)

    @property
    def masked(self) -> bool:
        """Whether its blocks are those of buckets."""
        return any(block.bucket for block in self.blocks)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The entries of all rows."""
        return tuple(entry for block in self.blocks for row in block.rows for entry in row.entries)


def table_1(found: Comparison, pasted: bool, below: Below = "") -> GroupedTable:
    """Means in the layout of the paper's Table 1."""
    name, kind = ("comparison-pasted", "pasted") if pasted else ("comparison-raw", "raw outputs")
    title, scope = f"After the paper's Table 1, {kind}", found.scope
    table = _by_bucket(found, name, title, scope.buckets, scope.metrics, pasted, below)
    return table if pasted else replace(table, notes=_kept(found))


def _kept(found: Comparison) -> tuple[str, ...]:
    """What raw outputs are of methods that put known pixels back themselves."""
    notes = []
    for run in (name for name in KEEPERS if name in found.scope.methods):
        facts, title = found.facts[run], model_title(run)
        if facts.native_size in (None, facts.image_size):
            notes.append(
                f"{title} puts known pixels back itself: its raw values are its pasted ones, while those of other "
                "methods include what their networks made of known pixels. A good rank here is no better hole."
            )
        else:
            side = f"{facts.native_size} px"
            notes.append(f"{title} puts known pixels back itself at {side}; its raw outputs have them enlarged.")
    return tuple(notes)


def text_table(found: Comparison) -> GroupedTable:
    """CLIP scores of pasted outputs with their intervals, where they were scored."""
    datasets = found.scope.datasets
    scored = any(cell.metric == "clip_score" and cell.dataset in datasets for cell in found.means)
    buckets = found.scope.buckets if scored else ()
    table = _by_bucket(found, "comparison-text", "Text alignment", buckets, ("clip_score",), True, "interval")
    return replace(table, notes=(_unseen(),)) if scored and "shifted" in datasets else table


def _unseen() -> str:
    """Why the score of shifted scenes says little."""
    return (
        f"The embedded CLIP (networks.source: bundled or train) never saw {len(UNSEEN)} words of the captions of "
        f"{data_title('shifted')}: {', '.join(UNSEEN)}. Its score of these can hardly be read."
    )


def _by_bucket(
    found: Comparison, name: str, title: str, buckets: Sequence[str], metrics: tuple[str, ...], pasted: bool,
    below: Below,
) -> GroupedTable:  # fmt: skip
    """A group per data set, a block per bucket."""
    datasets = found.scope.datasets
    groups = tuple(_group(data_heading(dataset), metrics) for dataset in datasets)
    blocks = []
    for bucket in buckets:
        places = [(dataset, bucket, metrics) for dataset in datasets]
        blocks.append(Block(bucket, _rows(found, places, pasted, below)))
    return GroupedTable(name, title, groups, tuple(blocks))


def change_table(found: Comparison) -> GroupedTable:
    """Each method minus ours on the images that both have, pasted, with intervals."""
    metrics, datasets = found.scope.metrics, found.scope.datasets
    blocks = []
    for bucket in found.scope.buckets:
        rows = []
        for run in found.scope.methods:
            cells = [[Cell(one, run, bucket, name, True) for name in metrics] for one in datasets]
            entries = [entry for part in cells for entry in (_count(found, part, CHANGES), *_changes(found, part))]
            rows.append(Row(run_title(found, run), tuple(entries)))
        blocks.append(Block(bucket, tuple(rows)))
    groups = tuple(_group(data_heading(dataset), metrics) for dataset in datasets)
    title = f"Differences to {model_title(found.scope.ours)}, pasted"
    return GroupedTable("comparison-differences", title, groups, tuple(blocks))


def cost_table(found: Comparison) -> GroupedTable:
    """What single items show of the text, where scored, and what an image costs."""
    scored = _scored(found, *OBJECTS, ("clip_score", *ATTRIBUTES))
    places = [(*OBJECTS, scored)] if scored else []
    groups = [_group(data_heading(name), metrics) for name, _, metrics in places]
    unit, scale = ("TFLOPs", 1e12) if min(one.flops for one in found.facts.values()) >= 1e12 else ("GFLOPs", 1e9)
    groups.append(Group("Per image", (Column("Network evaluations"), Column(unit))))
    rows = []
    for run, row in zip(found.scope.runs, _rows(found, places, True, "interval"), strict=True):
        facts = found.facts[run]
        counts = ", ".join(f"{name} {count}" for name, count in facts.evaluations.items())
        evaluations = Entry(Cited(counts, ABOUT, f"/facts/{run}/evaluations"))
        flops = Entry(Cited(f"{facts.flops / scale:.2f}", ABOUT, f"/facts/{run}/flops"))
        rows.append(Row(row.title, (*row.entries, evaluations, flops)))
    title = "Attributes and cost" if places else "Cost"
    return GroupedTable("comparison-cost", title, tuple(groups), (Block("", tuple(rows)),))


def run_title(found: Comparison, run: str) -> str:
    """A run's title, with the side of its own images where they are smaller than those that are scored."""
    facts = found.facts[run]
    return f"{model_title(run)} ({facts.native_size} px)" if facts.enlarged else model_title(run)


def _metric(name: str) -> Metric:
    (metric,) = (metric for metric in METRICS if metric.name == name)
    return metric


def column(name: str) -> Column:
    """The column of a metric."""
    return Column(_metric(name).title, _metric(name))


def _group(heading: str, metrics: Iterable[str]) -> Group:
    return Group(heading, (Column("n"), *map(column, metrics)))


def _scored(found: Comparison, dataset: str, bucket: str, metrics: Sequence[str]) -> tuple[str, ...]:
    """Those of the metrics that ours has."""
    ours = found.scope.ours
    return tuple(name for name in metrics if Cell(dataset, ours, bucket, name, True) in found.means)


def _rows(found: Comparison, places: Sequence[Place], pasted: bool, below: Below) -> tuple[Row, ...]:
    """One row per run; of each place the number of images, then means ranked among the runs."""
    entries: dict[str, list[Entry]] = {run: [] for run in found.scope.runs}
    for dataset, bucket, metrics in places:
        for run in entries:
            cells = [Cell(dataset, run, bucket, name, pasted) for name in metrics]
            entries[run].append(_count(found, cells, MEANS))
        for name in metrics:
            cells = [Cell(dataset, run, bucket, name, pasted) for run in entries]
            for run, entry in zip(entries, _means(found, cells, below), strict=True):
                entries[run].append(entry)
    return tuple(Row(run_title(found, run), tuple(row)) for run, row in entries.items())


def _count(found: Comparison, cells: Sequence[Cell], path: str) -> Entry:
    """How many images these cells of one run rest on; all metrics of a bucket have the same."""
    values = found.means if path == MEANS else found.changes
    return Entry(Cited(str(values[cells[0]].n), path, cell_key(cells[0])))


def _means(found: Comparison, cells: Sequence[Cell], below: Below) -> list[Entry]:
    """A column: the runs' means of one metric."""
    metric = _metric(cells[0].metric)
    placed = ranks([found.means[cell].mean for cell in cells], metric.higher)
    second: dict[Below, Callable[[Cell], Cited | None]] = {
        "": lambda _: None,
        "interval": lambda cell: _own_interval(found, cell),
        "change": lambda cell: _change(found, cell, metric),
    }
    entries = []
    for cell, place in zip(cells, placed, strict=True):
        rank = RANKS[place] if 0 <= place < len(RANKS) else ""
        judged = verdict(metric, found.changes[cell]) if cell in found.changes else ""
        value = Cited(number(found.means[cell].mean), MEANS, cell_key(cell))
        entries.append(Entry(value, rank, judged, second[below](cell)))
    return entries


def _own_interval(found: Comparison, cell: Cell) -> Cited:
    interval = found.means[cell]
    return Cited(f"[{number(interval.low)}, {number(interval.high)}]", MEANS, cell_key(cell))


def _change(found: Comparison, cell: Cell, metric: Metric) -> Cited | None:
    """The difference to ours, and on a line of its own the interval."""
    interval = found.changes.get(cell)
    if interval is None:
        return None
    return Cited(f"{signed(metric, interval.mean)}\n{bounds(metric, interval)}", CHANGES, cell_key(cell))


def _changes(found: Comparison, cells: Sequence[Cell]) -> list[Entry]:
    entries = []
    for cell in cells:
        metric, interval = _metric(cell.metric), found.changes[cell]
        key = cell_key(cell)
        value, low = Cited(signed(metric, interval.mean), CHANGES, key), Cited(bounds(metric, interval), CHANGES, key)
        entries.append(Entry(value, "", verdict(metric, interval), low))
    return entries
