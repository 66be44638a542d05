"""Several processes of one command, with the variables that a launcher sets, or by `accelerate launch` itself."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def launch(arguments: Sequence[str], cwd: Path, count: int) -> list[str]:
    """Run Python with these arguments in so many processes that find each other; what each of them printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    started = []
    for rank in range(count):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count}
        told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, **{k: str(v) for k, v in place.items()}}
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", **(told if count > 1 else {})}
        command = [sys.executable, *arguments]
        started.append(subprocess.Popen(command, cwd=cwd, env=environment, stdout=subprocess.PIPE, text=True))
    outputs = [process.communicate()[0] for process in started]
    assert [process.returncode for process in started] == [0] * count
    return outputs


def accelerated(arguments: Sequence[str], cwd: Path, count: int, kind: Sequence[str] = ("--multi_gpu",)) -> list[str]:
    """Run a script by `accelerate launch` in so many processes; the lines that they printed, in any order.

    The kind is what accelerate finds by itself on a machine with several GPUs, if nothing else is given; on one
    without GPUs the processes meet on CPUs.
    """
    options = [*kind, "--num_processes", str(count), "--main_process_port", "0"]
    command = [str(Path(sys.executable).with_name("accelerate")), "launch", *options, *arguments]
    # HF_HOME: accelerate would take its defaults from a file of whoever runs the tests.
    told = {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "HF_HOME": str(cwd / "settings")}
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **told}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
