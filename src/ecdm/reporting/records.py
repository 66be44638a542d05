"""Rows of the pipeline's CSV files."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path


def read_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[str, dict[str, str]]]:
    """Each row with its place, `<path>: line <n>`, for messages.

    Raises: FileNotFoundError without the file; ValueError naming the first of `columns` that it lacks.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = [name for name in columns if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(f"{path}: no column {missing[0]}, expected {', '.join(columns)}")
        for line, row in enumerate(reader, start=2):
            yield f"{path}: line {line}", row
