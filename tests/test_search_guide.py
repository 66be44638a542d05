"""docs/search.md: the commands for DVC's experiments, run as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from tiny_project import PARAMS, git, make_project

from ecdm.cli import _parser

GUIDE = (Path(__file__).parents[1] / "docs" / "search.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.+?)(?: +#.*)?$", GUIDE, re.MULTILINE)


def surroundings(root: Path) -> Mapping[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    who = {
        f"GIT_{role}_{kind}": "somebody@example.com" for role in ("AUTHOR", "COMMITTER") for kind in ("NAME", "EMAIL")
    }
    return {**os.environ, **who, "PATH": path, "DVC_NO_ANALYTICS": "1", "DVC_SITE_CACHE_DIR": str(root / ".dvc/site")}


def shell(root: Path, command: str) -> str:
    done = subprocess.run(["bash", "-ec", command], cwd=root, env=surroundings(root), capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A pipeline of the same stages that takes seconds."""
    root = tmp_path / "project"
    root.mkdir()
    make_project(root, PARAMS.replace("sail: {", "acda: {radius: 4}\nsail: {"))
    git(root, "add", "-A")
    git(root, "commit", "-qm", "start")
    return root


def test_experiments_over_lambda_and_radius(project: Path) -> None:
    experiments = [command for command in COMMANDS if command.startswith(("dvc exp", "dvc queue"))]
    assert len(experiments) == 5
    one, queue, start, status, show = experiments
    shell(project, one)
    assert "lambda: 0.3" in (project / "params.yaml").read_text()
    shell(project, "git checkout -q . && dvc checkout -q")
    assert shell(project, queue).count("Queueing") == 4
    shell(project, start)
    deadline = time.monotonic() + 300
    while re.search(r"\b(Queued|Running)\b", shell(project, status)):
        assert time.monotonic() < deadline, shell(project, "dvc queue logs $(dvc queue status | awk 'NR==2{print $1}')")
        time.sleep(1)
    assert shell(project, status).count("Success") == 4
    table = shell(project, show.replace("dvc exp show", "dvc exp show --csv"))
    assert "sail.lambda" in table.splitlines()[0]
    assert "acda.radius" in table.splitlines()[0]
    found = json.loads(shell(project, "dvc exp show --json"))
    values = []
    for state in found:
        for experiment in state.get("experiments") or []:
            params = experiment["revs"][0]["data"]["params"]["params.yaml"]["data"]
            values.append((params["sail"]["lambda"], params["acda"]["radius"]))
    assert sorted(values) == [(0.03, 2), (0.03, 8), (0.3, 2), (0.3, 4), (0.3, 8)]


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("ecdm ")])
def test_every_command_of_ours_is_one(command: str) -> None:
    assert _parser().parse_args(command.split()[1:]).command


def test_make_has_the_target() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    for command in COMMANDS:
        if command.startswith("make "):
            assert re.search(rf"^{command.split()[1]}:", makefile, re.MULTILINE)
