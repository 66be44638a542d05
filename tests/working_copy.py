"""A copy of the working tree as a repository of its own, in which pipelines run without touching the original."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
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


def environment(copy: Path) -> dict[str, str]:
    """The environment in which commands see the copy's package and store, and nothing of the original's."""
    known = {k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "DVC_"))}
    return known | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(copy / "src"),
        "HF_HUB_OFFLINE": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }


def run(copy: Path, *command: str, quiet: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a command in the copy; its output is shown, or captured when `quiet`."""
    return subprocess.run(list(command), cwd=copy, env=environment(copy), text=True, capture_output=quiet)
