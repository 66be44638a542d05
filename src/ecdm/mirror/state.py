"""Where the working tree stands against dvc.lock, and which stage made which data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from ecdm.config import read_yaml
from ecdm.lineage import Entry, Input, entry_key

if TYPE_CHECKING:
    from dvc.stage import PipelineStage


def makers(entries: Mapping[str, Entry]) -> dict[str, str]:
    """The stage that made each output, by path."""
    return {out["path"]: name for name, entry in entries.items() for out in entry.get("outs", [])}


def maker_of(path: str, made: Mapping[str, str]) -> list[str]:
    """The stages whose outputs `path` is, holds or lies in."""
    part = PurePosixPath(path)
    return sorted({n for out, n in made.items() if part.is_relative_to(out) or PurePosixPath(out).is_relative_to(part)})


def inputs(entry: Mapping[str, Any], made: Mapping[str, str]) -> list[Input]:
    """The data among a stage's dependencies: all but the package and its scripts."""
    found = []
    for dep in entry.get("deps", []):
        path, stages = str(dep["path"]), maker_of(str(dep["path"]), made)
        if stages or not (path.endswith(".py") or path.startswith("src/")):
            source = {"uri": path, "hash": str(dep.get("hash", "md5"))}
            source |= {"stage": ", ".join(stages)} if stages else {}
            profile = {key: dep[key] for key in ("size", "nfiles") if key in dep}
            found.append(Input(path, str(dep.get(source["hash"], "")), source, json.dumps(profile)))
    return found


def locked(root: Path) -> dict[str, Entry]:
    """The stages of `root`/dvc.lock by name, among them those that dvc.yaml no longer has."""
    path = root / "dvc.lock"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run `dvc repro` first")
    stages = read_yaml(path).get("stages")
    if not isinstance(stages, dict):
        raise ValueError(f"{path}: found no stages, expected what `dvc repro` writes")
    return stages


@dataclass(frozen=True)
class Reproduction:
    """Where the working tree stands against dvc.lock.

    entries: the stages of dvc.yaml that dvc.lock knows. stale: per stage, the files it wrote or got from
    other stages that are not those of dvc.lock. changed: stages that have to run again for another reason
    than an edited source file: new, or with another command or other parameters.
    """

    entries: dict[str, Entry]
    stale: dict[str, list[str]]
    changed: list[str]

    @property
    def complete(self) -> bool:
        """Whether every stage of dvc.yaml was reproduced and its files are those of dvc.lock."""
        return not self.stale and not self.changed

    @property
    def key(self) -> str:
        """SHA-256, in hex, of all stages' names and keys."""
        keys = {name: entry_key(entry) for name, entry in self.entries.items()}
        return hashlib.sha256(json.dumps(keys, sort_keys=True).encode()).hexdigest()


def reproduction(root: Path) -> Reproduction:
    """Compare the stages of `root`/dvc.yaml and their files with dvc.lock; raises like `locked`."""
    entries = locked(root)
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            stages = {stage.name: stage for stage in repo.stage.load_all(path=str(root / "dvc.yaml"))}
            made = [Path(out.fs_path) for stage in stages.values() for out in stage.outs]
            moved = {name: sorted(_moved(stage, made)) for name, stage in stages.items() if name in entries}
            changed = sorted(name for name, stage in stages.items() if _changed(stage, entries.get(name)))
    except DvcException as error:
        raise ValueError(f"{root}: {' '.join(str(error).split())}") from error
    known = {name: entries[name] for name in stages if name in entries}
    return Reproduction(known, {name: paths for name, paths in moved.items() if paths}, changed)


def _moved(stage: PipelineStage, made: list[Path]) -> Iterator[str]:
    from dvc.stage.utils import split_params_deps

    _, file_deps = split_params_deps(stage)
    for item in (*stage.outs, *file_deps):
        path = Path(item.fs_path)
        from_stage = any(path == out or path in out.parents or out in path.parents for out in made)
        if from_stage and item.workspace_status():
            yield str(item.def_path)


def _changed(stage: PipelineStage, entry: Entry | None) -> bool:
    return entry is None or stage.cmd != entry["cmd"] or any(dep.workspace_status() for dep in stage.params)
