"""The comparison as a section of the page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ecdm.reporting.comparison_figures import FIGURES, read_sheets
from ecdm.reporting.comparison_published import published_table_1
from ecdm.reporting.comparison_results import ABOUT, CHANGES, MEANS, Comparison, read_comparison
from ecdm.reporting.comparison_tables import GroupedTable, cost_table, table_1, text_table
from ecdm.reporting.comparison_text import NOT_COMPARABLE, notes
from ecdm.reporting.labels import model_title
from ecdm.reporting.pictures import Gallery, encoded

# Bytes of the section's pictures, beside those of the others.
BUDGET = 1_000_000


@dataclass(frozen=True)
class ComparedSection:
    """What the section shows: tables with differences to `ours` in place, pictures, notes, the published table."""

    ours: str
    rivals: bool
    level: str
    pasted: GroupedTable
    raw: GroupedTable
    others: Sequence[GroupedTable]
    published: GroupedTable
    not_comparable: str
    galleries: Sequence[Gallery]
    quality: int
    notes: Sequence[str]

    @classmethod
    def of(cls, found: Comparison, pictures: tuple[Sequence[Gallery], int]) -> ComparedSection:
        """From what was found, and the pictures with their quality."""
        others = [table for table in (text_table(found), cost_table(found)) if table.blocks]
        return cls(
            model_title(found.scope.ours),
            bool(found.scope.methods),
            f"{100 * found.draws.level:g} %",
            table_1(found, True, "change"),
            table_1(found, False, "change"),
            others,
            published_table_1(),
            NOT_COMPARABLE,
            *pictures,
            notes(found),
        )


def read_section(reports: Path) -> ComparedSection | None:
    """The section of the comparison whose results lie in `reports`; None where there is none.

    Raises: as `read_comparison` and `read_sheets`.
    """
    found = read_comparison(reports)
    return None if found is None else ComparedSection.of(found, encoded(read_sheets(reports), BUDGET))


def section_files(reports: Path) -> list[Path]:
    """The files and folders in `reports` that the section comes from; none where there is no comparison."""
    return [reports / name for name in (MEANS, CHANGES, ABOUT, FIGURES) if (reports / ABOUT).is_file()]
