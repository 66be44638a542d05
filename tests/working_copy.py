"""A copy of the working tree as a repository of its own, in which pipelines run without touching the original."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib.util import source_from_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Unfinished files and folders: `.<name>.partial` and `.<name>.<process>.partial`.
PARTIAL = re.compile(r"^\.(.+?)(?:\.\d+)?\.partial$")
RECORDER = Path(__file__).parent / "recorder"
IDENTITY = ("-c", "user.name=ecdm", "-c", "user.email=ecdm@localhost")


def copy_tree(target: Path) -> Path:
    """Copy every file that git tracks or would track, and commit them in a new repository at `target`."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        source = ROOT / name
        if source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "copy"]):
        subprocess.run(["git", *IDENTITY, *command], cwd=target, check=True)
    return target


def environment(copy: Path, opened: Path | None = None, python: Path | None = None) -> dict[str, str]:
    """The environment in which commands see the copy's package and store, and nothing of the original's.

    `opened`: a folder in which stages list the files that they open. `python`: the folder of a WarmPython.
    """
    known = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DVC_"))}
    recording = {"ECDM_OPENED": str(opened)} if opened else {}
    package = [str(copy / "src"), *([str(RECORDER)] if opened else [])]
    programs = [*([str(python)] if python else []), str(Path(sys.executable).parent), os.environ["PATH"]]
    return known | {
        **recording,
        "PATH": os.pathsep.join(programs),
        "PYTHONPATH": os.pathsep.join(package),
        "HF_HUB_OFFLINE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def run(
    copy: Path, *command: str, quiet: bool = False, opened: Path | None = None, python: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command in the copy, as `environment` says; its output is shown, or captured when `quiet`."""
    surroundings = environment(copy, opened, python)
    return subprocess.run(list(command), cwd=copy, env=surroundings, text=True, capture_output=quiet)


def opened_files(copy: Path, folder: Path) -> dict[str, set[tuple[str, str]]]:
    """What stages listed in `folder`: command → (r or w, path in the copy), compiled files as their sources.

    A file or folder that is written beside its place and then renamed counts as the one it becomes.
    """
    found: dict[str, set[tuple[str, str]]] = {}
    for line in {line for path in folder.iterdir() for line in path.read_text(encoding="utf-8").splitlines()}:
        command, kind, name = line.split("\t")
        path = Path(name)
        files = found.setdefault(command, set())
        if not path.is_relative_to(copy) or (path.parent.name == "__pycache__" and kind == "w"):
            continue
        source = Path(source_from_cache(name)) if path.suffix == ".pyc" else path
        parts = [PARTIAL.sub(r"\1", part) for part in source.relative_to(copy).parts]
        files.add((kind, "/".join(parts)))
    return found
