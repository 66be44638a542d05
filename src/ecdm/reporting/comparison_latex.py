"""The tables of the comparison in LaTeX: a document of its own, whose tables a paper can take."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ecdm.reporting.comparison_published import published_table_1
from ecdm.reporting.comparison_results import Comparison
from ecdm.reporting.comparison_tables import Block, Column, Entry, GroupedTable, Row
from ecdm.reporting.comparison_text import own_tables
from ecdm.reporting.labels import data_title, model_title
from ecdm.reporting.marks import SIGNS

RANKED = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "third": r"\textit{%s}", "": "%s"}
# What stands for a character, or for several, in text.
CHARACTERS = {
    "ℓ1": r"$\ell_1$",
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "–": "--",
    "−": "$-$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "†": r"$^{\dagger}$",
    "‡": r"$^{\ddagger}$",
    "∗": r"$^{\ast}$",
}
SPECIAL = re.compile("|".join(map(re.escape, CHARACTERS)))
NEGATIVE = re.compile(r"-(?=\d)")
PREAMBLE = r"""% Made by the stage `comparison`. The tables need booktabs and amssymb.
% A paper that uses the package docmute can \input this file as it is.
\documentclass{article}
\usepackage[a4paper,landscape,margin=15mm]{geometry}
\usepackage{amssymb,booktabs}
\begin{document}
"""


def comparison_document(found: Comparison) -> str:
    """All tables as a LaTeX document, the published one last and labelled as such."""
    parts = [latex(table, caption(found, table)) for table in own_tables(found)]
    published = published_table_1()
    label = (
        f"{published.title}, as printed: published on other data with other weights and true LPIPS, not comparable "
        "with the tables above."
    )
    return PREAMBLE + "\n".join([*parts, latex(published, " ".join([label, *published.notes]))]) + "\\end{document}\n"


def caption(found: Comparison, table: GroupedTable) -> str:
    """What a table shows and what those of its marks mean that it may have, as plain text."""
    first, second = (data_title(name) for name in found.scope.datasets)
    text = f"{table.title}. Data: {first}, and {second}."
    if any(entry.rank for entry in table.entries):
        text += " Best bold, second underlined, third in italics."
    if found.changes:
        better, worse = SIGNS.values()
        ours, level = model_title(found.scope.ours), f"{100 * found.draws.level:g} %"
        text += (
            f" {better} better, {worse} worse than {ours}: the {level} interval of the paired difference excludes 0."
        )
    if any(column.title == "lpips_random" for column in table.columns):
        text += " lpips_random has a random trunk and is not LPIPS."
    return " ".join([text, *table.notes])


def escaped(text: str) -> str:
    """Plain text as LaTeX shows it; triangles, arrows and signs of notes become formulas."""
    return SPECIAL.sub(lambda found: CHARACTERS[found[0]], text)


def latex(table: GroupedTable, caption: str) -> str:
    """A table environment after booktabs' manner."""
    names = ["Holes", "Method"] if table.masked else ["Method"]
    widths = [len(group.columns) for group in table.groups]
    starts = [len(names) + 1 + sum(widths[:place]) for place in range(len(widths))]
    spans = [rf"\multicolumn{{{k}}}{{c}}{{{escaped(g.heading)}}}" for k, g in zip(widths, table.groups, strict=True)]
    rules = [rf"\cmidrule(lr){{{start}-{start + k - 1}}}" for start, k in zip(starts, widths, strict=True)]
    lines = [
        r"\begin{table}[p]",
        r"\centering\scriptsize\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{escaped(caption)}}}\label{{tab:{table.name}}}",
        rf"\begin{{tabular}}{{{'l' * len(names)}{'r' * sum(widths)}}}",
        r"\toprule",
        _line([*([""] * len(names)), *spans]),
        "".join(rules),
        _line([*names, *map(_heading, table.columns)]),
        *(line for block in table.blocks for line in [r"\midrule", *_rows(block)]),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _rows(block: Block) -> list[str]:
    return [
        _row(row, [block.title if place == 0 else ""] if block.bucket else []) for place, row in enumerate(block.rows)
    ]


def _row(row: Row, masks: Sequence[str]) -> str:
    return _line([*map(escaped, (*masks, row.title)), *map(_entry, row.entries)])


def _line(cells: Sequence[str]) -> str:
    return rf"{' & '.join(cells)} \\"


def _heading(column: Column) -> str:
    metric = column.metric
    if metric is None:
        return escaped(column.title)
    title = rf"\texttt{{{escaped(metric.title)}}}" if metric.title == metric.name else escaped(metric.title)
    return f"{title} {escaped('↑' if metric.higher else '↓')}"


def _entry(entry: Entry) -> str:
    text = RANKED[entry.rank] % _number(entry.value.text) + escaped(entry.sign)
    sign = rf"\,{escaped(SIGNS[entry.verdict])}" if entry.verdict in SIGNS else ""
    if entry.below is None:
        return f"{text}{sign}"
    # Without the braces an open bracket after a line break would be read as that break's argument.
    return rf"\begin{{tabular}}[t]{{@{{}}r@{{}}}}{text}{sign}\\{{}}{_number(entry.below.text)}\end{{tabular}}"


def _number(text: str) -> str:
    """A number with a true minus."""
    return escaped(NEGATIVE.sub("−", text))
