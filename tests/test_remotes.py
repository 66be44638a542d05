"""docs/dvc-remotes.md: its commands take real stages' outputs to a remote and from there into a clone."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from servers import s3_server
from working_copy import copy_tree, environment

PAGE = (Path(__file__).parents[1] / "docs" / "dvc-remotes.md").read_text(encoding="utf-8")
STAGES = ("prepare", "masks", "canny")
OUTPUTS = ("data", "build")
# What the commands below a heading say that belongs in no commit.
KEPT = {
    "S3": ("https://s3.example:9000", "change-me-1", "change-me-2"),
    "Google Cloud Storage": ("/home/anna/ecdm-key.json",),
    "SSH": ("anna",),
    "One cache for several clones": ("/srv/ecdm/cache",),
}
# DVC's commands out of its arguments, in one process, for they do next to nothing but start.
IN_ONE_PROCESS = """\
import shlex, sys
from dvc.cli import main
sys.exit(any([main(shlex.split(line)[1:]) for line in sys.argv[1:]]))
"""


def commands(heading: str) -> list[str]:
    """The shell commands below a heading of the page."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\$ (.+?)(?: +#.*)?$", part, re.MULTILINE)


def shell(root: Path, lines: list[str]) -> str:
    """What the lines print as one script in `root`, with nobody's keys and settings but those they name."""
    who = {f"GIT_{one}_{kind}": "a@example.com" for one in ("AUTHOR", "COMMITTER") for kind in ("NAME", "EMAIL")}
    alone = {"AWS_EC2_METADATA_DISABLED": "true", "HOME": str(root.parent)}
    known = {key: value for key, value in environment(root).items() if not key.startswith("AWS_")}
    done = subprocess.run(
        ["bash", "-ec", "\n".join(lines)], cwd=root, env={**known, **who, **alone}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{lines}: {done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def executed(output: str) -> set[str]:
    return set(re.findall(r"^Running stage '([^']+)'", output, re.MULTILINE))


def set_threshold(root: Path, low: int) -> None:
    path = root / "params.yaml"
    yaml = YAML()
    params = yaml.load(path.read_text(encoding="utf-8"))
    params["canny"]["low"] = low
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(params, file)


def contents(root: Path) -> dict[str, bytes]:
    """Path → bytes of all that the stages made."""
    files = [path for name in OUTPUTS for path in sorted((root / name).rglob("*")) if path.is_file()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files if path.name != ".gitignore"}


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """The project's first stages on very little data, run under two thresholds, a commit each; what the first gave."""
    root = copy_tree(tmp_path_factory.mktemp("reproduced") / "project")
    yaml, path = YAML(), root / "dvc.yaml"
    stages = yaml.load(path.read_text(encoding="utf-8"))["stages"]
    with path.open("w", encoding="utf-8") as file:
        yaml.dump({"stages": {name: stages[name] for name in STAGES}}, file)
    # The search's stages stay in the project and are not run, as in most clones.
    for lock in ("dvc.lock", "tune/dvc.lock"):
        (root / lock).unlink(missing_ok=True)
    assert executed(shell(root, ["ecdm profile micro", "dvc repro"])) == set(STAGES)
    first = contents(root)
    shell(root, ["git add dvc.lock", "git commit --quiet --all --message first"])
    set_threshold(root, 50)
    assert executed(shell(root, ["dvc repro"])) == {"canny"}
    assert contents(root) != first
    shell(root, ["git commit --quiet --all --message second"])
    return root, first


@pytest.fixture(params=["A shared folder", "S3"])
def section(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], list[str]]]:
    """Gives the commands below a heading, `remote` for those of the kind of remote, with places of this machine."""
    kind = request.param
    if kind == "S3":
        with s3_server(tmp_path / "s3.log", "bucket") as address:
            yield lambda heading: replaced(kind if heading == "remote" else heading, "https://s3.example:9000", address)
    else:
        shared = str(tmp_path / "shared")
        yield lambda heading: replaced(kind if heading == "remote" else heading, "/srv/ecdm/dvc", shared)


def replaced(heading: str, name: str, used: str) -> list[str]:
    """The commands below a heading with `used` for `name`; those of ours are left out."""
    return [line.replace(name, used) for line in commands(heading) if not line.startswith("ecdm ")]


def test_a_clone_has_what_was_pushed_and_runs_nothing_again(
    reproduced: tuple[Path, dict[str, bytes]], section: Callable[[str], list[str]], tmp_path: Path
) -> None:
    made, first = reproduced
    project, clone, origin = (tmp_path / name for name in ("project", "clone", "origin.git"))
    subprocess.run(["cp", "-a", str(made), str(project)], check=True)
    shell(tmp_path, ["git clone -q --bare project origin.git", f"git -C project remote add origin {origin}"])
    # Each state was pushed while it was the current one.
    back_and_forth = ["git checkout -q HEAD~1", "dvc push", "git checkout -q -"]
    shell(project, [*section("remote"), *back_and_forth, *section("Push")])
    shell(tmp_path, ["git clone -q origin.git clone"])
    set_up = [line for line in section("remote") if not line.startswith("dvc remote add")]
    assert not executed(shell(clone, [*set_up, *section("Pull")]))
    assert contents(clone) == contents(project)
    set_threshold(clone, 100)
    assert not executed(shell(clone, [*(line for line in set_up if line.startswith("export ")), "dvc repro --pull"]))
    assert contents(clone) == first


def test_what_is_secret_or_of_one_machine_is_not_committed(tmp_path: Path) -> None:
    root = tmp_path / "project"
    root.mkdir()
    shell(root, ["git init -q", "dvc init -q", "git add -A", "git commit -q -m start"])
    for heading, kept in KEPT.items():
        lines = commands(heading)
        calls = [line for line in lines if line.startswith("dvc ")]
        shell(root, [shlex.join([sys.executable, "-c", IN_ONE_PROCESS, *calls]), "git add -A"])
        committed = shell(root, ["git diff --cached HEAD"])
        assert ("storage" in committed) == any("dvc remote add" in line for line in lines)
        for text in kept:
            assert text in " ".join(lines)
            assert text not in committed
        shell(root, ["git reset -q --hard", "rm .dvc/config.local"])
