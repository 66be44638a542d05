"""How a stage ends: bad input in one line with exit code 1, a fault of the program with its traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ecdm import stage

ROOT = Path(__file__).parents[1]
# The gradient of this convolution is another one for each number of threads.
SUM = """
import hashlib
import torch
from ecdm.stage import run

def main():
    generator = torch.Generator().manual_seed(0)
    totals = [torch.randn(200_001, generator=generator).sum() for _ in range(16)]
    print(hashlib.sha256(torch.stack(totals).numpy().tobytes()).hexdigest())

run("sum", main)
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_params: Callable[..., None]) -> None:
    write_params(tmp_path)
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


def total(environment: int) -> str:
    """What a stage of its own process computes where the environment asks for so many threads."""
    done = subprocess.run(
        [sys.executable, "-c", SUM],
        env={**os.environ, "OMP_NUM_THREADS": str(environment)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_environments_threads_change_no_result(tmp_path: Path, write_params: Callable[..., None]) -> None:
    write_params(tmp_path, threads=2)
    two = total(1)
    assert total(2) == two
    write_params(tmp_path, threads=1)
    assert total(2) != two


def test_threads_are_set_for_the_stage_alone(tmp_path: Path, write_params: Callable[..., None]) -> None:
    import torch

    write_params(tmp_path, threads=3)
    before, seen = torch.get_num_threads(), []
    stage.run("masks", lambda: seen.append(torch.get_num_threads()))
    assert seen == [3]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("on", [True, False])
def test_torch_is_set_up_as_params_say(tmp_path: Path, write_params: Callable[..., None], on: bool) -> None:
    import torch

    def state() -> tuple[bool, str, bool, bool]:
        return (
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
            torch.backends.cudnn.allow_tf32,
            torch.backends.cudnn.benchmark,
        )

    write_params(tmp_path, deterministic=on, tf32=not on)
    before, seen = state(), []
    stage.run("masks", lambda: seen.append(state()))
    assert seen == [(True, "highest", False, False) if on else (False, "high", True, True)]
    assert state() == before


def test_of_several_processes_the_first_records_the_run(
    tmp_path: Path, write_params: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_params(tmp_path)
    monkeypatch.setenv("RANK", "1")
    stage.run("masks", lambda: None)
    assert not (tmp_path / "runs").exists()
    monkeypatch.setenv("RANK", "0")
    stage.run("masks", lambda: None)
    assert (tmp_path / "runs" / "masks.json").is_file()


def test_a_wrong_number_of_threads_is_one_line(
    tmp_path: Path, write_params: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    write_params(tmp_path, threads=0)
    with pytest.raises(SystemExit):
        stage.run("masks", lambda: None)
    assert torch.get_num_threads() > 0
    assert capsys.readouterr().err.startswith("masks: params.yaml: threads: found 0, expected ")
