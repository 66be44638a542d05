"""The four variants of the ablation (Table 2): two switches and nothing else."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Variant:
    """One row: whether it trains with the soft loss (SAIL), whether it attends to frequency tokens (ACDA)."""

    name: str
    sail: bool
    acda: bool


VARIANTS: dict[str, Variant] = {
    variant.name: variant
    for variant in (
        Variant("baseline", sail=False, acda=False),
        Variant("sail", sail=True, acda=False),
        Variant("acda", sail=False, acda=True),
        Variant("ours", sail=True, acda=True),
    )
}
