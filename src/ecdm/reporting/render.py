"""Jinja templates of the pages; everything that goes into one is escaped unless it is markup already."""

from __future__ import annotations

import re
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

ASSETS = Path(__file__).parent / "assets"
MARKS = ((r"\*\*(.+?)\*\*", r"<strong>\1</strong>"), (r"\*(.+?)\*", r"<em>\1</em>"), (r"`(.+?)`", r"<code>\1</code>"))
SUBSCRIPT = re.compile(r"\$_\{(\w+)\}\$")


def render(template: str, **values: object) -> str:
    """Fill a template of assets/; an undefined name is an error."""
    loader = FileSystemLoader(ASSETS)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"inline": inline, "subscript": subscript, "breakable": breakable, "minus": minus}
    return environment.get_template(template).render(**values)


def inline(text: str) -> Markup:
    """One line of Markdown: strong, emphasis and code alone, everything else escaped."""
    html = str(escape(text))
    for pattern, replacement in MARKS:
        html = re.sub(pattern, replacement, html)
    return Markup(html)


def breakable(name: str) -> Markup:
    """A name that may be broken after its separators, as narrow columns need."""
    return Markup(re.sub(r"([._@/-])(?=\w)", r"\1<wbr>", str(escape(name))))


def subscript(title: str) -> Markup:
    """A figure's title with its subscripts, `L$_{soft}$`, in HTML."""
    return Markup(SUBSCRIPT.sub(r"<sub>\1</sub>", str(escape(title))))


def minus(text: str) -> str:
    """A number with a true minus."""
    return text.replace("-", "−")
