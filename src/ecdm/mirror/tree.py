"""The runs of one reproduction: a parent, below it one per stage and per variant, below a variant its seeds."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path

from ecdm.data.coco import load_image
from ecdm.lineage import Cell, commit_tags, entry_key, entry_params, matrix_cell, origin, place, settings
from ecdm.mirror.compared import compared, fill_compared
from ecdm.mirror.contents import (
    BUILD,
    CI_LOW,
    REPORTS,
    VS_BASELINE,
    Means,
    completed_records,
    dataset_name,
    grid_folders,
    inpainted_grid,
    mean_by_step,
    metrics_by_step,
    pooled,
    previews,
    profile_name,
    read_scores,
    report_files,
    score_table,
)
from ecdm.mirror.notes import NOTE, Links, parent_note, stage_note, variant_note
from ecdm.mirror.state import Reproduction, inputs, makers
from ecdm.mirror.views import compare_query, views
from ecdm.mlflow_run import MLflowTracker
from ecdm.reporting.figures import COLOURS
from ecdm.reporting.measured import Record
from ecdm.tracking import PICTURES, Store

PARENT, COLOUR = "mlflow.parentRunId", "mlflow.runColor"
TABLE = "scores.json"


@dataclass
class Tree:
    """Fills the runs from the files; what MLflow has already stays as it is.

    A stage's run has the key of the stage and may belong to several reproductions: the tree shows it in the last one
    that was mirrored, its tags `ecdm.reproduction.…` name all. Parent and variants belong to one reproduction.
    """

    root: Path
    state: Reproduction
    store: Store
    # Runs by name, in the order they are made: the parent first.
    runs: dict[str, MLflowTracker] = field(default_factory=dict)

    def fill(self) -> None:
        """Write everything that the files say; raises ValueError and FileNotFoundError."""
        stages = [name for name in self.state.entries if name not in self.state.stale]
        if self.state.complete:
            self._make_parent()
            for variant in self.variants:
                self._make_variant(variant)
        for name in stages:
            self._make_stage(name)
        for name in stages:
            self._fill_stage(name)
        if self.state.complete:
            for variant in self.variants:
                self._fill_variant(variant)
            self._fill_parent()
        for tracker in reversed(self.runs.values()):
            tracker.close()
        if self.state.complete:
            self.store.tags(self._views())

    @property
    def parent(self) -> str:
        """The parent's name."""
        return f"reproduction {self.state.key[:8]}"

    @cached_property
    def variants(self) -> dict[str, list[Cell]]:
        """Stages of the matrix by variant."""
        found: dict[str, list[Cell]] = {}
        for cell in filter(None, map(matrix_cell, self.state.entries)):
            found.setdefault(cell.variant, []).append(cell)
        return found

    @cached_property
    def made(self) -> dict[str, str]:
        return makers(self.state.entries)

    @cached_property
    def scores(self) -> dict[tuple[str, str], dict[str, float]]:
        """Means of the reports by variant and seed; empty where they are not those of the lock."""
        found: dict[tuple[str, str], dict[str, float]] = {}
        if self.state.complete:
            for name, prefix in (("ablation.csv", ""), ("differences.csv", VS_BASELINE)):
                path = self.root / REPORTS / name
                if path.relative_to(self.root).as_posix() in self.made:
                    for key, values in read_scores(path, prefix).items():
                        found.setdefault(key, {}).update(values)
        return found

    @cached_property
    def means(self) -> dict[str, Means]:
        """Means over all seeds by variant, without the references."""
        return {name: values for name, values in pooled(self.scores).items() if name in self.variants}

    @cached_property
    def histories(self) -> dict[Cell, dict[int, dict[str, float]]]:
        """Metrics by step of every training run whose files are those of the lock."""
        cells = [matrix_cell(name) for name in self.state.entries if name not in self.state.stale]
        trained = [cell for cell in cells if cell and cell.stage == "train"]
        return {cell: metrics_by_step(self._folder(cell) / "history.csv") for cell in trained}

    @cached_property
    def records(self) -> dict[str, Record]:
        return completed_records(self.root)

    @cached_property
    def common(self) -> dict[str, str]:
        """Tags of every run: the data, and the profile where params.yaml is what was reproduced."""
        found = {"dataset": dataset_name(self.state.entries)}
        if not self.state.changed:
            found["profile"] = profile_name(self.root)
        return {name: value for name, value in found.items() if value}

    @cached_property
    def origin(self) -> dict[str, str]:
        """Tags of the working tree."""
        return origin(self.root)

    def _make_parent(self) -> None:
        values = {key: value for entry in self.state.entries.values() for key, value in entry_params(entry).items()}
        self._make(self.parent, self.state.key, values, {"stage": "reproduction", **self._own}, {})

    def _make_variant(self, variant: str) -> None:
        cells = self.variants[variant]
        values: dict[str, object] = {}
        for name in map(_name, cells):
            values = {**settings(name, self.state.entries[name], self.root), **values}
        del values["train_seed"]
        values["seeds"] = sorted({cell.seed for cell in cells})
        key = hashlib.sha256(json.dumps([self.state.key, variant]).encode()).hexdigest()
        tags = {"stage": "variant", "variant": variant, **self._measured(_name(cells[0])), **self._own}
        if variant in COLOURS:
            tags[COLOUR] = COLOURS[variant]
        self._make(variant, key, values, tags, self._below(self.parent))

    def _make_stage(self, name: str) -> None:
        entry, cell = self.state.entries[name], matrix_cell(name)
        tags, always = {**place(name), **self._measured(name), "dvc_lock": self.origin["dvc_lock"]}, {}
        if self.state.complete:
            always = self._below(cell.variant if cell else self.parent)
            always |= {f"ecdm.reproduction.{self.state.key[:12]}": "yes", "dvc_lock": self.origin["dvc_lock"]}
        self._make(name, entry_key(entry), settings(name, entry, self.root), tags, always)

    @property
    def _own(self) -> dict[str, str]:
        """Tags of a run that belongs to this reproduction alone."""
        return {**self.origin, "reproduction": self.state.key[:12]}

    def _below(self, name: str) -> dict[str, str]:
        return {PARENT: self.runs[name].run_id}

    def _measured(self, stage: str) -> dict[str, str]:
        """Tags of the machine and the commit that a stage ran on; none where it did not run here."""
        record = self.records.get(stage)
        return {"hardware": record.hardware, **commit_tags(record.commit)} if record else {}

    def _make(
        self, name: str, key: str, params: Mapping[str, object], tags: Mapping[str, str], always: Mapping[str, str]
    ) -> None:
        """The run; of `tags` the first value stands, of `always` the last."""
        tracker = self.store.run(key, name, params, {**tags, **self.common, **always}, strict=True)
        tracker.missing_tags(self.common)
        tracker.tags(always)
        self.runs[name] = tracker

    def _fill_stage(self, name: str) -> None:
        entry, cell, tracker = self.state.entries[name], matrix_cell(name), self.runs[name]
        tracker.inputs(inputs(entry, self.made), "training" if cell and cell.stage == "train" else "evaluation")
        files, tables = report_files(self.root, entry), []
        if cell and cell.stage == "train":
            for step, values in self.histories[cell].items():
                tracker.metrics(values, step)
            self._show_previews(tracker, cell)
        elif cell and cell.stage == "evaluate":
            # Its key covers the weights, the outputs and the scores; that of the training run only the first.
            tracker.summary(self.scores.get((cell.variant, str(cell.seed)), {}))
            files[TABLE], tables = score_table(self._score_files([cell])), [TABLE]
        elif cell and cell.stage == "generate":
            self._show_grids(tracker, cell, 0)
        elif name == "reference":
            tracker.summary(dict(self._reference_means()))
        elif method := compared(entry):
            fill_compared(tracker, method, self.root, self.records.get(name))
        tracker.files(files, tables)
        above = cell.variant if cell else self.parent
        note = {NOTE: stage_note(name, entry, self.made, self.links, above)}
        # Without the whole reproduction some links are missing: better the last complete note.
        (tracker.tags if self.state.complete else tracker.missing_tags)(note)

    def _fill_variant(self, variant: str) -> None:
        cells, tracker = self.variants[variant], self.runs[variant]
        seeds = [cell for cell in cells if cell.stage == "train"]
        history = mean_by_step([self.histories[cell] for cell in seeds])
        for step, values in history.items():
            tracker.metrics(values, step)
        means = self.means.get(variant, {})
        tracker.summary(means)
        self._show_previews(tracker, seeds[0])
        self._show_grids(tracker, seeds[0], max(history))
        if scored := self._score_files([cell for cell in cells if cell.stage == "evaluate"]):
            tracker.files({TABLE: score_table(scored)}, [TABLE])
        for cell in cells:
            tracker.inputs(inputs(self.state.entries[_name(cell)], self.made), "evaluation")
        tracker.tags({NOTE: variant_note(variant, list(map(_name, cells)), means, self.links, self.parent)})

    def _fill_parent(self) -> None:
        tracker, entries = self.runs[self.parent], self.state.entries
        files = {path.name: path.read_bytes() for path in (self.root / "dvc.lock", self.root / "params.yaml")}
        for entry in entries.values():
            files |= report_files(self.root, entry)
            tracker.inputs([data for data in inputs(entry, self.made) if data.name.startswith("data")], "evaluation")
        tracker.files(files)
        query = compare_query(self.state.key)
        tracker.tags({NOTE: parent_note(entries, self.means, self.links, query)})

    def _show_previews(self, tracker: MLflowTracker, cell: Cell) -> None:
        for step, path in previews(self._folder(cell)).items():
            tracker.image(PICTURES, partial(load_image, path), step)

    def _show_grids(self, tracker: MLflowTracker, cell: Cell, step: int) -> None:
        for key, folders in grid_folders(self.root, cell.variant, cell.seed).items():
            tracker.image(key, partial(inpainted_grid, folders), step)

    def _views(self) -> dict[str, str]:
        names = [name for values in self.means.values() for name in values if f"{name}{CI_LOW}" in values]
        shown = [name for name in dict.fromkeys(names) if not name.startswith(VS_BASELINE)]
        curves: list[str] = []
        pictures: dict[str, int] = {}
        for cell, history in self.histories.items():
            curves += [name for values in history.values() for name in values]
            keys = grid_folders(self.root, cell.variant, cell.seed)
            pictures |= dict.fromkeys((*keys, PICTURES), max(history))
        first = self.runs["baseline"].run_id if "baseline" in self.variants else None
        return views(self.state.key, shown, list(dict.fromkeys(curves)), pictures, first)

    @property
    def links(self) -> Links:
        return Links(self.store.experiment_id, {name: tracker.run_id for name, tracker in self.runs.items()})

    def _folder(self, cell: Cell) -> Path:
        return self.root / BUILD / "train" / f"{cell.variant}-{cell.seed}"

    def _score_files(self, cells: list[Cell]) -> list[Path]:
        return [self.root / BUILD / "scores" / f"{cell.variant}-{cell.seed}.csv" for cell in cells]

    def _reference_means(self) -> Iterator[tuple[str, float]]:
        for (method, _), values in self.scores.items():
            if method not in self.variants:
                yield from ((f"{method}/{name}", value) for name, value in values.items())


def _name(cell: Cell) -> str:
    return f"{cell.stage}@{cell.variant}-{cell.seed}"
