"""The comparison as Markdown: tables with marks, what it says of how they were made, files of the figures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from comparison_project import ComparisonProject

from ecdm.reporting.comparison_results import Comparison
from ecdm.reporting.comparison_tables import table_1, text_table
from ecdm.reporting.comparison_text import comparison_page, markdown, notes
from ecdm.reporting.grids import Grid
from ecdm.reporting.provenance import Input

GRIDS = [Grid("custom", "By hand", [], ""), Grid("strokes", "Strokes", [], "")]


@pytest.fixture
def found(tmp_path: Path) -> Comparison:
    return ComparisonProject(tmp_path, ("glide", "controlnet_inpaint", "unipaint", "copaint")).comparison()


def test_the_table_has_one_row_per_method_and_bucket(found: Comparison) -> None:
    lines = markdown(table_1(found, True)).splitlines()
    assert lines[0].startswith("| Holes | Method | Scenes<br>n | Scenes<br>PSNR ↑ |")
    assert "Shifted scenes<br>`lpips_random` ↓ |" in lines[0]
    assert lines[1].startswith("| :-- | :-- | --: | --: |")
    assert len(lines) == 2 + 3 * 5
    assert {line.count("|") for line in lines} == {13}
    assert lines[2].startswith("| 10–20 % | GLIDE (64 px) | 6 | 20.0000 ▼ |")
    assert lines[3].startswith("|  | Control Inpaint | 6 | <u>22.1000</u> |")
    assert lines[4].startswith("|  | Uni-paint | 3 | 16.4250 ▼ |")
    assert lines[5].startswith("|  | CoPaint | 6 | <b>23.0000</b> ▲ |")
    assert lines[6].startswith("|  | Ours | 6 | <i>22.0000</i> |")
    assert lines[7].startswith("| 30–40 % | GLIDE")


def test_second_lines_become_breaks(found: Comparison) -> None:
    assert "| <b>29.0000</b> ▲<br>[27." in markdown(text_table(found))


def test_the_page_has_every_part(found: Comparison) -> None:
    page = comparison_page(found, GRIDS, [Input("build/compared", "0123.dir", 10, 99)])
    places = [page.index(f"## {title}\n") for title in (
        *("After the paper's Table 1, pasted", "Differences to Ours, pasted", "After the paper's Table 1, raw outputs"),
        *("Text alignment", "Attributes and cost", "Pictures", "Published values", "Inputs"),
    )]  # fmt: skip
    assert places == sorted(places)
    assert "![By hand](figures/custom.png)" in page
    assert "| `build/compared` | `0123.dir` | 10 | 99 |" in page
    assert page.index("Not comparable with the numbers above") < page.index("21.8992")
    assert "\n- † Probably a copying error" in page


def test_what_is_said_of_how_it_was_made(found: Comparison) -> None:
    text = "\n".join(notes(found))
    for part in (
        "held-out embedded scenes, and scenes of another distribution, on which nothing was trained",
        "▲ better and ▼ worse than Ours where the 95 % interval of the difference, paired over the images that both",
        "bootstrap over images, 200 resamples",
        "**It is not LPIPS**",
        "what GLIDE (64 px a side) makes is enlarged to 128 px",
        "the variant `ours` of the ablation",
    ):
        assert part in text


def test_no_native_size_is_told_where_none_is_smaller(found: Comparison) -> None:
    facts = {run: replace(one, native_size=None) for run, one in found.facts.items()}
    assert "Native size" not in "\n".join(notes(replace(found, facts=facts)))


def test_a_method_that_did_not_run_is_not_told_of(tmp_path: Path) -> None:
    """As under the profiles of Stable Diffusion 1.5, which have no pixel network."""
    page = comparison_page(ComparisonProject(tmp_path, ("sd_inpaint", "unipaint")).comparison(), GRIDS, [])
    measured = page[: page.index("## Published values")]
    assert not [name for name in ("Blended", "CoPaint", "GLIDE") if name in measured]
    text = "\n".join(notes(ComparisonProject(tmp_path).comparison()))
    assert "which guides Blended Diffusion as well" in text
    assert "CoPaint's line searches" in text


def test_attributes_are_told_of_where_they_were_scored(found: Comparison) -> None:
    without = {cell: interval for cell, interval in found.means.items() if cell.dataset != "objects"}
    assert "Attributes are" in "\n".join(notes(found))
    assert "Attributes are" not in "\n".join(notes(replace(found, means=without)))


@pytest.mark.parametrize(
    ("methods", "candidates", "told"),
    [(("blended",), 4, True), (("blended",), 1, False), (("glide",), 4, False)],
)
def test_a_choice_among_candidates_is_told(
    tmp_path: Path, methods: tuple[str, ...], candidates: int, told: bool
) -> None:
    found = ComparisonProject(tmp_path, methods).comparison()
    data = notes(replace(found, scope=replace(found.scope, candidates=candidates)))[0]
    assert ("one output per image, of Blended Diff. the best of 4 by CLIP" in data) == told
    assert "one output per image" in data


def test_what_makes_a_table_hard_to_read_stands_below_it(found: Comparison) -> None:
    page = comparison_page(found, GRIDS, [])
    raw = page[page.index("## After the paper's Table 1, raw") : page.index("## Text alignment")]
    assert raw.rstrip().endswith("GLIDE puts known pixels back itself at 64 px; its raw outputs have them enlarged.")
    text = page[page.index("## Text alignment") : page.index("## Attributes and cost")]
    assert "\n\nThe embedded CLIP (networks.source: bundled or train) never saw 11 words" in text


def test_ours_alone_has_no_differences_and_no_marks(tmp_path: Path) -> None:
    page = comparison_page(ComparisonProject(tmp_path, ()).comparison(), GRIDS, [])
    assert "Differences to Ours" not in page
    measured = page[page.index("## After the paper's") : page.index("## Published values")]
    assert not {"▲", "▼", "<b>", "<u>", "<i>"} & {part for part in ("▲", "▼", "<b>", "<u>", "<i>") if part in measured}
    assert "| 10–20 % | Ours | 6 | 22.0000 |" in measured
