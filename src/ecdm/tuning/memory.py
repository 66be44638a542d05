"""Peak memory of a part of a process."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch

from ecdm.runs import peak_memory_mb

PROCESS = Path("/proc/self")
GIB = 2**30


def reset_peak() -> None:
    """Count the peak anew from here; where the system cannot, it stays that of the whole process."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    # 5 resets the largest resident set; see proc(5).
    with suppress(OSError):
        (PROCESS / "clear_refs").write_text("5", encoding="ascii")


def peak_gib() -> float:
    """GiB: the GPU's largest allocation where there is one, else the largest resident set, since `reset_peak`."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / GIB
    with suppress(OSError):
        for line in (PROCESS / "status").read_text(encoding="ascii").splitlines():
            name, _, value = line.partition(":")
            if name == "VmHWM":
                return int(value.split()[0]) * 1024 / GIB
    return peak_memory_mb() * 2**20 / GIB
