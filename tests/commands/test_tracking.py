"""`ecdm sync` and `ecdm ui`: what they print, and a server that is gone when the command is."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from servers import free_port

from ecdm.cli import main
from ecdm.mirror.sync import Outcome, Synced
from ecdm.tracking import Store


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    (tmp_path / "params.yaml").write_text("a: 1\n")
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    return tmp_path


def command_lines() -> bytes:
    """What everybody on the machine can read of its processes."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # gone in the meantime
            found.append(path.read_bytes().replace(b"\0", b" "))
    return b"\n".join(found)


def test_sync_says_what_it_wrote(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [Synced("one", "1", {"runs": 1, "params": 3}), Synced("two", "2", {"runs": 0, "images": 2, "tags": 0})]
    done = Synced("three", "3", {"runs": 0})
    monkeypatch.setattr("ecdm.mirror.sync.sync", lambda root: Outcome([*runs, done], ["late: x is not as in dvc.lock"]))
    assert main(["sync"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "one: new run, 3 params",
        "two: 2 images",
        "1 of 3 runs: complete already",
        "not mirrored: late: x is not as in dvc.lock",
        "No run has the whole reproduction: `dvc repro` or, on a new clone, `dvc pull --allow-missing`, then sync.",
    ]


def test_sync_before_a_reproduction(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync"]) == 2
    assert capsys.readouterr().err == f"error: {project / 'dvc.lock'}: no such file; run `dvc repro` first\n"
    assert not (project / "mlflow.db").exists()


def test_ui_refuses_a_taken_port(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["ui", "--port", str(port)]) == 2
    assert capsys.readouterr().err.startswith(f"error: --port: found {port} on 127.0.0.1 in use, expected a free one")
    assert main(["ui", "--port", "0"]) == 2
    assert not (project / "mlflow.db").exists()


def test_ui_of_a_server_that_is_down(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://me:secret@127.0.0.1:{free_port()}")
    assert main(["ui"]) == 2
    assert re.fullmatch(r"error: MLflow at http://127\.0\.0\.1:\d+: no answer within 2 s .*\n", capsys.readouterr().err)


def test_ui_serves_the_local_store_and_ends_cleanly(project: Path) -> None:
    store, port = Store.connect(project), free_port()
    store.tags({"ecdm.latest": "0123456789"})
    command = [sys.executable, "-m", "ecdm.cli", "ui", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    assert next(line for line in lines if line.startswith("MLflow")) == "MLflow (Ctrl-C ends it):\n"
    runs = rf"http://127\.0\.0\.1:{port}/#/experiments/{store.experiment_id}/runs\?workflowType=machine_learning"
    chart = rf"{runs}&compareRunsMode=CHART&viewStateShareKey=compare-01234567  the variants compared\n"
    assert re.fullmatch(chart, next(lines))
    assert re.fullmatch(rf"{runs}&viewStateShareKey=tree  all runs as a tree\n", next(lines))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=300) as page:
        assert b"MLflow" in page.read()
    experiment = f"http://127.0.0.1:{port}/api/2.0/mlflow/experiments/get?experiment_id={store.experiment_id}"
    with urllib.request.urlopen(experiment, timeout=300) as answer:
        assert b"0123456789" in answer.read()
    assert b"mlflow server" in command_lines()
    assert b"mlflow.db" not in command_lines()
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 0
    with socket.socket() as probe, pytest.raises(ConnectionRefusedError):
        probe.connect(("127.0.0.1", port))
