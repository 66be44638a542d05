"""Runs a workflow: its jobs in the order of their needs, each in a workspace of its own, every step for real."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import yaml
from working_copy import ROOT

from .actions import ActionError, Place, act, save_caches
from .expressions import EXPRESSION, ExpressionError, holds, interpolate, text_of
from .world import REPOSITORY, World

WORKFLOW = {"name", True, "permissions", "concurrency", "defaults", "env", "jobs"}
JOB = {"name", "needs", "if", "runs-on", "timeout-minutes", "permissions", "strategy", "env", "outputs", "steps"}
STEP = {"name", "id", "if", "uses", "with", "env", "run", "continue-on-error"}
# The suite takes longer than all of this; what can break in a workflow is that it is started and finds its tests.
COLLECT = (re.compile(r"\bmake test\b"), "python -m pytest --collect-only -q")
# So that a step that hangs ends this; ten times what the longest one takes.
LIMIT = 900
SHELL = ("timeout", "--kill-after=5", str(LIMIT), "bash", "--noprofile", "--norc", "-eo", "pipefail")


class WorkflowError(RuntimeError):
    """A step that failed, with its name and output, or a workflow that the harness cannot run."""


@dataclass
class Event:
    """What starts a run: kind, payload, commit, branch ('' for a pull request) and inputs."""

    name: str
    payload: dict[str, Any]
    sha: str
    branch: str = ""
    inputs: dict[str, Any] = field(default_factory=dict)


def read_workflow(name: str, folder: Path = ROOT) -> dict[Any, Any]:
    """A workflow by its name; PyYAML reads the key `on` as True."""
    path = folder / ".github" / "workflows" / f"{name}.yml"
    content: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def step_name(step: Mapping[str, Any]) -> str:
    return str(step.get("name") or step.get("uses") or step["run"].splitlines()[0])


def _known(found: Mapping[Any, Any], allowed: set[Any], where: str) -> None:
    unknown = [str(key) for key in found if key not in allowed]
    if unknown:
        raise WorkflowError(f"{where}: found {', '.join(unknown)}, which the harness does not know")


def _pairs(path: Path, where: str) -> dict[str, str]:
    """Lines of GITHUB_OUTPUT or GITHUB_ENV, `name=value`."""
    pairs = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        name, sign, value = line.partition("=")
        if not sign or "<<" in name:
            raise WorkflowError(f"{where}: found {line!r} in {path.name}, expected name=value")
        pairs[name] = value
    return pairs


def fill_environment(workspace: Path) -> None:
    """Give a checked-out workspace this environment under .venv, as ready, so that `make setup` has nothing to do."""
    venv, ours = workspace / ".venv", Path(sys.executable).parents[1]
    venv.mkdir()
    for name in ("bin", "lib"):
        (venv / name).symlink_to(ours / name)
    shutil.copy2(ours / "pyvenv.cfg", venv)
    (venv / ".ready").touch()


class Job:
    """One job, or one of a matrix: workspace, contexts and the steps' outputs."""

    def __init__(self, world: World, where: str, context: dict[str, Any], event: Event, run: int) -> None:
        self.world, self.where = world, where
        folder = world.folder / "jobs" / re.sub(r"\W+", "-", where)
        self.files, workspace, temp = folder / "files", folder / "workspace", folder / "temp"
        for path in (self.files, workspace, temp):
            path.mkdir(parents=True)
        self.place = Place(world, workspace, run, event.sha, event.branch)
        github = context["github"] | {"workspace": str(workspace)}
        self.context = context | {"github": github, "steps": {}, "runner": {"temp": str(temp)}}
        self.added: dict[str, str] = {}
        self.paths: list[str] = []
        self.names = count()

    def run(self, job: Mapping[str, Any], shell_env: Mapping[str, Any]) -> dict[str, str]:
        """The job's outputs. Raises WorkflowError where a step fails, `continue-on-error` or not."""
        env = interpolate({**shell_env, **job.get("env", {})}, self.context)
        status = {"success": True, "failure": False, "cancelled": False, "always": True}
        for step in job["steps"]:
            where = f"{self.where} / {step_name(step)}"
            _known(step, STEP, where)
            started = time.monotonic()
            try:
                if not holds(step.get("if"), self.context | {"env": env}, status):
                    print(f"  not due: {where}", flush=True)
                    continue
                outputs = self.step(step, env, where)
            except (ExpressionError, ActionError) as error:
                raise WorkflowError(f"{where}: {error}") from error
            if "id" in step:
                self.context["steps"][step["id"]] = {"outputs": outputs}
            print(f"  {time.monotonic() - started:5.1f} s  {where}", flush=True)
        save_caches(self.place)
        return {name: text_of(value) for name, value in interpolate(job.get("outputs", {}), self.context).items()}

    def step(self, step: Mapping[str, Any], env: Mapping[str, Any], where: str) -> dict[str, str]:
        own = interpolate(step.get("env", {}), self.context | {"env": env})
        if "uses" in step:
            outputs = act(self.place, step["uses"], interpolate(step.get("with", {}), self.context | {"env": env}))
            if (self.place.workspace / "Makefile").is_file() and not (self.place.workspace / ".venv").exists():
                fill_environment(self.place.workspace)
            return outputs
        if EXPRESSION.search(step["run"]):
            raise WorkflowError(f"{where}: found an expression in its commands, expected it in env")
        return self.shell(step["run"], {name: text_of(value) for name, value in {**env, **own}.items()}, where)

    def shell(self, commands: str, env: Mapping[str, str], where: str) -> dict[str, str]:
        number = next(self.names)
        kinds = ("OUTPUT", "ENV", "PATH", "STEP_SUMMARY")
        files = {f"GITHUB_{kind}": self.files / f"{number}-{kind.lower()}" for kind in kinds}
        for path in files.values():
            path.touch()
        script = self.files / f"{number}.sh"
        script.write_text(COLLECT[0].sub(COLLECT[1], commands), encoding="utf-8")
        surroundings = self.world.environment(self.place.workspace)
        surroundings["PATH"] = os.pathsep.join([*reversed(self.paths), surroundings["PATH"]])
        surroundings |= _variables(self.context) | self.added | dict(env)
        done = subprocess.run(
            [*SHELL, str(script)],
            cwd=self.place.workspace,
            env=surroundings | {name: str(path) for name, path in files.items()},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        if done.returncode:
            late = f", after {LIMIT} s" if done.returncode in (124, 137) else ""
            raise WorkflowError(f"{where}: exit code {done.returncode}{late}\n{done.stdout}")
        self.added |= _pairs(files["GITHUB_ENV"], where)
        self.paths += files["GITHUB_PATH"].read_text(encoding="utf-8").split("\n")[:-1]
        text = files["GITHUB_STEP_SUMMARY"].read_text(encoding="utf-8")
        if text:
            self.world.summaries[self.where] = self.world.summaries.get(self.where, "") + text
        return _pairs(files["GITHUB_OUTPUT"], where)


def _variables(context: Mapping[str, Any]) -> dict[str, str]:
    names = ("sha", "ref", "ref_name", "repository", "event_name", "run_id", "run_attempt", "workspace")
    known = {f"GITHUB_{name.upper()}": str(context["github"][name]) for name in names}
    return known | {"GITHUB_ACTIONS": "true", "RUNNER_TEMP": str(context["runner"]["temp"])}


def _github(world: World, event: Event) -> dict[str, Any]:
    return {
        "event": {"repository": {"fork": False}, "pull_request": None} | event.payload,
        "event_name": event.name,
        "sha": event.sha,
        "ref": f"refs/heads/{event.branch}" if event.branch else "refs/pull/7/merge",
        "ref_name": event.branch or "7/merge",
        "repository": REPOSITORY,
        "run_id": world.runs,
        "run_attempt": 1,
        "token": "token-of-the-run",
    }


def _matrix(job: Mapping[str, Any], context: dict[str, Any], where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and context of each job of a matrix of one dimension, or of the job itself."""
    strategy = job.get("strategy")
    if strategy is None:
        yield where, context
        return
    ((dimension, values),) = interpolate(strategy["matrix"], context).items()
    for value in values:
        yield f"{where} ({value})", context | {"matrix": {dimension: value}}


def run_workflow(world: World, name: str, event: Event, folder: Path = ROOT) -> int:
    """Run a workflow of `folder` and return the number of its run. Raises WorkflowError where anything fails."""
    workflow = read_workflow(name, folder)
    _known(workflow, WORKFLOW, name)
    world.runs += 1
    inputs = {key: one.get("default") for key, one in _inputs(workflow).items()} | event.inputs
    known = {"secrets": world.secrets, "vars": world.variables, "inputs": inputs, "github": _github(world, event)}
    interpolate(workflow["concurrency"], known)
    results: dict[str, dict[str, Any]] = {}
    print(f"{name} on {event.name}", flush=True)
    for job_name, job in workflow["jobs"].items():
        where = f"{name} / {job_name}"
        _known(job, JOB, where)
        needs = [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
        context = known | {"needs": {one: results[one] for one in needs}}
        good = all(results[one]["result"] == "success" for one in needs)
        status = {"success": good, "failure": False, "cancelled": False, "always": True}
        if not holds(job.get("if"), context, status):
            raise WorkflowError(f"{where}: not due, expected every job to run")
        outputs: dict[str, str] = {}
        for place, own in _matrix(job, context, where):
            outputs |= Job(world, f"{place} {world.runs}", own, event, world.runs).run(job, workflow.get("env", {}))
        results[job_name] = {"result": "success", "outputs": outputs}
    return world.runs


def _inputs(workflow: Mapping[Any, Any]) -> dict[str, Any]:
    events = workflow[True]
    found: dict[str, Any] = (events.get("workflow_dispatch") or {}).get("inputs", {})
    return found


def check_syntax(name: str, folder: Path = ROOT) -> None:
    """Every `run` through bash's parser, without running anything. Raises WorkflowError."""
    for job_name, job in read_workflow(name, folder)["jobs"].items():
        for step in job["steps"]:
            where = f"{name} / {job_name} / {step_name(step)}"
            done = subprocess.run(["bash", "-n"], input=step.get("run", ""), capture_output=True, text=True)
            if done.returncode:
                raise WorkflowError(f"{where}: {done.stderr}")
