"""All pictures of the report as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ecdm.reporting.ablation import Findings
from ecdm.reporting.figures import bars, curves
from ecdm.reporting.grids import Grid, draw_grid
from ecdm.reporting.histories import Histories
from ecdm.reporting.labels import whole
from ecdm.reporting.summary import pooled


def draw(folder: Path, findings: Findings, histories: Histories, grids: Sequence[Grid]) -> None:
    """Write curves.png, differences.png and grids/<name>.png below `folder`."""
    for grid in grids:
        draw_grid(grid, folder / "grids" / f"{grid.name}.png")
    curves(histories, folder / "curves.png")
    bars(pooled(findings.changes), findings.buckets, whole(findings.metrics), folder / "differences.png")
