"""What a stage's run is made of: its command, dependencies and parameters, as dvc.lock writes them."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from ecdm.config import read_yaml
from ecdm.runs import git

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


def entry_params(entry: Entry) -> dict[str, object]:
    """The parameters of a stage's entry, of all its files."""
    return {key: value for file in entry.get("params", {}).values() for key, value in file.items()}


def settings(name: str, entry: Entry, root: Path) -> dict[str, object]:
    """The params of a stage's run: those of its entry in dvc.lock, and what its variant really uses."""
    found = entry_params(entry)
    if cell := matrix_cell(name):
        # `seed` in params.yaml is another one: of data, masks and noise.
        found |= {"variant": cell.variant, "train_seed": cell.seed}
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
    lock = root / "dvc.lock"
    found = {
        **commit_tags(git(root, "rev-parse", "HEAD")),
        "git_dirty": str(bool(git(root, "status", "--porcelain"))).lower(),
        "dvc_lock": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.is_file() else None,
        "DVC_EXP_NAME": os.environ.get("DVC_EXP_NAME"),
    }
    return {key: value for key, value in found.items() if value}


def commit_tags(commit: str | None) -> dict[str, str]:
    """Tags of a commit, the second of which is the column Version of the UI; none without one."""
    return {"git_commit": commit, "mlflow.source.git.commit": commit} if commit else {}


def flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested settings under dotted names, as text; lists as JSON, None as `null`."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value if isinstance(value, str) else json.dumps(value, default=str)
    return flat
