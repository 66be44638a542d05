from __future__ import annotations

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from study_case import METHODS, Participant, make_project

from ecdm.commands.study import register
from ecdm.study.plan import Plan
from ecdm.study.votes import Vote, Votes

ROOT = Path(__file__).parents[2]
SERVE = """
import argparse
from ecdm.commands.study import register
parser = argparse.ArgumentParser()
register(parser.add_subparsers())
options = parser.parse_args(["study", "serve", "study", "--port", "0"])
raise SystemExit(options.command(options))
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with outputs, which is the working directory and has a tracking store of its own."""
    shutil.copy(ROOT / "params.yaml", make_project(tmp_path))
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def study(*words: str) -> int:
    parser = argparse.ArgumentParser()
    register(parser.add_subparsers(required=True))
    options = parser.parse_args(["study", *words])
    return int(options.command(options))


def vote(folder: Path) -> Plan:
    """One participant who always takes the first picture."""
    plan = Plan.read(folder / "plan.json")
    votes = Votes(folder / "votes.sqlite", plan)
    for question in plan.questions:
        votes.cast(Vote("ann", question.id, question.options[0].id))
    return plan


def test_build_takes_what_params_say_and_a_seed_of_its_own(project: Path) -> None:
    assert study("build") == 0
    assert study("build", "--out", "other") == 0
    plans = [Plan.read(project / name / "plan.json") for name in ("study", "other")]
    assert plans[0].settings.methods == METHODS
    assert (len(plans[0].questions), plans[0].settings.mode) == (12, "choice")
    # Whoever has the code must not be able to guess the plan.
    assert plans[0].settings.seed != plans[1].settings.seed
    assert plans[0].settings.seed > 2**64


def test_build_follows_its_options(project: Path) -> None:
    words = ("--seed", "3", "--questions", "4", "--mode", "pairwise", "--methods", "sail", "ours", "--out", "a/b")
    assert study("build", *words) == 0
    plan = Plan.read(project / "a/b/plan.json")
    assert (plan.settings.seed, plan.settings.mode, plan.settings.methods) == (3, "pairwise", ("sail", "ours"))
    assert len(plan.questions) == 4
    with pytest.raises(ValueError, match=r"methods: ours: found no folder .*ours-5"):
        study("build", "--training-seed", "5", "--methods", "ours", "sail")
    with pytest.raises(ValueError, match="count"):
        study("build", "--questions", "5")


def test_serve_prints_its_link_takes_votes_and_ends_well(project: Path) -> None:
    study("build")
    server = subprocess.Popen([sys.executable, "-c", SERVE], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    match = re.search(r"http://127\.0\.0\.1:(\d+)/", server.stdout.readline())
    assert match
    plan = Plan.read(project / "study/plan.json")
    question = plan.questions[0]
    assert Participant(int(match[1])).vote(question.id, question.options[0].id).status == 200
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=30) == 0
    server.stdout.close()
    assert len(Votes(project / "study/votes.sqlite", plan).all()) == 1


def test_report_without_mlflow_is_written_all_the_same(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    study("build")
    vote(project / "study")
    assert study("report") == 0
    told = capsys.readouterr()
    assert "reports/study/study.md: 12 answers of 1 participants" in told.out
    assert "The report is not in MLflow" in told.err
    assert (project / "reports/study/figure7.png").is_file()


def test_report_goes_to_one_mlflow_run_per_study(project: Path) -> None:
    from mlflow import MlflowClient

    study("build")
    plan = vote(project / "study")
    for _ in range(2):
        assert study("report") == 0
    client = MlflowClient(tracking_uri=f"sqlite:///{project / 'mlflow.db'}")
    found = [run for e in client.search_experiments() for run in client.search_runs([e.experiment_id])]
    assert [run.info.status for run in found] == ["FINISHED"]
    run = found[0]
    assert json.loads(run.data.params["study.methods"]) == list(METHODS)
    assert str(plan.settings.seed) not in str(run.data.params)
    shares = [run.data.metrics[f"text/{method}/share"] for method in METHODS]
    assert sum(shares) == pytest.approx(1.0)
    history = client.get_metric_history(run.info.run_id, "text/ours/share")
    assert [metric.step for metric in history] == [12]
    files = [file.path for file in client.list_artifacts(run.info.run_id, "study/revision-12")]
    assert sorted(Path(name).name for name in files) == ["figure7.png", "shares.csv", "study.md"]
