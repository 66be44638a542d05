"""The untracked record of a stage run: when, how long, how much memory, on what hardware, which commit."""

from __future__ import annotations

import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

RUNS = Path("runs")


@contextmanager
def stage_run(name: str, root: Path | None = None) -> Iterator[None]:
    """Write `runs/<name>.json` under `root` (default: the working directory) when the block ends.

    Keys: stage, started (ISO 8601, UTC), seconds, peak_memory_mb (of this process and of its children, the
    larger), hardware, commit, completed (false where the block raised). The file is replaced in one step.
    """
    # Fixed now: the block may move elsewhere.
    folder = Path(root or ".").resolve()
    started, clock, completed = datetime.now(UTC), time.perf_counter(), False
    try:
        yield
        completed = True
    finally:
        record = {
            "stage": name,
            "started": started.isoformat(timespec="seconds"),
            "seconds": round(time.perf_counter() - clock, 2),
            "peak_memory_mb": round(peak_memory_mb()),
            "hardware": hardware(),
            "commit": git(folder, "rev-parse", "HEAD"),
            "completed": completed,
        }
        write_text(folder / RUNS / f"{name}.json", json.dumps(record, indent=2) + "\n")


def peak_memory_mb() -> float:
    """Largest resident set so far, MiB, of this process or of any child that has ended."""
    unit = 1 if sys.platform == "darwin" else 1024
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(one).ru_maxrss for one in who) * unit / 2**20


def hardware() -> dict[str, str | int]:
    """CPU model and number of cores; torch's version and the GPU where torch is already imported."""
    found: dict[str, str | int] = {"cpu": _cpu_model(), "cores": os.cpu_count() or 1}
    torch = sys.modules.get("torch")
    if torch is not None:
        found["torch"] = str(torch.__version__)
        if torch.cuda.is_available():
            found["gpu"] = str(torch.cuda.get_device_name(0))
    return found


def describe(found: Mapping[str, str | int]) -> str:
    """`hardware` as one line."""
    cores = f"{found['cpu']}, {found['cores']} cores"
    return f"{cores}, {found['gpu']}" if "gpu" in found else cores


def _cpu_model() -> str:
    table = Path("/proc/cpuinfo")
    if table.is_file():
        for line in table.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def git(root: Path, *arguments: str) -> str | None:
    """What a git command prints in `root`; None without git, without a repository or where it fails."""
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def write_text(path: Path, text: str) -> None:
    """Write a file in one step: a reader sees the old content or the new, never a part.

    A symbolic link stays one, and the file keeps its permissions.
    """
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        beside.write_text(text, encoding="utf-8")
        if target.exists():
            beside.chmod(target.stat().st_mode & 0o7777)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)
