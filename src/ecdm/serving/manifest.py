"""A folder of pictures to inpaint: a JSON Lines file says which mask, prompt and seed each of them gets."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KEYS: dict[str, type] = {"image": str, "mask": str, "prompt": str, "seed": int}
LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class Task:
    """One picture: its files, what to fill in, from which seed, and the name of the output."""

    image: Path
    mask: Path
    prompt: str
    seed: int
    output: str


def read_manifest(path: Path, images: Path, masks: Path, seed: int) -> list[Task]:
    """Read one task a line; `image` and `mask` are names below the two folders, `seed` is the default.

    An output is called after its image, and after its line as well where several lines name that image.
    Raises: FileNotFoundError; ValueError naming the file and line for what is no such object, for unknown and
    missing keys, wrong types, files that do not exist, and for a manifest without a line.
    """
    rows = list(_rows(path))
    if not rows:
        raise ValueError(f"{path}: found no lines, expected one JSON object for each picture")
    stems = Counter(Path(row["image"]).stem for _, row in rows)
    tasks = []
    for number, row in rows:
        files = {"image": images / row["image"], "mask": masks / row["mask"]}
        for key, file in files.items():
            if not file.is_file():
                raise ValueError(f"{path}, line {number}: {key}: {file}: no such file")
        stem = Path(row["image"]).stem
        name = stem if stems[stem] == 1 else f"{stem}-{number}"
        tasks.append(Task(**files, prompt=row["prompt"], seed=row.get("seed", seed), output=f"{name}.png"))
    for name, count in Counter(task.output for task in tasks).items():
        if count > 1:
            raise ValueError(f"{path}: found {count} pictures whose output is called {name}, expected one")
    return tasks


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if path.is_dir():
        raise ValueError(f"{path}: found a folder, expected a file of JSON lines")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, found {error}") from error
    for number, line in enumerate(lines, start=1):
        if line.strip():
            yield number, _row(line, f"{path}, line {number}")


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: expected a JSON object: {error}") from error
    if not isinstance(row, dict):
        raise ValueError(f"{where}: found {type(row).__name__}, expected a JSON object")
    for key in row:
        if key not in KEYS:
            raise ValueError(f"{where}: found the key {key!r}, expected {', '.join(KEYS)}")
    for key, kind in KEYS.items():
        if key not in row and key != "seed":
            raise ValueError(f"{where}: {key}: missing")
        if key in row and type(row[key]) is not kind:
            raise ValueError(f"{where}: {key}: found {row[key]!r}, expected {kind.__name__}")
    if not 0 <= row.get("seed", 0) <= LARGEST_SEED:
        raise ValueError(f"{where}: seed: found {row['seed']}, expected 0 to {LARGEST_SEED}")
    return row
