"""What a stage's run is made of: its command, dependencies and parameters, as dvc.lock writes them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from ecdm.config import read_yaml
from ecdm.runs import git

if TYPE_CHECKING:
    from dvc.stage import PipelineStage

# One stage as dvc.lock has it: cmd, deps (path, md5, ...), params (file → key → value), outs.
Entry = dict[str, Any]

# DVC leaves these out of its own run-cache key too: they follow from the content.
DERIVED = ("size", "nfiles", "isexec")
CELL = re.compile(r"(?P<stage>train|generate|evaluate)@(?P<variant>.+)-(?P<seed>\d+)")


class Cell(NamedTuple):
    """A stage of the ablation's matrix."""

    stage: str
    variant: str
    seed: int


@dataclass(frozen=True)
class Input:
    """Data that a stage read: path, MD5 as in dvc.lock, where it comes from, size as JSON."""

    name: str
    digest: str
    source: Mapping[str, str]
    profile: str


def matrix_cell(name: str) -> Cell | None:
    """What a stage `<stage>@<variant>-<seed>` of the ablation is for; None for every other stage."""
    match = CELL.fullmatch(name)
    return Cell(match["stage"], match["variant"], int(match["seed"])) if match else None


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


def entry_key(entry: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of a stage's command, dependencies and parameters; its outputs do not count."""
    deps = [{k: v for k, v in dep.items() if k not in DERIVED} for dep in entry.get("deps", [])]
    known = {
        "cmd": entry["cmd"],
        "deps": sorted(deps, key=lambda dep: str(dep["path"])),
        "params": entry.get("params", {}),
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()


def live_entry(name: str, root: Path) -> Entry:
    """The entry that dvc.lock will have for a stage, from dvc.yaml and the files as they are now.

    DVC itself resolves and hashes, so ignored files, directories and templates count as they will then; it
    remembers what it hashed, so that inside a stage this takes a fraction of a second. Its key equals the one in
    dvc.lock after the stage, unless the inputs change meanwhile.
    Raises: whatever DVC raises where there is no project, no such stage or a missing dependency.
    """
    from dvc.repo import Repo
    from dvc.stage.serialize import to_single_stage_lockfile

    with Repo(str(root)) as repo:
        stage = repo.stage.load_one(path=str(root / "dvc.yaml"), name=name)
        stage.save_deps()
        return dict(to_single_stage_lockfile(stage))


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


def settings(name: str, entry: Entry, root: Path) -> dict[str, object]:
    """The params of a stage's run: those of its entry in dvc.lock, and what its variant really uses."""
    files = entry.get("params", {}).values()
    found: dict[str, object] = {key: value for file in files for key, value in file.items()}
    if cell := matrix_cell(name):
        found |= {"variant": cell.variant, "seed": cell.seed}
        if cell.stage == "train":
            used = read_yaml(root / "build" / "variants" / f"{cell.variant}.yaml")
            found |= {key: value for key, value in used.items() if key != "name"}
    return found


def identity(name: str, root: Path, hardware: str | None) -> dict[str, str]:
    """The tags that say where a stage's run comes from."""
    return place(name) | origin(root) | ({"hardware": hardware} if hardware else {})


def place(name: str) -> dict[str, str]:
    """Tags of a stage: its name, and its variant and seed in the matrix."""
    cell = matrix_cell(name)
    found = {"stage": name.partition("@")[0], "DVC_STAGE": name}
    return found | ({"variant": cell.variant, "seed": str(cell.seed)} if cell else {})


def origin(root: Path) -> dict[str, str]:
    """Tags of the working tree: commit, whether it has changes, hash of dvc.lock, name of the experiment."""
    lock, commit = root / "dvc.lock", git(root, "rev-parse", "HEAD")
    found = {
        "git_commit": commit,
        "git_dirty": str(bool(git(root, "status", "--porcelain"))).lower(),
        # The column Version of the UI.
        "mlflow.source.git.commit": commit,
        "dvc_lock": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
        "DVC_EXP_NAME": os.environ.get("DVC_EXP_NAME"),
    }
    return {key: value for key, value in found.items() if value}


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested settings under dotted names, as text; lists as JSON, None as `null`."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat
