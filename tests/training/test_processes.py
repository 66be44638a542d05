"""A training run in two processes: one alone writes, and the result is that of one process on the whole batch."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

SCRIPT = f"""
import json, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_experiment import start
from ecdm.training.loop import is_main_process

main, live = is_main_process(), start(batch=int(sys.argv[1]))
print(json.dumps({{"main": main, "steps": live.steps, "pictures": list(live.pictures)}}))
"""


def processes(root: Path, count: int, batch: int) -> list[dict[str, Any]]:
    """Train `ours` in `root` in so many processes, each on `batch` samples a step; what each of them saw."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in range(count):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **{k: str(v) for k, v in place.items()}}
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **(told if count > 1 else {})}
        command = [sys.executable, "-c", SCRIPT, str(batch)]
        started.append(subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.PIPE, text=True))
    outputs = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * count
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def test_two_processes_are_as_one_of_twice_the_batch(
    made_tree: Path, tmp_path: Path, digests: Callable[[Path], dict[str, str]]
) -> None:
    one, two = (Path(shutil.copytree(made_tree, tmp_path / name)) for name in ("one", "two"))
    quiet = {"main": False, "steps": [], "pictures": []}
    main = {"main": True, "steps": [1, 3, 5], "pictures": [3, 5]}
    assert processes(one, 1, batch=2) == [main]
    assert processes(two, 2, batch=1) == [main, quiet]
    first, second = digests(one / "build"), digests(two / "build")
    assert first.keys() == second.keys()
    for name in first:
        if name.startswith("train/ours-0/weights/") and name.endswith(".safetensors"):
            expected, found = (load_file(root / "build" / name) for root in (one, two))
            torch.testing.assert_close(found, expected, rtol=0, atol=2e-3)
