"""The trained runs of a reproduction, and what dvc.lock says that they were made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecdm.config import load_params
from ecdm.lineage import Entry, entry_params
from ecdm.models.variants import VARIANTS
from ecdm.root import PARAMS

TRAIN, GENERATE, EVALUATE = "train", "generate", "evaluate"
TEST_DATA = ("data/", "build/masks")


@dataclass(frozen=True)
class Trained:
    """A run of the project at `root`; `entries`: its stages in dvc.lock by kind, `dataset`: what it was trained on."""

    root: Path
    variant: str
    seed: int
    dataset: str
    entries: Mapping[str, Entry]

    @property
    def name(self) -> str:
        """As the pipeline calls it."""
        return f"{self.variant}-{self.seed}"

    @property
    def stage(self) -> str:
        """Its training in dvc.yaml."""
        return f"{TRAIN}@{self.name}"

    @property
    def folder(self) -> Path:
        """Where its weights are."""
        return self.root / "build" / "train" / self.name

    @property
    def scores(self) -> Path:
        """Its score file."""
        return self.root / "build" / "scores" / f"{self.name}.csv"

    @property
    def source(self) -> str:
        """SHA-256 of all that an export is made of: run, weights and foundation as in dvc.lock, sampling settings."""
        entry = self.entries[GENERATE]
        files = _hashes(entry, "deps", ("build/train/", "build/foundation"))
        sampling = {name: value for name, value in _section(entry, "generate").items() if name != "batch"}
        return _digest([self.variant, self.seed, files, sampling])

    @property
    def scored(self) -> str:
        """MD5 of its score file, as in dvc.lock."""
        (digest,) = _hashes(self.entries[EVALUATE], "outs", ("",)).values()
        return digest

    @property
    def tested_on(self) -> str:
        """SHA-256 of the test data that its scores are of."""
        return _digest(_hashes(self.entries[EVALUATE], "deps", TEST_DATA))


def trained(root: Path, entries: Mapping[str, Entry], variants: Sequence[str]) -> tuple[list[Trained], list[str]]:
    """The runs of these variants (none: of all), in the order of the ablation, and a line for each left out.

    `entries`: the stages of dvc.lock whose files and settings are those of the working tree.
    Raises: ValueError for a variant that params.yaml does not list.
    """
    params = load_params(root / PARAMS)
    for name in variants:
        if name not in params.variants:
            raise ValueError(
                f"variant: found {name}, expected one that params.yaml lists: {', '.join(params.variants)}"
            )
    found, skipped = [], []
    for variant in (name for name in VARIANTS if name in (variants or params.variants)):
        for seed in sorted(params.seeds):
            stages = {kind: f"{kind}@{variant}-{seed}" for kind in (TRAIN, GENERATE, EVALUATE)}
            missing = next((stage for stage in stages.values() if stage not in entries), None)
            if missing:
                skipped.append(f"{variant}-{seed}: the stage {missing} is not as in dvc.lock; run `dvc repro`")
            else:
                of_run = {kind: entries[stage] for kind, stage in stages.items()}
                found.append(Trained(root, variant, seed, params.data.source, of_run))
    return found, skipped


def _hashes(entry: Entry, kind: str, places: tuple[str, ...]) -> dict[str, str]:
    """Path → hash of a stage's dependencies or outputs whose paths start so."""
    items = [item for item in entry[kind] if item["path"].startswith(places)]
    return {item["path"]: item[item.get("hash", "md5")] for item in items}


def _section(entry: Entry, name: str) -> Mapping[str, object]:
    section = entry_params(entry)[name]
    if not isinstance(section, Mapping):
        raise ValueError(f"dvc.lock: {name}: found {section!r}, expected a section of params.yaml")
    return section


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
