"""How every picture of numbers looks, and PNG files that are equal for equal figures."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

# 1600 px wide: twice the width at which a README shows it, hence the large type.
WIDTH, DPI = 10.0, 160
STYLE = {
    "font.size": 11.0,
    "axes.titlesize": 12.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#777777",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "xtick.color": "#333333",
    "ytick.color": "#333333",
    "legend.frameon": False,
    "legend.fontsize": 11.0,
    "savefig.facecolor": "white",
}
# Numbers as they are, without a common factor above the axis.
PLAIN = "{x:.4g}"
LEGEND: dict[str, Any] = {"loc": "outside lower center", "ncols": 4, "handlelength": 3.2}


@contextmanager
def drawing() -> Iterator[None]:
    """Matplotlib's defaults with this project's style, whatever the user's own settings are."""
    with style.context(["default", STYLE]):
        yield


def png(figure: Figure) -> bytes:
    """A PNG without software name or date, so that equal figures are equal bytes."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=figure.dpi, metadata={"Software": None})
    return content.getvalue()


def save(figure: Figure, path: Path) -> None:
    """Write `png` to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(figure))
