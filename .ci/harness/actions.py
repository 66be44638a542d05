"""Stand-ins for the actions that the workflows use: copies between folders. An unknown action or input is refused."""

from __future__ import annotations

import fnmatch
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .world import World, git


class ActionError(ValueError):
    """An action that fails, or one that the stand-ins do not know."""


@dataclass
class Place:
    """Where an action works: the job's workspace, the run that it belongs to, and the commit that started it."""

    world: World
    workspace: Path
    run: int
    sha: str
    branch: str
    # Caches to keep when the job has succeeded: key → folder in the workspace.
    to_save: dict[str, Path] = field(default_factory=dict)


def _artifacts(place: Place, run: int) -> Path:
    return place.world.folder / "artifacts" / str(run)


def _checkout(place: Place, given: Mapping[str, Any]) -> dict[str, str]:
    target = place.workspace / str(given.get("path", "."))
    target.mkdir(parents=True, exist_ok=True)
    git(target, "init", "--quiet", "--initial-branch", "none")
    git(target, "remote", "add", "origin", str(place.world.origin))
    commit = str(given.get("ref") or place.sha)
    git(target, "fetch", "--quiet", "--depth", "1", "origin", commit)
    where = ["--detach"] if "ref" in given or not place.branch else ["-B", place.branch]
    git(target, "checkout", "--quiet", "--force", *where, "FETCH_HEAD")
    return {}


def _setup_python(place: Place, given: Mapping[str, Any]) -> dict[str, str]:
    if "cache-dependency-path" in given and not (place.workspace / given["cache-dependency-path"]).is_file():
        raise ActionError(f"cache-dependency-path: found no file {given['cache-dependency-path']}")
    return {}


def _cache(place: Place, given: Mapping[str, Any]) -> dict[str, str]:
    key, prefixes = str(given["key"]), str(given.get("restore-keys", "")).split()
    target, caches = place.workspace / given["path"], place.world.folder / "caches"
    caches.mkdir(exist_ok=True)
    newest = sorted(caches.iterdir(), key=lambda one: one.stat().st_mtime, reverse=True)
    found = [one for one in newest if one.name == key] or [
        one for prefix in prefixes for one in newest if one.name.startswith(prefix)
    ]
    if found:
        shutil.copytree(found[0], target, dirs_exist_ok=True)
    if not found or found[0].name != key:
        place.to_save[key] = target
    return {"cache-hit": str(bool(found) and found[0].name == key).lower()}


def save_caches(place: Place) -> None:
    """What the cache action does after the last step of a job that succeeded."""
    for key, path in place.to_save.items():
        if path.is_dir():
            shutil.copytree(path, place.world.folder / "caches" / key)


def _upload(place: Place, given: Mapping[str, Any]) -> dict[str, str]:
    source = place.workspace / str(given["path"]).strip()
    if not source.exists():
        if given.get("if-no-files-found") == "error":
            raise ActionError(f"path: found nothing at {given['path']}")
        return {}
    single = given.get("archive", True) is False
    if single and not source.is_file():
        raise ActionError(f"archive: false takes one file, found the folder {given['path']}")
    name = source.name if single else str(given["name"])
    target = _artifacts(place, place.run) / name
    if target.exists() and given.get("overwrite") is not True:
        raise ActionError(f"name: found {name}, which this run has already")
    shutil.rmtree(target, ignore_errors=True)
    if source.is_file():
        target.mkdir(parents=True)
        shutil.copy2(source, target / source.name)
    else:
        # Hidden files stay behind, as they do there.
        shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"))
    return {"artifact-url": f"https://github.example/artifacts/{place.run}/{name}"}


def _download(place: Place, given: Mapping[str, Any]) -> dict[str, str]:
    if "run-id" in given and "github-token" not in given:
        raise ActionError("run-id: another run's artifacts need github-token")
    folder = _artifacts(place, int(given.get("run-id", place.run)))
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    target = place.workspace / str(given.get("path", "."))
    if "pattern" in given:
        found = [name for name in names if fnmatch.fnmatchcase(name, given["pattern"])]
        if given.get("merge-multiple") is not True:
            raise ActionError("pattern: the stand-in knows it with merge-multiple alone")
    elif given["name"] not in names:
        raise ActionError(f"name: found no artifact {given['name']}, only {names}")
    else:
        found = [given["name"]]
    for name in found:
        shutil.copytree(folder / name, target, dirs_exist_ok=True)
    return {}


KNOWN: dict[str, tuple[Callable[[Place, Mapping[str, Any]], dict[str, str]], set[str]]] = {
    "actions/checkout": (_checkout, {"ref", "path", "clean", "persist-credentials"}),
    "actions/setup-python": (_setup_python, {"python-version", "cache", "cache-dependency-path"}),
    "actions/cache": (_cache, {"path", "key", "restore-keys"}),
    "actions/upload-artifact": (
        _upload,
        {"name", "path", "if-no-files-found", "retention-days", "archive", "overwrite"},
    ),
    "actions/download-artifact": (_download, {"name", "path", "pattern", "merge-multiple", "run-id", "github-token"}),
}


def act(place: Place, uses: str, given: Mapping[str, Any]) -> dict[str, str]:
    """Outputs of the stand-in for an action. Raises ActionError for an unknown action or input, or where it fails."""
    name = uses.split("@")[0]
    if name not in KNOWN:
        raise ActionError(f"uses: found {name}, expected one of {', '.join(KNOWN)}")
    action, inputs = KNOWN[name]
    unknown = set(given) - inputs
    if unknown:
        raise ActionError(f"{name}: found {', '.join(sorted(unknown))}, expected {', '.join(sorted(inputs))}")
    return action(place, given)
