"""Rows of other people's JSON, JSON lines and CSV files, checked against a model; faults are named with their place."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

Row = TypeVar("Row", bound=BaseModel)

BOM = b"\xef\xbb\xbf"
SHOWN = 80


def json_file(model: type[Row], path: Path) -> Row:
    """The content of a JSON file; FileNotFoundError without it, ValueError naming file and key for another form."""
    return _json(model, _bytes(path), str(path))


def json_lines(model: type[Row], path: Path) -> Iterator[Row]:
    """The rows of a JSON-lines file in turn, blank lines left out; raises as `json_file`, naming the line too."""
    _look_for(path)
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield _json(model, line.removeprefix(BOM), f"{path}: line {number}")


def csv_lines(path: Path) -> Iterator[Mapping[str, str]]:
    """The rows of a UTF-8 CSV file with a header, in turn.

    Raises: FileNotFoundError without it; ValueError naming the file for other encodings, and the line for a row
    that has more or fewer cells than the header.
    """
    _look_for(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                if None in row or None in row.values():
                    columns = len(reader.fieldnames or ())
                    raise ValueError(f"line {reader.line_num}: expected {columns} cells, as the header has")
                yield row
        except (ValueError, csv.Error) as error:
            raise ValueError(f"{path}: {error}") from error


def _look_for(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")


def _bytes(path: Path) -> bytes:
    _look_for(path)
    return path.read_bytes().removeprefix(BOM)


def _json(model: type[Row], text: bytes, where: str) -> Row:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = "".join(f"{part}: " for part in (".".join(map(str, first["loc"])),) if part)
        expected = first["msg"].removeprefix("Input should be ")
        raise ValueError(f"{where}: {key}found {str(first['input'])[:SHOWN]!r}, expected {expected}") from error
