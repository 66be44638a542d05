"""Everything that the page shows beside scores and gates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecdm.config import load_variant
from ecdm.reporting.comparison_page import ComparedSection, read_section
from ecdm.reporting.cost import Cost, read_costs
from ecdm.reporting.grids import Grid
from ecdm.reporting.histories import Histories
from ecdm.reporting.pictures import Gallery, galleries
from ecdm.reporting.provenance import Input, settings, versions
from ecdm.reporting.search import Searched, read_search


@dataclass(frozen=True)
class Material:
    """What the page shows beside the scores: all of it read and drawn already.

    `settings`: dotted key of params.yaml → value. `variants`: file of a variant's settings → the same.
    """

    histories: Histories
    galleries: Sequence[Gallery]
    quality: int
    costs: Sequence[Cost]
    inputs: Sequence[Input]
    libraries: Mapping[str, str]
    settings: Mapping[str, str]
    variants: Mapping[str, Mapping[str, str]]
    search: Searched | None
    comparison: ComparedSection | None

    @classmethod
    def read(
        cls, build: Path, reports: Path, variants: Sequence[str], histories: Histories, grids: Sequence[Grid],
        inputs: Sequence[Input], used: Mapping[str, Any],
    ) -> Material:  # fmt: skip
        """Read costs and settings of the variants, and what search and comparison found where there are any.

        `used`: what is listed of params.yaml.
        """
        own = [build / "variants" / f"{name}.yaml" for name in variants]
        return cls(
            histories,
            *galleries(grids),
            read_costs(build / "cost", variants),
            inputs,
            versions(),
            settings(used),
            {path.as_posix(): settings(_settings(path)) for path in own},
            read_search(reports),
            read_section(reports),
        )


def _settings(path: Path) -> dict[str, Any]:
    """A variant's settings under its name."""
    return {path.stem: {k: v for k, v in load_variant(path).model_dump(by_alias=True).items() if k != "name"}}
