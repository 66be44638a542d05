"""The quality gates as the gates stage recorded them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecdm.data.coco import read_json


@dataclass(frozen=True)
class Gate:
    """One gate, its numbers as text; empty text where the file gives nothing."""

    name: str
    value: str
    bound: str
    interval: str
    holds: bool
    note: str


@dataclass(frozen=True)
class Gates:
    """All gates, and whether a failed one stops the pipeline."""

    enforced: bool
    gates: tuple[Gate, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the gates that do not hold."""
        return tuple(gate.name for gate in self.gates if not gate.holds)


def read_gates(path: Path) -> Gates:
    """Read gates.json: `enforced` and `gates`, a mapping from names to entries.

    Each entry has `holds` and may have value, bound (the least that holds), interval, note.
    Raises: FileNotFoundError without the file; ValueError naming the gate for another shape.
    """
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("gates"), dict):
        raise ValueError(f"{path}: found {type(content).__name__}, expected a mapping with enforced and gates")
    enforced = _flag(path, "", content, "enforced")
    return Gates(enforced, tuple(_gate(path, name, entry) for name, entry in content["gates"].items()))


def _flag(path: Path, place: str, entry: Mapping[str, Any], key: str) -> bool:
    if not isinstance(entry.get(key), bool):
        raise ValueError(f"{path}: {place}{key}: found {entry.get(key)!r}, expected true or false")
    return bool(entry[key])


def _gate(path: Path, name: str, entry: Any) -> Gate:
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: {name}: found {entry!r}, expected a gate with value, bound and holds")
    holds = _flag(path, f"{name}.", entry, "holds")
    found, bound, interval, note = (_text(entry.get(key)) for key in ("value", "bound", "interval", "note"))
    # A difference has to lie above 0 with its whole interval.
    limit = "> 0" if entry.get("bound") == 0 else bound and f"≥ {bound}"
    return Gate(name, found, limit, interval, holds, note)


def _text(value: Any) -> str:
    """Numbers to four significant digits, lists in brackets, mappings as `key value` pairs."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value + 0.0:.4g}"  # without a minus before zero
    if isinstance(value, list):
        return f"[{', '.join(_text(item) for item in value)}]"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    return str(value)
