"""Descriptions of runs in Markdown: what was made from what, each with a link."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ecdm.lineage import entry_key
from ecdm.mirror.contents import CI_HIGH, CI_LOW, Means
from ecdm.mirror.state import inputs, maker_of
from ecdm.mlflow_run import TAG_LENGTH
from ecdm.reporting.tables import Table

NOTE = "mlflow.note.content"
# Characters kept for each table further down: its header at least, and how many rows it has.
RESERVED = 200


@dataclass(frozen=True)
class Links:
    """Links inside the UI to the runs of one experiment, by the runs' names."""

    experiment: str
    runs: Mapping[str, str]

    def to(self, name: str) -> str:
        """A link to a run, or its plain name where there is no such run."""
        run = self.runs.get(name)
        return f"[{name}](#/experiments/{self.experiment}/runs/{run})" if run else name


def stage_note(name: str, entry: Mapping[str, Any], made: Mapping[str, str], links: Links, above: str | None) -> str:
    """A stage: its command, the data it read and the stages that made them, what it made."""
    head = f"Stage `{name}` of the pipeline: `{entry['cmd']}`" + (f", part of {links.to(above)}." if above else ".")
    read = []
    for data in inputs(entry, made):
        stages = [stage for stage in maker_of(data.name, made) if stage != name]
        # A folder that many stages fill is named by the folder alone.
        by = ", ".join(links.to(stage) for stage in stages) or "the repository"
        read.append((f"`{data.name}`", by, f"`{data.digest[:12]}`"))
    wrote = [(f"`{out['path']}`", f"`{str(out.get('md5', ''))[:12]}`") for out in entry.get("outs", [])]
    return _note(head, _table(("made from", "by", "MD5"), read), _table(("made", "MD5"), wrote))


def variant_note(variant: str, stages: Sequence[str], means: Means, links: Links, above: str) -> str:
    """A variant: its runs per seed and its means with intervals."""
    runs = ", ".join(links.to(name) for name in stages)
    head = f"Variant `{variant}` of {links.to(above)}, made by {runs}."
    rows = [(name, _interval(means, name)) for name in _names(means)]
    return _note(head, _table(("metric / hole in percent", "mean and interval"), rows))


def parent_note(
    entries: Mapping[str, Mapping[str, Any]], means: Mapping[str, Means], links: Links, compare: str
) -> str:
    """A reproduction: the comparison of its variants and the keys of its stages."""
    head = "One reproduction of the pipeline. The runs of its stages carry the keys below as tag `ecdm.key`."
    if means:
        head += f" [Compare the variants](#/experiments/{links.experiment}/runs?{compare})."
    names = list(dict.fromkeys(name for values in means.values() for name in _names(values)))
    rows = [(name, *(_interval(values, name) for values in means.values())) for name in names]
    columns = ("metric / hole in percent", *(links.to(variant) for variant in means))
    keys = [(links.to(name), f"`{entry_key(entry)[:12]}`") for name, entry in sorted(entries.items())]
    return _note(head, _table(columns, rows), _table(("stage", "key"), keys))


def _names(means: Means) -> list[str]:
    return [name for name in means if f"{name}{CI_LOW}" in means]


def _interval(means: Means, name: str) -> str:
    if name not in means:
        return ""
    return f"{means[name]:.4g} [{means[f'{name}{CI_LOW}']:.4g}, {means[f'{name}{CI_HIGH}']:.4g}]"


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    return Table(columns, tuple(rows), left=tuple(range(len(columns))))


def _note(head: str, *tables: Table) -> str:
    """The text, then the tables, each with as many of its rows as a tag of a run has room for."""
    note, filled = head, [table for table in tables if table.rows]
    for place, table in enumerate(filled, start=1):
        room = TAG_LENGTH - len(note) - RESERVED * (len(filled) - place)
        note += _shortened(table, room)
    return note


def _shortened(table: Table, room: int) -> str:
    """The table after a blank line in at most `room` characters, its last rows replaced by their number."""
    for left in range(len(table.rows) + 1):
        shown = replace(table, rows=table.rows[: len(table.rows) - left]).markdown()
        text = f"\n\n{shown}" + (f"\n\n… {left} more" if left else "")
        if len(text) <= room:
            return text
    return ""
