"""A training run in two processes: one alone writes, and the result is that of one process on the whole batch."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import launch
from safetensors.torch import load_file

SCRIPT = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_experiment import start
from ecdm.training.loop import is_main_process

main, live = is_main_process(), start(batch=4, micro_batch=int(sys.argv[1]))
print(json.dumps({{"main": main, "steps": live.steps, "pictures": list(live.pictures)}}))
"""
CONTROLNET = "controlnet/diffusion_pytorch_model.safetensors"


def processes(root: Path, count: int, micro: int) -> list[dict[str, Any]]:
    """Train `ours` in `root` in so many processes, in passes of `micro` samples; what each of them saw."""
    return [json.loads(output.splitlines()[-1]) for output in launch(["-c", SCRIPT, str(micro)], root, count)]


def history(root: Path) -> list[tuple[str, str, float]]:
    with (root / "build/train/ours-0/history.csv").open() as file:
        rows = [(row["step"], row["name"], float(row["value"])) for row in csv.DictReader(file)]
    # How large the attention terms are is measured in one process's last pass alone.
    return [row for row in rows if not row[1].startswith("rms_")]


def test_two_processes_are_as_one(made_tree: Path, tmp_path: Path, digests: Callable[[Path], dict[str, str]]) -> None:
    """One process with all four samples of a step, against two processes with two each, in two passes of one."""
    one, two = (Path(shutil.copytree(made_tree, tmp_path / name)) for name in ("one", "two"))
    quiet = {"main": False, "steps": [], "pictures": []}
    main = {"main": True, "steps": [1, 3, 5], "pictures": [3, 5]}
    assert processes(one, 1, micro=4) == [main]
    assert processes(two, 2, micro=1) == [main, quiet]
    first, second = digests(one / "build"), digests(two / "build")
    assert first.keys() == second.keys()
    weights = [load_file(root / "build/train/ours-0/weights" / CONTROLNET) for root in (one, two)]
    start = load_file(made_tree / "build/foundation/controlnet_inpaint/diffusion_pytorch_model.safetensors")
    moved = torch.cat([(weights[0][name] - start[name]).flatten() for name in start]).norm()
    apart = torch.cat([(weights[1][name] - weights[0][name]).flatten() for name in start]).norm()
    assert float(moved) > 0.01
    assert float(apart / moved) < 0.02
    acda = [load_file(next((root / "build/train/ours-0/weights/acda").glob("*.safetensors"))) for root in (one, two)]
    for name, value in acda[0].items():
        torch.testing.assert_close(acda[1][name], value, rtol=0.05, atol=1e-3)
    # The losses too are those of the whole batch.
    expected, found = history(one), history(two)
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert [row[2] for row in found] == pytest.approx([row[2] for row in expected], rel=1e-2, abs=1e-4)
