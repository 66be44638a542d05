"""Every workflow against GitHub's published schema and against what keeps it safe."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / ".github" / "workflows").glob("*.y*ml"))
PAGE = ROOT / "docs" / "gpu-runners.md"
# Actions whose commit could not be looked up in their own repository, as `owner/name@tag`; each needs a reason.
UNPINNED: dict[str, str] = {}
PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+")
NO_FORKS = "!github.event.repository.fork"


def read(text: str) -> dict[Any, Any]:
    """A workflow; PyYAML reads its key `on` as True."""
    content: dict[Any, Any] = yaml.safe_load(text)
    return content


def jobs(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from read(text)["jobs"].items()


def schema_errors(path: Path) -> str:
    """What the schema that ships with check-jsonschema says; empty for a valid workflow."""
    command = ["-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", "--no-cache", str(path)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    return done.stdout + done.stderr if done.returncode else ""


def loose_actions(text: str) -> list[str]:
    """Lines that use an action by anything but a full commit with its tag in a comment."""
    lines = [line.strip().removeprefix("- ") for line in text.splitlines() if re.search(r"\buses:", line)]
    return [line for line in lines if not PINNED.fullmatch(line) and line.removeprefix("uses: ") not in UNPINNED]


def unbounded_jobs(text: str) -> list[str]:
    """Jobs without a time limit or without permissions of their own."""
    return [name for name, job in jobs(text) if not {"timeout-minutes", "permissions"} <= set(job)]


def open_runners(text: str) -> list[str]:
    """Jobs on runners of one's own that a fork's workflow could reach, by condition or by event."""
    events = set(read(text)[True])
    return [
        name
        for name, job in jobs(text)
        if "self-hosted" in job["runs-on"]
        and (events != {"workflow_dispatch"} or NO_FORKS not in re.split(r"\|\||&&|\$\{\{|\}\}|\s", job.get("if", "")))
    ]


def expressions_in_commands(text: str) -> list[str]:
    """Commands with an expression in them: its value would be read as code."""
    return [step["run"] for _, job in jobs(text) for step in job["steps"] if "${{" in step.get("run", "")]


def secrets_with_foreign_code(text: str) -> list[str]:
    """Secrets in a workflow that runs the code of a pull request, and the token beyond reading."""
    content = read(text)
    if "pull_request" not in content[True]:
        return []
    wide = [name for name, job in jobs(text) if set(job["permissions"].values()) - {"read"}]
    return wide + re.findall(r"secrets\.\w+", text)


def writers_on_own_runners(text: str) -> list[str]:
    """Jobs on runners of one's own with a token that may write, or with any token within reach of their steps."""
    return [
        name
        for name, job in jobs(text)
        if "self-hosted" in job["runs-on"]
        and (set(job["permissions"].values()) - {"read"} or re.search(r"github\.token|GITHUB_TOKEN", str(job)))
    ]


def kept_tokens(text: str) -> list[str]:
    """Jobs whose checkout leaves its token in .git, for every later step to read."""
    return [
        name
        for name, job in jobs(text)
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/checkout@")
        and step.get("with", {}).get("persist-credentials") is not False
    ]


CHECKS = (
    loose_actions,
    unbounded_jobs,
    open_runners,
    expressions_in_commands,
    secrets_with_foreign_code,
    writers_on_own_runners,
    kept_tokens,
)


def test_the_promised_workflows_are_there() -> None:
    assert [path.name for path in FILES] == ["ci.yml", "comment.yml", "train-gpu.yml", "tune-gpu.yml"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_schema_holds(path: Path) -> None:
    assert schema_errors(path) == ""


def test_the_schema_is_checked(tmp_path: Path) -> None:
    broken = FILES[0].read_text(encoding="utf-8").replace("runs-on:", "runs_on:", 1)
    (tmp_path / "broken.yml").write_text(broken, encoding="utf-8")
    assert "runs_on" in schema_errors(tmp_path / "broken.yml")


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_workflows_are_safe(path: Path, check: Callable[[str], list[str]]) -> None:
    assert check(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_nothing_is_permitted_by_default_and_runs_are_grouped(path: Path) -> None:
    content = read(path.read_text(encoding="utf-8"))
    assert content["permissions"] == {}
    # Only a pull request's run is worth nothing once there is a newer one.
    assert content["concurrency"]["group"]
    assert content["concurrency"]["cancel-in-progress"] in (False, "${{ github.event_name == 'pull_request' }}")
    # It runs a fork's code with the token of the base.
    assert "pull_request_target" not in content[True]


BAD = """
on: {events}
jobs:
  one:
    runs-on: {runner}
    if: {condition}
    {limit}
    permissions: {{contents: {contents}}}
    steps:
      - uses: actions/checkout@{version}
        with: {{persist-credentials: {kept}}}
      - run: echo {command}
        env: {{KEY: "{value}"}}
"""
GOOD = {
    "events": "{workflow_dispatch: }",
    "runner": "[self-hosted, gpu]",
    "condition": f"${{{{ !cancelled() && {NO_FORKS} }}}}",
    "contents": "read",
    "limit": "timeout-minutes: 5",
    "kept": "false",
    "version": f"{'0' * 40}  # v1.0.0",
    "command": "$KEY",
    "value": "${{ inputs.name }}",
}


@pytest.mark.parametrize(
    ("check", "change", "found"),
    [
        (loose_actions, {}, []),
        (loose_actions, {"version": "v4"}, ["uses: actions/checkout@v4"]),
        (loose_actions, {"version": "0" * 40}, [f"uses: actions/checkout@{'0' * 40}"]),
        (unbounded_jobs, {}, []),
        (unbounded_jobs, {"limit": "name: unlimited"}, ["one"]),
        (open_runners, {}, []),
        (open_runners, {"condition": "github.event.repository.fork"}, ["one"]),
        (open_runners, {"condition": "always()"}, ["one"]),
        (open_runners, {"events": "[workflow_dispatch, pull_request]"}, ["one"]),
        (expressions_in_commands, {}, []),
        (expressions_in_commands, {"command": "${{ github.event.pull_request.title }}"}, None),
        (secrets_with_foreign_code, {"events": "[pull_request]"}, []),
        (secrets_with_foreign_code, {"events": "[pull_request]", "value": "${{ secrets.A }}"}, ["secrets.A"]),
        (secrets_with_foreign_code, {"events": "[pull_request]", "contents": "write"}, ["one"]),
        (writers_on_own_runners, {}, []),
        (writers_on_own_runners, {"contents": "write"}, ["one"]),
        (writers_on_own_runners, {"value": "${{ github.token }}"}, ["one"]),
        (writers_on_own_runners, {"contents": "write", "runner": "ubuntu-latest"}, []),
        (kept_tokens, {}, []),
        (kept_tokens, {"kept": "true"}, ["one"]),
    ],
)
def test_the_checks_find_what_they_look_for(
    check: Callable[[str], list[str]], change: dict[str, str], found: list[str] | None
) -> None:
    assert check(BAD.format(**{**GOOD, **change})) == (
        found if found is not None else ["echo ${{ github.event.pull_request.title }}"]
    )


def test_the_trusted_job_takes_no_code_from_the_run_before_it() -> None:
    """comment.yml checks out the default branch, and its only command reads, outside of it, the artifact as data."""
    ((_, job),) = jobs((ROOT / ".github" / "workflows" / "comment.yml").read_text(encoding="utf-8"))
    given = {step["uses"].split("@")[0]: step["with"] for step in job["steps"] if "uses" in step}
    assert given["actions/checkout"] == {"persist-credentials": False}
    assert given["actions/download-artifact"]["path"] == "${{ runner.temp }}/comment"
    assert [step["run"] for step in job["steps"] if "run" in step] == [
        'python3 .github/scripts/comment.py "$RUNNER_TEMP/comment"'
    ]


def test_a_dispatched_run_is_never_dropped_for_a_later_one() -> None:
    waiting = {path.stem: read(path.read_text(encoding="utf-8")) for path in FILES}
    queued = [name for name, content in waiting.items() if content["concurrency"].get("queue") == "max"]
    assert queued == [name for name, content in waiting.items() if "workflow_dispatch" in content[True]]


def test_artifacts_are_replaced_when_a_job_runs_again() -> None:
    """Without it the second attempt fails on the name that the first one has taken."""
    steps = [step for path in FILES for _, job in jobs(path.read_text(encoding="utf-8")) for step in job["steps"]]
    uploads = [step["with"] for step in steps if step.get("uses", "").startswith("actions/upload-artifact@")]
    assert uploads
    assert [given for given in uploads if given.get("overwrite") is not True] == []


def test_the_page_lists_each_secret_and_variable_with_its_workflows() -> None:
    found: dict[tuple[str, str], list[str]] = {}
    for path in FILES:
        names = set(re.findall(r"\b(secrets|vars)\.(\w+)", path.read_text(encoding="utf-8")))
        for kind, name in names:
            found.setdefault((name, {"secrets": "secret", "vars": "variable"}[kind]), []).append(path.stem)
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, -]+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert {(name, kind): workflows.split(", ") for name, kind, workflows in rows} == found


def test_the_page_starts_workflows_by_their_inputs() -> None:
    text = PAGE.read_text(encoding="utf-8").replace("\\\n", " ")
    commands = re.findall(r"^gh workflow run (\S+) (.*)$", text, re.MULTILINE)
    assert [name for name, _ in commands] == ["train-gpu.yml", "tune-gpu.yml"]
    for name, options in commands:
        content = read((ROOT / ".github" / "workflows" / name).read_text(encoding="utf-8"))
        given = [one.partition("=")[0] for flag, one in pairwise(shlex.split(options)) if flag == "-f"]
        assert given == list(content[True]["workflow_dispatch"]["inputs"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_commands_parse(path: Path, harness: Callable[[str], ModuleType]) -> None:
    harness("jobs").check_syntax(path.stem)
