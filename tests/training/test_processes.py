"""A training run under `accelerate launch`: one process alone writes, with the result of one on the whole batch."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from experiment_case import start
from processes import accelerated
from safetensors.torch import load_file

SCRIPT = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from experiment_case import start
from ecdm.training.loop import is_main_process

main, live = is_main_process(), start(batch=4, micro_batch=int(sys.argv[1]))
print(json.dumps({{"main": main, "steps": live.steps, "pictures": list(live.pictures)}}))
"""
CONTROLNET = "controlnet/diffusion_pytorch_model.safetensors"


def history(root: Path) -> list[tuple[str, str, float]]:
    with (root / "build/train/ours-0/history.csv").open() as file:
        rows = [(row["step"], row["name"], float(row["value"])) for row in csv.DictReader(file)]
    # How large the attention terms are is measured in one process's last pass alone.
    return [row for row in rows if not row[1].startswith("rms_")]


def test_two_processes_are_as_one(
    tree: Path, made_tree: Path, tmp_path: Path, digests: Callable[[Path], dict[str, str]]
) -> None:
    """This process with all four samples of a step, against two processes with two each, in two passes of one."""
    one, two = tree, Path(shutil.copytree(made_tree, tmp_path / "two"))
    live = start(batch=4, micro_batch=4)
    assert (live.steps, list(live.pictures)) == ([1, 3, 5], [3, 5])
    (tmp_path / "script.py").write_text(SCRIPT)
    seen = [json.loads(line) for line in accelerated([str(tmp_path / "script.py"), "1"], two, 2)]
    main = {"main": True, "steps": live.steps, "pictures": list(live.pictures)}
    assert sorted(seen, key=str) == [{"main": False, "steps": [], "pictures": []}, main]
    first, second = digests(one / "build"), digests(two / "build")
    assert first.keys() == second.keys()
    weights = [load_file(root / "build/train/ours-0/weights" / CONTROLNET) for root in (one, two)]
    before = load_file(made_tree / "build/foundation/controlnet_inpaint/diffusion_pytorch_model.safetensors")
    moved = torch.cat([(weights[0][name] - before[name]).flatten() for name in before]).norm()
    apart = torch.cat([(weights[1][name] - weights[0][name]).flatten() for name in before]).norm()
    assert float(moved) > 0.01
    assert float(apart / moved) < 0.02
    acda = [load_file(next((root / "build/train/ours-0/weights/acda").glob("*.safetensors"))) for root in (one, two)]
    for name, value in acda[0].items():
        torch.testing.assert_close(acda[1][name], value, rtol=0.05, atol=1e-3)
    # The losses too are those of the whole batch.
    expected, found = history(one), history(two)
    assert [row[:2] for row in found] == [row[:2] for row in expected]
    assert [row[2] for row in found] == pytest.approx([row[2] for row in expected], rel=1e-2, abs=1e-4)
