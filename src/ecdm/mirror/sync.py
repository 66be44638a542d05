"""Filling MLflow from the files of a reproduction; what is there already stays as it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from ecdm.address import project_of
from ecdm.mirror.state import Reproduction, reproduction
from ecdm.mirror.tree import Tree
from ecdm.tracking import Store

# How long a sync waits for another one on this machine.
SECONDS = 600.0


@dataclass(frozen=True)
class Synced:
    """What one run got: how much was written, by kind (runs, params, metrics, images, artifacts, inputs, tags)."""

    name: str
    run_id: str
    written: Mapping[str, int]


@dataclass(frozen=True)
class Outcome:
    """The runs of a sync, the parent first, and one line for everything that could not be mirrored."""

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

    A run per stage whose files are those of the lock. Where every stage is reproduced also a run per variant and,
    above all, one for the reproduction, and views of the UI that compare the variants.
    Raises: FileNotFoundError without dvc.lock; ValueError naming a malformed file, a store that fails, or another
    sync that goes on; what was written until then stays and is not repeated.
    """
    path = project_of(root) / "mlflow.db.sync.lock"
    try:
        # Two syncs at once would each find the same things missing.
        alone = FileLock(path).acquire(timeout=SECONDS)
    except Timeout as error:
        raise ValueError(f"another sync is running: {path} not free within {SECONDS:g} s") from error
    with alone:
        state = reproduction(root)
        tree = Tree(root, state, Store.connect(root))
        tree.fill()
    runs = [Synced(name, tracker.run_id, tracker.written) for name, tracker in tree.runs.items()]
    return Outcome(runs, _skipped(state))


def _skipped(state: Reproduction) -> list[str]:
    lines = [
        f"{name}: {', '.join(paths)} {'is' if len(paths) == 1 else 'are'} not as in dvc.lock"
        for name, paths in state.stale.items()
    ]
    return lines + [f"{name}: not reproduced with the present dvc.yaml and params.yaml" for name in state.changed]
