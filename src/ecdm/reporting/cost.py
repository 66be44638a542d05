"""The counted cost of the variants, as the cost stage wrote it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ecdm.data.coco import read_json

# Column of the table → place in the file.
FIELDS = {
    "Weights trained": ("weights", "trained"),
    "Weights frozen, sampling": ("weights", "frozen"),
    "UNet evaluations per image": ("sampling", "unet_evaluations"),
    "Branch evaluations per image": ("sampling", "branch_evaluations"),
    "GFLOPs per image": ("sampling", "flops"),
    "GFLOPs per training image": ("training", "flops_per_image"),
    "GFLOPs per training step": ("training", "flops_per_step"),
}


@dataclass(frozen=True)
class Cost:
    """One variant's counts by `section/key`, and its file."""

    variant: str
    path: Path
    counts: Mapping[str, int]


def read_costs(folder: Path, variants: Sequence[str]) -> list[Cost]:
    """The counts of the variants.

    Raises: FileNotFoundError for a variant without a file; ValueError naming file and key for a missing count.
    """
    return [_read(folder / f"{name}.json", name) for name in variants]


def count_text(title: str, count: int) -> str:
    """A count as the table shows it: operations in units of 10⁹, all else in full with thin spaces."""
    return f"{count / 1e9:.2f}" if title.startswith("GFLOPs") else f"{count:,}".replace(",", "\u202f")


def _read(path: Path, variant: str) -> Cost:
    content = read_json(path)
    counts = {}
    for section, key in FIELDS.values():
        found = content.get(section, {}).get(key) if isinstance(content, dict) else None
        if type(found) is not int or found < 0:
            raise ValueError(f"{path}: {section}.{key}: found {found!r}, expected a count")
        counts[f"{section}/{key}"] = found
    return Cost(variant, path, counts)
