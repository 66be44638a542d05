"""Run every step of every workflow with its real commands on the micro profile; a step that fails fails this.

GitHub's own part is stood in for by .ci/harness. The pull request of the run changes one parameter.
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from pathlib import Path

from harness.jobs import Event, WorkflowError, run_workflow
from harness.world import PULL, World, git, make_world
from working_copy import ROOT, run

# Two variants have every kind of stage, and half of the time.
VARIANTS = ("  - sail\n  - acda\n", "")


def small(clone: Path) -> None:
    """Make micro the settings and the smoke profile of the clone, and push it as main."""
    for name in ("micro", "smoke"):
        path = clone / "profiles" / f"{name}.yaml"
        path.write_text((ROOT / "profiles" / "micro.yaml").read_text(encoding="utf-8").replace(*VARIANTS))
    done = run(clone, "ecdm", "profile", "micro", quiet=True)
    if done.returncode:
        raise WorkflowError(f"ecdm profile micro: {done.stdout}{done.stderr}")
    commit(clone, "small", "main")


def commit(clone: Path, message: str, branch: str) -> str:
    """Commit everything in the clone and push it; returns the commit."""
    git(clone, "add", "--all")
    git(clone, "commit", "--quiet", "--message", message)
    git(clone, "push", "--quiet", "origin", branch)
    return git(clone, "rev-parse", "HEAD")


def change_radius(clone: Path) -> str:
    """A branch that changes one parameter, as a pull request would; returns its commit."""
    git(clone, "switch", "--quiet", "--create", "change")
    path = clone / "params.yaml"
    text, found = re.subn(r"(\n  radius: )4\b", r"\g<1>6", path.read_text(encoding="utf-8"))
    if found != 1:
        raise WorkflowError("params.yaml: found no acda.radius of 4 to change")
    path.write_text(text, encoding="utf-8")
    return commit(clone, "radius", "change")


def expect(holds: bool, text: str) -> None:
    if not holds:
        raise WorkflowError(text)


def main_branch(world: World, main: str) -> None:
    """ci on main, which leaves the cache that pull requests read."""
    run_workflow(world, "ci", Event("push", {}, main, "main"))
    (summary,) = (text for where, text in world.summaries.items() if where.startswith("ci / smoke"))
    expect("no smoke run of the base branch" in summary, f"ci: found a comparison on main:\n{summary}")
    kept = list((world.folder / "caches").glob("smoke-*/runs"))
    expect(len(kept) == 1, "ci: found no run cache of DVC in what main keeps, so that pull requests repeat everything")
    world.summaries.clear()


def pull_request(world: World, clone: Path) -> None:
    """ci on a pull request, then the comment twice: one comment in the end."""
    base = git(clone, "rev-parse", "HEAD")
    head = change_radius(clone)
    world.set_head(head)
    pull = {"pull_request": {"number": PULL, "base": {"sha": base}}}
    number = run_workflow(world, "ci", Event("pull_request", pull, head))
    (summary,) = (text for where, text in world.summaries.items() if where.startswith("ci / smoke"))
    expect("| `acda.radius` | 4 | 6 | +2 |" in summary, f"ci: no changed radius in the summary:\n{summary}")
    done = {"id": number, "event": "pull_request", "conclusion": "success", "head_sha": head, "head_branch": "change"}
    for _ in range(2):
        payload = {"workflow_run": done | {"head_repository": {"full_name": "anyone/ecdm"}}}
        run_workflow(world, "comment", Event("workflow_run", payload, base, "main"))
    comments = [one["body"] for one in world.state["comments"]]
    expect(len(comments) == 1 and "`acda.radius`" in comments[0], f"comment: found {comments}, expected one")


def proposal(world: World, workflow: str, changed: set[str]) -> str:
    """The branch of the last pull request opened, which is that workflow's and changes the files."""
    opened = world.state["opened"]
    expect(bool(opened) and opened[-1]["--head"].startswith(workflow), f"{workflow}: no pull request in {opened}")
    branch = str(opened[-1]["--head"])
    found = set(git(world.origin, "diff", "--name-only", "main", branch).splitlines())
    expect(changed <= found, f"{workflow}: the pull request changes {sorted(found)}, expected {sorted(changed)}")
    return branch


def train(world: World, main: str) -> None:
    inputs = {"profile": "micro", "variants": "ours", "seeds": "0", "overrides": "-S gates.batch=3"}
    run_workflow(world, "train-gpu", Event("workflow_dispatch", {}, main, "main", inputs))
    proposal(world, "train-gpu", {"dvc.lock", "params.yaml", "reports/metrics.json"})


def tune(world: World, main: str) -> None:
    inputs = {"workers": 2, "trials": 2, "timeout": 10}
    run_workflow(world, "tune-gpu", Event("workflow_dispatch", {}, main, "main", inputs))
    branch = proposal(world, "tune-gpu", {"reports/search/best.yaml", "reports/search/trials.csv"})
    trials = git(world.origin, "show", f"{branch}:reports/search/trials.csv").splitlines()[1:]
    expect(len(trials) == inputs["trials"], f"tune-gpu: found the trials {trials}, expected {inputs['trials']}")


def main() -> int:
    """0, or 1 with the name and the output of the step that failed."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ecdm-workflows-") as name:
        folder = Path(name)
        mlflow = ("MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
        unset = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", *mlflow), "")
        secrets = unset | {
            "ECDM_DVC_REMOTE": str(folder / "remote"),
            "ECDM_TUNE_STORAGE": f"sqlite:///{folder}/studies.db",
        }
        # A plugin that is there already, so that pip needs no network.
        variables = {"ECDM_DVC_PLUGIN": "dvc-http", "ECDM_DVC_CACHE": str(folder / "cache")}
        try:
            world, clone = make_world(folder, secrets, variables)
            small(clone)
            start = git(clone, "rev-parse", "HEAD")
            train(world, start)
            tune(world, start)
            main_branch(world, start)
            pull_request(world, clone)
        except WorkflowError as error:
            print(f"workflows: {error}", file=sys.stderr)
            return 1
    print(f"workflows: every step ran, {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
