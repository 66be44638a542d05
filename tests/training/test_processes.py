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

HEAD = f"""
import json, os, sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
from torch.distributed.tensor import DTensor
from torch.optim.optimizer import register_optimizer_step_post_hook
from experiment_case import Killed, Live, start
from ecdm.training.loop import is_main_process
"""
SCRIPT = f"""{HEAD}
kinds = set()
def look(optimiser, arguments, named):
    kinds.update(isinstance(p, DTensor) for group in optimiser.param_groups for p in group["params"])

register_optimizer_step_post_hook(look)
main, live = is_main_process(), start(batch=4, micro_batch=int(sys.argv[1]))
print(json.dumps({{"main": main, "steps": live.steps, "pictures": list(live.pictures), "parts": sorted(kinds)}}))
"""
# accelerate takes FSDP for GPUs alone; torch's own, which it sets up, runs on CPUs as well.
PRETEND = """
from accelerate import DistributedType, PartialState
PartialState(cpu=True)._shared_state["distributed_type"] = DistributedType.MULTI_GPU
"""
INTERRUPTED = f"""{PRETEND}{HEAD}
import shutil
steps, last = 0, 10**9
def stop(optimiser, arguments, named):
    global steps
    steps += 1
    if steps == last:
        raise Killed

register_optimizer_step_post_hook(stop)
os.chdir("whole")
start(batch=4)
os.chdir("../killed")
steps, last = 0, 4
try:
    start(batch=4)
except Killed:
    # The others of the group are killed at the same step, as a launcher does it.
    if is_main_process():
        shutil.copytree("build/checkpoints", "../left")
last = 10**9
start(batch=4)
"""
FSDP = ["--use_fsdp", "--fsdp_version", "2", "--fsdp_auto_wrap_policy", "TRANSFORMER_BASED_WRAP"]
FSDP += ["--fsdp_transformer_layer_cls_to_wrap", "BasicTransformerBlock,ResnetBlock2D"]
CONTROLNET = "controlnet/diffusion_pytorch_model.safetensors"


def history(root: Path) -> list[tuple[str, str, float]]:
    with (root / "build/train/ours-0/history.csv").open() as file:
        rows = [(row["step"], row["name"], float(row["value"])) for row in csv.DictReader(file)]
    # How large the attention terms are is measured in one process's last pass alone.
    return [row for row in rows if not row[1].startswith("rms_")]


def assert_alike(one: Path, two: Path, made_tree: Path) -> None:
    """The same training but for the order of sums."""
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


@pytest.mark.parametrize("sharded", [False, True], ids=["copies", "parts"])
def test_two_processes_are_as_one(
    tree: Path, made_tree: Path, tmp_path: Path, digests: Callable[[Path], dict[str, str]], sharded: bool
) -> None:
    """This process with all four samples of a step, against two processes with two each, in two passes of one.

    Each of the two has a copy of the branch, or, by FSDP, a part of every weight.
    """
    one, two = tree, Path(shutil.copytree(made_tree, tmp_path / "two"))
    live = start(batch=4, micro_batch=4)
    assert (live.steps, list(live.pictures)) == ([1, 3, 5], [3, 5])
    (tmp_path / "script.py").write_text(PRETEND + SCRIPT if sharded else SCRIPT)
    lines = accelerated([str(tmp_path / "script.py"), "1"], two, 2, **({"kind": FSDP} if sharded else {}))
    main = {"main": True, "steps": live.steps, "pictures": list(live.pictures), "parts": [sharded]}
    other = {"main": False, "steps": [], "pictures": [], "parts": [sharded]}
    assert sorted((json.loads(line) for line in lines), key=str) == [other, main]
    assert digests(one / "build").keys() == digests(two / "build").keys()
    assert_alike(one, two, made_tree)


def test_a_branch_in_parts_goes_on_after_a_kill(
    tree: Path, made_tree: Path, tmp_path: Path, digests: Callable[[Path], dict[str, str]]
) -> None:
    """Under FSDP averages, moments and weights come back, with the same bits, and one process alone can take over."""
    whole, killed = (Path(shutil.copytree(made_tree, tmp_path / name)) for name in ("whole", "killed"))
    (tmp_path / "script.py").write_text(INTERRUPTED)
    accelerated([str(tmp_path / "script.py")], tmp_path, 2, kind=FSDP)
    assert digests(killed / "build/train") == digests(whole / "build/train")
    shutil.copytree(tmp_path / "left", tree / "build/checkpoints")
    assert start(batch=4).steps == [3, 5]
    assert_alike(tree, whole, made_tree)
