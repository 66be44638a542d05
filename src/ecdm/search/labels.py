"""How searched keys, objectives and numbers are called and printed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TITLES = {
    "sail.lambda": "λ",
    "sail.features": "features",
    "acda.radius": "radius",
    "acda.domain": "domain",
    "acda.window": "window",
    "train.lr": "learning rate",
    "seed": "seed",
}
# Whose values the trials of a phase repeat.
REPEATED = {"noise": "paper's values", "confirm": "best values"}
# Decimals of an objective by its metric; any other number has five significant digits.
DECIMALS = {"psnr": 3, "psnr_hole": 3}
UNITS = {"psnr": "dB", "psnr_hole": "dB"}
SIGNIFICANT = 8


def place_name(phase: str, slot: int, seed: int | None) -> str:
    """What fills a slot: `trial 07`, or where values are repeated `paper's values, seed 2`."""
    return f"{REPEATED[phase]}, seed {seed}" if phase in REPEATED else f"trial {slot:02d}"


def title(key: str) -> str:
    """What a figure calls a dotted key."""
    return TITLES.get(key, key)


def unit(name: str) -> str:
    """The unit of an objective, with a space before it, or nothing."""
    found = UNITS.get(name.partition("/")[0])
    return f" {found}" if found else ""


def axis(name: str) -> str:
    """An objective with its unit."""
    return f"{name},{unit(name)}" if unit(name) else name


def number(name: str, value: float, sign: str = "") -> str:
    """A value of an objective as people read it; `sign` "+" prints that of a difference."""
    decimals = DECIMALS.get(name.partition("/")[0])
    if decimals is None:
        return f"{value:{sign}.5g}".replace("-", "−")
    return f"{round(value, decimals) + 0.0:{sign}.{decimals}f}".replace("-", "−")


def setting(value: Any) -> str:
    """A searched value as people read it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def settings(values: Mapping[str, Any]) -> str:
    """`λ 0.12, radius 6`."""
    return ", ".join(f"{title(key)} {setting(value)}" for key, value in values.items())


def rounded(value: float) -> float:
    """As the files hold it: digits that depend on nothing but the trial."""
    return float(f"{value:.{SIGNIFICANT}g}")


def cell(value: float) -> str:
    """The same as text; counts in full."""
    return str(int(value)) if value.is_integer() and abs(value) < 2**53 else f"{value:.{SIGNIFICANT}g}"
