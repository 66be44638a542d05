"""The search as one page that needs no other file and no network, and all that a tracking server gets of it."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from ecdm.drawing import drawing, png
from ecdm.search.figures import draw
from ecdm.search.findings import Findings, Studies
from ecdm.search.plots import Plot, plots
from ecdm.search.summary import progress
from ecdm.search.timeline import begun, timeline
from ecdm.search.verdict import judge

ASSETS = Path(__file__).parent / "assets"
PAGE, TIMELINE = "search.html", "timeline.png"
CONFIG = {"responsive": True, "displaylogo": False, "displayModeBar": False}


def mirror_files(studies: Studies) -> dict[str, bytes]:
    """File name → content: the page first, then every picture; the timeline last, once a trial has begun."""
    found = Findings(studies)
    files = {PAGE: _page(found).encode(), **draw(found)}
    if begun(found):
        with drawing():
            files[TIMELINE] = png(timeline(found))
    return files


def _page(found: Findings) -> str:
    """The page as HTML: the verdict first, then the interactive figures that the trials allow."""
    environment = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    shown = [
        {"title": plot.title, "read": plot.read, "plot": _markup(plot), "width": plot.width} for plot in plots(found)
    ]
    return environment.get_template("search.html").render(
        name=found.search.study_name,
        verdict=judge(found).sentence,
        progress=progress(found),
        plotly=Markup(get_plotlyjs()),
        parts=shown,
    )


def _markup(plot: Plot) -> Markup:
    return Markup(plot.figure.to_html(full_html=False, include_plotlyjs=False, div_id=plot.name, config=CONFIG))
