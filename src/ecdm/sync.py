"""Filling MLflow from the files of a reproduction; what is there already stays as it is."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from ecdm.address import project_of
from ecdm.lineage import Entry, Reproduction, entry_key, identity, reproduction, settings, train_run
from ecdm.reporting.histories import read_history
from ecdm.reporting.records import read_rows
from ecdm.reporting.summary import HEADER
from ecdm.runs import RUNS, describe
from ecdm.tracking import PICTURES, MLflowTracker, Store

REPORTS = "reports"


@dataclass(frozen=True)
class Synced:
    """What one run got: how much was written, by kind (runs, params, metrics, images, artifacts, tags)."""

    name: str
    run_id: str
    written: Mapping[str, int]


@dataclass(frozen=True)
class Outcome:
    """The runs of a sync, children first, and one line for everything that could not be mirrored."""

    runs: list[Synced]
    skipped: list[str]

    @property
    def written(self) -> Counter[str]:
        """Counts over all runs; all zero where MLflow was complete."""
        total: Counter[str] = Counter()
        for run in self.runs:
            total.update(run.written)
        return total


def sync(root: Path) -> Outcome:
    """Mirror the reproduction that `root`/dvc.lock describes into MLflow, as far as its files are there.

    A child run per training stage, with params, step metrics, pictures and the metrics of every bucket with
    their intervals, under a parent run with the reports, params.yaml and dvc.lock. The parent and the bucket
    metrics need every stage to be reproduced. Raises: FileNotFoundError without dvc.lock; ValueError naming a
    malformed file or a store that fails; what was written until then stays and is not repeated.
    """
    state = reproduction(root)
    store = Store.connect(root)
    scores = read_scores(root / REPORTS / "ablation.csv") if state.complete else {}
    # Two syncs at once would each find the same things missing.
    with FileLock(project_of(root) / "mlflow.db.sync.lock", timeout=600):
        parent = _parent(root, state, store) if state.complete else None
        names = [name for name in state.entries if train_run(name) and name not in state.stale]
        runs = [_child(root, name, state, store, parent, scores) for name in names]
        if parent:
            parent.close()
            runs.append(Synced(f"reproduction {state.key[:8]}", parent.run_id, parent.written))
    return Outcome(runs, _skipped(state))


def _skipped(state: Reproduction) -> list[str]:
    lines = [
        f"{name}: {', '.join(paths)} {'is' if len(paths) == 1 else 'are'} not as in dvc.lock"
        for name, paths in state.stale.items()
    ]
    return lines + [f"{name}: not reproduced with the present dvc.yaml and params.yaml" for name in state.changed]


def _child(
    root: Path,
    name: str,
    state: Reproduction,
    store: Store,
    parent: MLflowTracker | None,
    scores: Mapping[tuple[str, str], Mapping[str, float]],
) -> Synced:
    entry, hardware = state.entries[name], recorded_hardware(root, name)
    tags = identity(name, root, hardware)
    tracker = store.run(entry_key(entry), name, settings(name, entry, root), tags, strict=True)
    variant, seed = train_run(name) or ("", 0)
    folder = root / "build" / "train" / f"{variant}-{seed}"
    for step, values in metrics_by_step(folder / "history.csv"):
        tracker.metrics(values, step)
    for path in sorted((folder / "samples").glob("*.png")):
        tracker.image(PICTURES, read_picture(path), int(path.stem))
    tracker.summary(scores.get((variant, str(seed)), {}))
    if parent:
        mark = f"ecdm.reproduction.{state.key[:12]}"
        # One run may belong to several reproductions: the tree shows the last one, the marks tell all.
        tracker.tags({"mlflow.parentRunId": parent.run_id, mark: "yes", "dvc_lock": tags["dvc_lock"]})
    tracker.close()
    return Synced(name, tracker.run_id, tracker.written)


def _parent(root: Path, state: Reproduction, store: Store) -> MLflowTracker:
    tags = identity("reproduction", root, None) | {"mlflow.note.content": _note(state)}
    del tags["DVC_STAGE"]
    tracker = store.run(state.key, f"reproduction {state.key[:8]}", {}, tags, strict=True)
    for path in (root / "dvc.lock", root / "params.yaml"):
        tracker.artifact(path)
    for path in report_files(root, state.entries):
        tracker.artifact(path, path.parent.relative_to(root).as_posix())
    return tracker


def _note(state: Reproduction) -> str:
    rows = [f"| {name} | `{entry_key(entry)[:12]}` |" for name, entry in sorted(state.entries.items())]
    head = "One reproduction of the pipeline. The runs of its stages carry these keys (tag `ecdm.key`)."
    return "\n".join([head, "", "| stage | key |", "|---|---|", *rows])


def report_files(root: Path, entries: Mapping[str, Entry]) -> list[Path]:
    """The files below reports/ that stages wrote, according to dvc.lock."""
    outs = [root / out["path"] for entry in entries.values() for out in entry.get("outs", [])]
    found: set[Path] = set()
    for out in outs:
        if out.relative_to(root).parts[0] == REPORTS:
            found |= {path for path in out.rglob("*") if path.is_file()} if out.is_dir() else {out}
    return sorted(found)


def recorded_hardware(root: Path, name: str) -> str | None:
    """The hardware of the last run of a stage on this machine; None where it did not run here."""
    path = root / RUNS / f"{name}.json"
    if not path.is_file():
        return None
    try:
        return describe(json.loads(path.read_text(encoding="utf-8"))["hardware"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a record of a stage run: {error}") from error


def metrics_by_step(path: Path) -> list[tuple[int, dict[str, float]]]:
    """A history.csv as metrics by step, steps ascending; raises like `read_history`."""
    steps: dict[int, dict[str, float]] = {}
    for name, points in read_history(path).items():
        for step, value in points.items():
            steps.setdefault(step, {})[name] = value
    return sorted(steps.items())


def read_scores(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """Pasted means of reports/ablation.csv by (variant, seed): `psnr/10-20`, and its interval `_low`, `_high`.

    Raises: FileNotFoundError without the file; ValueError naming file and line for content of another form.
    """
    found: dict[tuple[str, str], dict[str, float]] = {}
    for place, row in read_rows(path, HEADER):
        if row["pasted"] == "1":
            name, values = f"{row['metric']}/{row['bucket']}", found.setdefault((row["variant"], row["seed"]), {})
            for end, column in (("", "mean"), ("_low", "ci_low"), ("_high", "ci_high")):
                try:
                    values[f"{name}{end}"] = float(row[column])
                except (TypeError, ValueError) as error:
                    raise ValueError(f"{place}: expected a number in {column}: {error}") from error
    return found


def read_picture(path: Path) -> np.ndarray:
    """A PNG as uint8 (h, w, 3) RGB."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
