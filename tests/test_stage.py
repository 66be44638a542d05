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
GRADIENT = """
import hashlib
import torch
from ecdm.stage import run

def main():
    generator = torch.Generator().manual_seed(0)
    x, weight = (torch.randn(shape, generator=generator) for shape in ((16, 64, 16, 16), (64, 64, 3, 3)))
    loss = torch.nn.functional.conv2d(x, weight.requires_grad_()).square().mean()
    loss.backward()
    print(hashlib.sha256(weight.grad.numpy().tobytes()).hexdigest())

run("gradient", main)
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


def gradient(environment: int) -> str:
    """What a stage of its own process computes where the environment asks for so many threads."""
    done = subprocess.run(
        [sys.executable, "-c", GRADIENT],
        env={**os.environ, "OMP_NUM_THREADS": str(environment)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_the_environments_threads_change_no_result(tmp_path: Path, write_params: Callable[..., None]) -> None:
    write_params(tmp_path, threads=2)
    two = gradient(1)
    assert gradient(2) == two
    write_params(tmp_path, threads=1)
    assert gradient(2) != two


def test_threads_are_set_for_the_stage_alone(tmp_path: Path, write_params: Callable[..., None]) -> None:
    import torch

    write_params(tmp_path, threads=3)
    before, seen = torch.get_num_threads(), []
    stage.run("masks", lambda: seen.append(torch.get_num_threads()))
    assert seen == [3]
    assert torch.get_num_threads() == before


def test_a_wrong_number_of_threads_is_one_line(
    tmp_path: Path, write_params: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    write_params(tmp_path, threads=0)
    with pytest.raises(SystemExit):
        stage.run("masks", lambda: None)
    assert torch.get_num_threads() > 0
    assert capsys.readouterr().err.startswith("masks: params.yaml: threads: found 0, expected ")
