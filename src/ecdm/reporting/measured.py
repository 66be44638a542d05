"""runs/report.html: what the last run of every stage took, on what hardware and at which commit; not tracked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecdm.reporting.render import render
from ecdm.runs import RUNS, describe, write_text

PAGE = "report.html"


@dataclass(frozen=True)
class Record:
    """The record of one stage run: seconds, MiB, ISO time, hardware in words, commit, whether it ended well."""

    stage: str
    started: str
    seconds: float
    memory: float
    hardware: str
    torch: str
    commit: str
    completed: bool
    file: str


def write_measured_page(root: Path) -> Path:
    """Write `root`/runs/report.html from the records beside it, and return its path.

    Raises: as `read_records`.
    """
    records = read_records(root / RUNS)
    path = root / RUNS / PAGE
    write_text(path, measured_page(records))
    return path


def read_records(folder: Path) -> list[Record]:
    """The last run of every stage, oldest first.

    Raises: FileNotFoundError where no stage has run; ValueError naming a file that is no record.
    """
    records = [_record(path) for path in sorted(folder.glob("*.json"))]
    if not records:
        raise FileNotFoundError(f"{folder}: found no record of a stage run; run `make repro` first")
    return sorted(records, key=lambda record: record.started)


def measured_page(records: Sequence[Record]) -> str:
    """The page as HTML."""
    return render(
        "measured.html",
        sections={"stages": "Stages", "setting": "Hardware and commit"},
        records=records,
        seconds=sum(record.seconds for record in records),
        longest=max(record.seconds for record in records) or 1.0,
        memory=max(record.memory for record in records),
        failed=[record.stage for record in records if not record.completed],
        settings=_settings(records),
    )


def _settings(records: Sequence[Record]) -> list[tuple[str, str, str, list[str]]]:
    """Hardware, version of torch and commit that occur together, with the stages that ran so."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for record in records:
        groups.setdefault((record.hardware, record.torch, record.commit), []).append(record.stage)
    return [(*group, stages) for group, stages in groups.items()]


def _record(path: Path) -> Record:
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        hardware = content["hardware"]
        return Record(
            stage=str(content["stage"]),
            started=str(content["started"]),
            seconds=float(content["seconds"]),
            memory=float(content["peak_memory_mb"]),
            hardware=describe(hardware),
            torch=str(hardware.get("torch", "")),
            commit=str(content["commit"] or ""),
            completed=bool(content["completed"]),
            file=path.name,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a record of a stage run: {error!r}") from error
