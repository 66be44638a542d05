"""A training stage from files to files, killed at every kind of moment: the same bytes in the end."""

from __future__ import annotations

import csv
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from experiment_case import Killed, Live, start
from PIL import Image
from safetensors.torch import load_file, save_file

from ecdm.config import load_params
from ecdm.models.branch import Branch, load_branch
from ecdm.training import experiment, sources

Digests = Callable[[Path], dict[str, str]]


@pytest.fixture
def results(tree: Path, digests: Digests) -> Callable[[], dict[str, str]]:
    """Digests of all that the stages after training read, and of what should not be there any more."""

    def read() -> dict[str, str]:
        found: dict[str, str] = {}
        for name in ("train", "probe", "checkpoints"):
            found |= {f"{name}/{k}": v for k, v in digests(tree / "build" / name).items()}
        return found

    return read


@pytest.fixture(scope="module")
def expected(made_tree: Path, tmp_path_factory: pytest.TempPathFactory, digests: Digests) -> dict[str, str]:
    """What an undisturbed run of `ours`, at another path, ends with."""
    root = tmp_path_factory.mktemp("undisturbed") / "a" / "b"
    shutil.copytree(made_tree, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        start()
    return {f"{n}/{k}": v for n in ("train", "probe") for k, v in digests(root / "build" / n).items()}


def test_an_undisturbed_run_leaves_these_files(expected: dict[str, str]) -> None:
    run = "train/ours-0"
    weights = [
        f"{run}/weights/{name}"
        for name in (
            "branch.json",
            "acda/config.json",
            "acda/model.safetensors",
            "controlnet/config.json",
            "controlnet/diffusion_pytorch_model.safetensors",
        )
    ]
    pictures = [f"{run}/samples/{step:06d}.png" for step in (3, 5)]
    assert set(expected) == {*weights, *pictures, f"{run}/history.csv", "probe/ours-0.json"}


def test_a_run_killed_by_the_system_goes_on_to_the_same_bytes(
    results: Callable[[], dict[str, str]], expected: dict[str, str]
) -> None:
    """SIGKILL on a process of its own, so that nothing in memory can help the one that goes on."""
    script = """
import os, signal
from experiment_case import Live, start
class Dies(Live):
    def metrics(self, values, step):
        if step == 5:
            os.kill(os.getpid(), signal.SIGKILL)
start(live=Dies())
"""
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(Path(__file__).parents[1])!r})\n{script}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = results()
    assert "checkpoints/ours-0.safetensors" in left
    assert not any(name.startswith(("train/", "probe/")) for name in left)
    # The last saved state is that of step 4.
    assert start().steps == [5]
    assert results() == expected


@pytest.mark.parametrize("step", [1, 3])
def test_a_killed_run_goes_on_to_the_same_bytes(
    results: Callable[[], dict[str, str]], expected: dict[str, str], step: int
) -> None:
    with pytest.raises(Killed):
        start(live=Live(kill_at=step))
    assert start().steps == [1, 3, 5][1 if step == 3 else 0 :]
    assert results() == expected


def _raise(*arguments: Any, **options: Any) -> None:
    raise Killed


@pytest.mark.parametrize(
    ("owner", "name"),
    [(Branch, "save"), (experiment, "_write_history"), (experiment, "_write_probe"), (experiment, "preview")],
    ids=["weights", "history", "probe", "picture"],
)
def test_a_run_killed_while_writing_goes_on_to_the_same_bytes(
    results: Callable[[], dict[str, str]],
    expected: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    name: str,
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, _raise)
        with pytest.raises(Killed):
            start()
    start()
    assert results() == expected


def test_a_second_run_gives_the_same_bytes(results: Callable[[], dict[str, str]], expected: dict[str, str]) -> None:
    for _ in range(2):
        start()
        assert results() == expected


def _edges(root: Path) -> None:
    path = sorted((root / "build/edges/scenes/train").glob("*.png"))[0]
    Image.fromarray(255 - np.array(Image.open(path))).save(path)


def _latents(root: Path) -> None:
    path = root / "build/latents/train.safetensors"
    save_file({"moments": load_file(path)["moments"] * 1.01}, path)


def _captions(root: Path) -> None:
    path = root / "data/scenes/annotations/captions_train.json"
    path.write_text(path.read_text().replace("circle", "disc").replace("square", "box"))


def _foundation(root: Path) -> None:
    path = root / "build/foundation/unet/diffusion_pytorch_model.safetensors"
    save_file({k: v * 1.01 for k, v in load_file(path).items()}, path, {"format": "pt"})


def _scheduler(root: Path) -> None:
    path = root / "build/foundation/scheduler/scheduler_config.json"
    path.write_text(path.read_text().replace("0.012", "0.013"))


def killed_in_step_3(**changes: Any) -> list[int]:
    """Steps that a run reports until it is killed: [1] from the start, none from the checkpoint of step 2."""
    live = Live(kill_at=3)
    with pytest.raises(Killed):
        start(live=live, validate_every=100, **changes)
    return live.steps


def test_a_checkpoint_of_the_same_inputs_is_taken(tree: Path) -> None:
    assert (killed_in_step_3(), killed_in_step_3()) == ([1], [])


@pytest.mark.parametrize("change", [_edges, _latents, _captions, _foundation, _scheduler])
def test_a_checkpoint_of_other_files_is_ignored(tree: Path, change: Callable[[Path], None]) -> None:
    killed_in_step_3()
    change(tree)
    assert killed_in_step_3() == [1]


@pytest.mark.parametrize("changes", [{"lr": 2e-3}, {"text_dropout": 0.5}, {"steps": 6}])
def test_a_checkpoint_of_other_settings_is_ignored(tree: Path, changes: dict[str, Any]) -> None:
    killed_in_step_3()
    assert killed_in_step_3(**changes) == [1]


def test_a_checkpoint_of_other_code_is_ignored(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed_in_step_3()
    package = Path(shutil.copytree(sources.PACKAGE, tree / "package"))
    monkeypatch.setattr(sources, "PACKAGE", package)
    assert killed_in_step_3() == []
    with (package / "numerics" / "sail.py").open("a") as file:
        file.write("# another version\n")
    assert killed_in_step_3() == [1]


@pytest.mark.parametrize("variant", ["baseline", "acda"])
def test_history_and_probe_are_those_of_the_variant(tree: Path, variant: str) -> None:
    live = start(variant)
    with (tree / f"build/train/{variant}-0/history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["name"] for row in rows} >= {"loss", "loss_simple", "grad_norm", "lr", "validation_loss"}
    assert sorted({int(row["step"]) for row in rows}) == live.steps == [1, 3, 5]
    probe = json.loads((tree / f"build/probe/{variant}-0.json").read_text())
    branch = load_branch(tree / f"build/train/{variant}-0/weights")
    if variant == "baseline":
        assert probe is None
        assert branch.acda is None
        return
    assert branch.acda is not None
    rates = [{row["step"]: float(row["value"]) for row in rows if row["name"] == name} for name in ("lr", "lr_acda")]
    params = load_params()
    assert {step: rate * params.acda.lr / params.train.lr for step, rate in rates[0].items()} == pytest.approx(
        rates[1], rel=1e-4
    )
    # One value for every validation image.
    assert len(probe["own"]) == len(probe["other"]) == 3
    assert min(probe["rms_text"], probe["rms_frequency"]) > 0


def test_pictures_are_reported_as_they_are_written(tree: Path) -> None:
    live = start("baseline")
    assert list(live.pictures) == [3, 5]
    for step, picture in live.pictures.items():
        written = np.array(Image.open(tree / f"build/train/baseline-0/samples/{step:06d}.png"))
        assert np.array_equal(written, picture)
        assert picture.shape == (3 * 32, 2 * 32, 3)


def test_a_missing_input_is_named_and_leaves_no_output(tree: Path) -> None:
    (tree / "build/latents/validation.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"build/latents/validation\.safetensors"):
        start()
    assert not (tree / "build" / "train").exists()


def test_an_unreadable_checkpoint_is_named_and_leaves_no_output(tree: Path) -> None:
    (tree / "build" / "checkpoints").mkdir()
    (tree / "build" / "checkpoints" / "ours-0.safetensors").write_bytes(b"?")
    with pytest.raises(ValueError, match=r"build/checkpoints/ours-0\.safetensors: not a readable checkpoint"):
        start()
    assert not (tree / "build" / "train").exists()


def test_the_stage_trains_what_the_variants_file_says(
    tree: Path,
    load_stage: Callable[[str], ModuleType],
    results: Callable[[], dict[str, str]],
    expected: dict[str, str],
) -> None:
    load_stage("variants").main()
    stage, live, names = load_stage("train"), Live(), []
    stage.stage_tracker = lambda name: names.append(name) or nullcontext(live)  # type: ignore[attr-defined, func-returns-value]
    stage.main("ours", 0)
    assert names == ["train@ours-0"]
    assert live.steps == [1, 3, 5]
    assert results() == expected
