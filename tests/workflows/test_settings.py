"""What a dispatched training was asked for stands in params.yaml, or nothing of it does."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from ecdm.config import load_params

ROOT = Path(__file__).resolve().parents[2]
Command = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy2(ROOT / "params.yaml", tmp_path)
    shutil.copytree(ROOT / "profiles", tmp_path / "profiles")
    monkeypatch.chdir(tmp_path)


def test_all_inputs_are_written(command: Command) -> None:
    overrides = "-S train.lr=2e-3 'acda.radius=5' -S masks.buckets=[50-60]"
    code, text = command(
        "settings", "--profile=micro", "--variants=sail ours", "--seeds=3 4", f"--overrides={overrides}"
    )
    assert (code, text) == (0, "")
    params = load_params(Path("params.yaml"))
    assert (params.variants, params.seeds, params.data.size) == (["sail", "ours"], [3, 4], 64)
    assert (params.train.lr, params.acda.radius, params.masks.buckets) == (0.002, 5, ["50-60"])


def test_comments_and_layout_stay(command: Command) -> None:
    before = Path("params.yaml").read_text(encoding="utf-8")
    assert command("settings", "--seeds=7", "--overrides=sail.lambda=0.25")[0] == 0
    after = before.replace("seeds:\n  - 0\n", "seeds:\n  - 7\n").replace("lambda: 0.1 ", "lambda: 0.25 ")
    assert Path("params.yaml").read_text(encoding="utf-8") == after


def test_nothing_asked_for_changes_nothing(command: Command) -> None:
    before = Path("params.yaml").read_bytes()
    assert command("settings", "--profile=", "--variants=", "--seeds=", "--overrides=") == (0, "")
    assert Path("params.yaml").read_bytes() == before


@pytest.mark.parametrize(
    ("option", "found", "message"),
    [
        ("profile", "../params", "profile '../params': not found in profiles; known: "),
        ("variants", "ours,sail", "variants: found 'ours,sail', expected names"),
        ("variants", "unknown", "params.yaml: variants.0: found 'unknown', expected "),
        ("seeds", "1 two", "seeds: found 'two', expected numbers"),
        ("seeds", "1]", "seeds: found '1]', expected numbers"),
        ("seeds", "3 3", "params.yaml: seeds: "),
        ("overrides", "train.lr", "overrides: found 'train.lr', expected key=value"),
        ("overrides", "--dry-run", "overrides: found '--dry-run', expected key=value"),
        ("overrides", "+train.new=3", "overrides: found '+train.new=3', expected key=value"),
        ("overrides", "seed='open", 'overrides: found "seed=\'open", expected closed quotes'),
        ("overrides", "train.lr=fast", "params.yaml: train.lr: found 'fast', expected "),
        ("overrides", "train.missing=1", "overrides: train.missing: no such key in params.yaml"),
        ("overrides", "train=1", "overrides: train: found a value, expected a section as in params.yaml"),
        ("overrides", "seed={a", "overrides: not valid YAML: "),
        ("overrides", "'seed=1\nthreads: 1'", "overrides: found 'seed=1\\nthreads: 1', expected key=value"),
    ],
)
def test_bad_input_is_named_and_leaves_the_file(option: str, found: str, message: str, command: Command) -> None:
    before = Path("params.yaml").read_bytes()
    code, text = command("settings", f"--{option}={found}", *(["--seeds=9"] if option != "seeds" else []))
    assert (code, text[: len(f"error: {message}")]) == (2, f"error: {message}")
    assert Path("params.yaml").read_bytes() == before


def test_every_input_is_one_override(script: Callable[[str], ModuleType]) -> None:
    found = script("settings").overrides(" ours  sail ", "0 1", "-S a.b=c d=1")
    assert found == ["variants=[ours,sail]", "seeds=[0,1]", "a.b=c", "d=1"]
