"""How a stage ends: bad input in one line with exit code 1, a fault of the program with its traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ecdm import stage

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "error", [ValueError("a.json: found 1,\n  expected 2"), OSError("a.json: found 1, expected 2")]
)
def test_bad_input_is_one_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        stage.run("masks", main)
    assert caught.value.code == 1
    assert capsys.readouterr().err == "masks: a.json: found 1, expected 2\n"


def test_a_fault_keeps_its_traceback() -> None:
    def main() -> None:
        raise KeyError("surprise")

    with pytest.raises(KeyError, match="surprise"):
        stage.run("masks", main)


def test_a_good_stage_runs_once(capsys: pytest.CaptureFixture[str]) -> None:
    calls: list[int] = []
    stage.run("masks", lambda: calls.append(1))
    assert calls == [1]


def test_a_stage_as_the_pipeline_starts_it(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("seed: 0\nsede: 1\n")
    command = [sys.executable, str(ROOT / "stages" / "variants.py")]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert found.returncode == 1
    assert found.stderr.count("\n") == 1
    assert found.stderr.startswith("variants: params.yaml: sede: unknown key")
    assert not (tmp_path / "build").exists()
