"""`ecdm timing` and `ecdm report`: time and memory of the last runs, as a table and as a page."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ecdm.commands.parsers import add_command
from ecdm.root import find_root
from ecdm.runs import RUNS


def register(commands: Any) -> None:
    """Add `timing` and `report` to the parsers of `commands`."""
    timing = add_command(commands, "timing", "show time and memory of every stage's last run")
    timing.add_argument("--since", type=Path, metavar="FILE", help="only stages that ended after FILE was changed")
    timing.set_defaults(command=_timing)

    report = add_command(commands, "report", "write runs/report.html: time, memory, hardware of the last runs")
    report.set_defaults(command=_report)


def _timing(options: argparse.Namespace) -> int:
    print(timing_table(find_root() / RUNS, options.since))
    return 0


def _report(options: argparse.Namespace) -> int:
    from ecdm.reporting.measured import write_measured_page

    root = find_root()
    print(write_measured_page(root).relative_to(root))
    return 0


def timing_table(folder: Path, since: Path | None = None) -> str:
    """Stage, start, seconds and peak memory of the last run of every stage, oldest first, their sum, and the
    seconds from the first start to the last end.

    `since`: a file; only stages whose record is younger than it are listed, and one line where there is none.
    Raises: FileNotFoundError where `since` is missing, and as `read_records`.
    """
    from ecdm.reporting.measured import read_records

    started = since.stat().st_mtime_ns if since else 0
    if since and not any(folder.glob("*.json")):
        found = []
    else:
        found = [r for r in read_records(folder) if (folder / r.file).stat().st_mtime_ns > started]
    if not found:
        return "no stage had to run: what changed came from DVC's cache"
    width = max(len(record.stage) for record in found)
    lines = [f"{'stage':<{width}}  {'started (UTC)':<16}  {'seconds':>9}  {'peak MiB':>8}"]
    for record in found:
        note, start = "" if record.completed else "  failed", record.started.replace("T", " ")[:16]
        lines.append(f"{record.stage:<{width}}  {start}  {record.seconds:>9.1f}  {record.memory:>8.0f}{note}")
    seconds, memory = sum(r.seconds for r in found), max(r.memory for r in found)
    starts = [datetime.fromisoformat(record.started) for record in found]
    ends = [start + timedelta(seconds=record.seconds) for start, record in zip(starts, found, strict=True)]
    elapsed = (max(ends) - min(starts)).total_seconds()
    lines += ["-" * len(lines[0]), f"{'total':<{width}}  {'':<16}  {seconds:>9.1f}  {memory:>8.0f}"]
    return "\n".join([*lines, f"{'elapsed':<{width}}  {'':<16}  {elapsed:>9.1f}"])
