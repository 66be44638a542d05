"""What GitHub keeps between jobs: the repository, caches, artifacts, comments and pull requests, in one folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from working_copy import IDENTITY, ROOT, copy_tree

REPOSITORY = "owner/ecdm"
PULL = 7


def git(folder: Path, *arguments: str) -> str:
    """What a git command prints; raises CalledProcessError."""
    command = ["git", *IDENTITY, *arguments]
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


@dataclass
class World:
    """One repository on GitHub, with the secrets and variables that its workflows may name."""

    folder: Path
    secrets: dict[str, str]
    variables: dict[str, str]
    summaries: dict[str, str] = field(default_factory=dict)
    runs: int = 0

    @property
    def origin(self) -> Path:
        return self.folder / "origin.git"

    @property
    def _gh(self) -> Path:
        return self.folder / "gh.json"

    @property
    def state(self) -> dict[str, Any]:
        """Comments, pull requests opened, and the heads of those that were there before."""
        content: dict[str, Any] = json.loads(self._gh.read_text(encoding="utf-8")) if self._gh.exists() else {}
        return content

    def set_head(self, sha: str) -> None:
        """The commit that the pull request of the tests is at."""
        state = {"comments": [], "opened": [], **self.state, "pulls": {str(PULL): sha}}
        self._gh.write_text(json.dumps(state), encoding="utf-8")

    def environment(self, workspace: Path) -> dict[str, str]:
        """Variables of every step: this environment's programs, the workspace's package, and no setting of the user."""
        binaries = f"{self.folder / 'bin'}{os.pathsep}{Path(sys.executable).parent}"
        kept = {name: os.environ[name] for name in ("LANG", "OMP_NUM_THREADS") if name in os.environ}
        return kept | {
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
            "HOME": str(self.folder / "home"),
            "PYTHONPATH": str(workspace / "src"),
            # Found by content, so that a copy in another folder has it as well.
            "MYPY_CACHE_DIR": str(ROOT / ".mypy_cache"),
            "HARNESS_GH": str(self._gh),
            "CI": "true",
        }


def make_world(folder: Path, secrets: dict[str, str], variables: dict[str, str]) -> tuple[World, Path]:
    """A world whose main branch is the working tree, and the clone that stands for a developer's."""
    for name in ("home", "bin", "remote"):
        (folder / name).mkdir(parents=True)
    clone = copy_tree(folder / "developer")
    git(clone, "branch", "--move", "--force", "main")
    world = World(folder, secrets, variables)
    git(folder, "init", "--quiet", "--bare", "--initial-branch", "main", str(world.origin))
    git(world.origin, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(clone, "remote", "add", "origin", str(world.origin))
    (folder / "bin" / "gh").symlink_to(Path(__file__).with_name("gh.py"))
    world.set_head("")
    return world, clone
