"""The search in the report: its answer, its numbers with their places, its picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from report_project import reported_project, run_report

from ecdm.reporting.search import SearchLine, read_search


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return reported_project(tmp_path, "a caption")


def place(content: Any, pointer: str) -> Any:
    for name in pointer.removeprefix("/").split("/"):
        content = content[name.replace("~1", "/")]
    return content


def test_every_number_is_where_it_says(root: Path) -> None:
    found = read_search(root / "reports")
    assert found is not None
    content = json.loads((root / "reports/search/summary.json").read_text())
    assert found.sentence == content["sentence"]
    assert (found.keys, found.objectives) == (("sail.lambda", "acda.radius"), ("psnr/50-60",))
    assert [line.title for line in found.lines] == ["Paper's values", "Best values"]
    cells = [cell for line in found.lines for cell in (*line.params, *line.values, *line.means)]
    assert len(cells) == 8
    for cell in cells:
        assert cell.path == "search/summary.json"
        assert float(cell.text) == pytest.approx(place(content, cell.key), rel=1e-4)
    assert [cell.text for cell in found.counts] == ["3", "1", "5"]
    assert found.picture is not None
    assert found.picture.width == 1200
    assert found.picture.source.startswith("data:image/webp;base64,")


def test_the_page_shows_it(root: Path) -> None:
    page = (root / "reports/report.html").read_text(encoding="utf-8")
    section = page[page.index('<section id="search">') : page.index('<section id="cost">')]
    for part in ("Paper\u2019s values", "search/summary.json#/paper/params/sail.lambda", 'href="search/summary.md"'):
        assert part.replace("\u2019", "&#39;") in section
    assert 'href="#search"' in page
    assert section.count("data:image/webp") == 1


def test_a_hyphen_in_a_name_is_no_minus(root: Path) -> None:
    path = root / "reports/search/summary.json"
    content = json.loads(path.read_text())
    content["sentence"] = "The best values gain 0.1 in psnr/50-60."
    path.write_text(json.dumps(content))
    assert run_report(root).returncode == 0
    page = (root / "reports/report.html").read_text(encoding="utf-8")
    assert "<strong>The best values gain 0.1 in psnr/50-60.</strong>" in page


def test_a_page_without_a_search(root: Path) -> None:
    for path in (root / "reports/search").iterdir():
        path.unlink()
    assert read_search(root / "reports") is None
    assert run_report(root).returncode == 0
    page = (root / "reports/report.html").read_text(encoding="utf-8")
    assert 'id="search"' not in page
    assert "the search" not in page[: page.index("<nav")]


def test_a_search_that_has_just_begun(root: Path) -> None:
    path = root / "reports/search/summary.json"
    content = json.loads(path.read_text())
    content |= {"best": None, "noise": None, "confirm": None}
    content["paper"]["values"] = None
    path.write_text(json.dumps(content))
    found = read_search(root / "reports")
    assert found is not None
    (line,) = found.lines
    assert isinstance(line, SearchLine)
    assert [cell.text for cell in (*line.values, *line.means)] == ["–", "–"]


@pytest.mark.parametrize("text", ["{}", "[1]", "{"])
def test_a_broken_file_is_named(root: Path, text: str) -> None:
    (root / "reports/search/summary.json").write_text(text)
    with pytest.raises(ValueError, match=r"search/summary\.json: found .*, expected what `ecdm tune report` writes"):
        read_search(root / "reports")
