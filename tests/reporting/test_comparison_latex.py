"""The tables in LaTeX: environments closed, cells counted, everything escaped; what a document needs is declared."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from comparison_project import ComparisonProject

from ecdm.reporting.comparison_latex import caption, comparison_document, escaped, latex
from ecdm.reporting.comparison_published import published_table_1
from ecdm.reporting.comparison_results import Comparison
from ecdm.reporting.comparison_tables import change_table, cost_table, table_1

TABLES = ("pasted", "differences", "raw", "text", "cost", "published")


@pytest.fixture
def found(tmp_path: Path) -> Comparison:
    return ComparisonProject(tmp_path, ("glide", "controlnet_inpaint", "unipaint", "copaint")).comparison()


def environments(text: str) -> list[str]:
    """Names of all environments in the order of their start; fails where one is not closed in its turn."""
    opened: list[str] = []
    order: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
            order.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    return order


def columns(row: str) -> int:
    """Columns that a row fills: separators outside of cells that are tables themselves, spans counted."""
    outer = re.sub(r"\\begin\{tabular\}.*?\\end\{tabular\}", "", row).removesuffix(r" \\")
    spans = [int(count) for count in re.findall(r"\\multicolumn\{(\d+)\}", outer)]
    return len(re.findall(r"(?<!\\)&", outer)) + 1 + sum(spans) - len(spans)


def test_every_row_fills_the_columns_of_its_table(found: Comparison) -> None:
    tables = re.findall(r"\\begin\{table\}.*?\\end\{table\}", comparison_document(found), re.DOTALL)
    assert len(tables) == len(TABLES)
    for table in tables:
        (shape,) = re.findall(r"^\\begin\{tabular\}\{([lr]+)\}$", table, re.MULTILINE)
        rows = [line for line in table.splitlines() if line.endswith(r" \\")]
        assert {columns(row) for row in rows} == {len(shape)}
        assert len(rows) in (2 + 3 * 5, 2 + 3 * 4, 2 + 5, 2 + 3 * 7)


def test_environments_and_braces_are_balanced(found: Comparison) -> None:
    text = comparison_document(found)
    order = environments(text)
    assert order[0] == "document"
    assert order.count("table") == len(TABLES)
    bare = re.sub(r"\\[^a-zA-Z]", "", text)
    assert bare.count("{") == bare.count("}")
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0
    assert [f"comparison-{name}" for name in TABLES] == re.findall(r"\\label\{tab:([\w-]+)\}", text)


def test_only_declared_packages_and_plain_characters_are_used(found: Comparison) -> None:
    text = comparison_document(found)
    assert r"\usepackage{amssymb,booktabs}" in text
    assert text.isascii()
    known = {
        *("documentclass", "usepackage", "begin", "end", "centering", "scriptsize", "setlength", "tabcolsep", "input"),
        *("caption", "label", "toprule", "midrule", "bottomrule", "cmidrule", "multicolumn", "textbf", "underline"),
        *("textit", "texttt", "uparrow", "downarrow", "blacktriangle", "blacktriangledown", "ell", "dagger", "ddagger"),
        "ast",
    }
    assert set(re.findall(r"\\([a-zA-Z]+)", text)) <= known


def test_marks_and_ranks(found: Comparison) -> None:
    text = latex(table_1(found, True), "A caption")
    assert r"10--20 \% & GLIDE (64 px) & 6 & 20.0000\,$\blacktriangledown$ &" in text
    assert r" & Control Inpaint & 6 & \underline{22.1000} &" in text
    assert r" & CoPaint & 6 & \textbf{23.0000}\,$\blacktriangle$ &" in text
    assert r" & Ours & 6 & \textit{22.0000} &" in text
    assert r"\multicolumn{5}{c}{Shifted scenes}" in text
    assert r"\cmidrule(lr){3-7}\cmidrule(lr){8-12}" in text
    assert r"Mean $\ell_1$ $\downarrow$ & \texttt{lpips\_random} $\downarrow$" in text


def test_an_interval_below_does_not_become_the_argument_of_the_break(found: Comparison) -> None:
    text = latex(change_table(found), "")
    assert r"\begin{tabular}[t]{@{}r@{}}$-$2.000\,$\blacktriangledown$\\{}[$-$2.000, $-$2.000]\end{tabular}" in text
    assert not re.search(r"\\\\\s*\[", text)


def test_a_table_without_masks_begins_with_the_methods(found: Comparison) -> None:
    text = latex(cost_table(found), "")
    assert r"\begin{tabular}{lrrrrrrr}" in text
    assert "\nMethod & n & CLIP score" in text
    assert r"\cmidrule(lr){2-6}\cmidrule(lr){7-8}" in text
    assert "unet 40 & 1.00 \\\\" in text


def test_captions_explain_the_marks_that_a_table_has(found: Comparison, tmp_path: Path) -> None:
    assert "Best bold" in caption(found, table_1(found, True))
    assert "lpips_random has a random trunk and is not LPIPS" in caption(found, table_1(found, True))
    assert "Best bold" not in caption(found, change_table(found))
    assert "the 95 % interval of the paired difference excludes 0" in caption(found, change_table(found))
    assert "lpips_random" not in caption(found, cost_table(found))
    alone = ComparisonProject(tmp_path, ()).comparison()
    assert "paired difference" not in caption(alone, table_1(alone, True))


def test_the_published_table_is_labelled_and_its_doubts_are_noted(found: Comparison) -> None:
    text = comparison_document(found)
    part = text[text.index("The paper's Table 1, as printed") :]
    assert part.startswith("The paper's Table 1, as printed: published on other data with other weights")
    assert r"0.7784$^{\dagger}$ & 0.0377$^{\dagger}$ & 0.1085$^{\dagger}$ \\" in part
    assert r"Uni-paint $^{\ast}$" in part
    assert r"$^{\ddagger}$ Probably a copying error" in part
    assert latex(published_table_1(), "").count(r"\dagger") == 3


def test_every_special_character_is_escaped() -> None:
    assert escaped(r"a_b & 5% of $1 #2 {x} ~^\ ℓ1") == (
        r"a\_b \& 5\% of \$1 \#2 \{x\} \textasciitilde{}\textasciicircum{}\textbackslash{} $\ell_1$"
    )
