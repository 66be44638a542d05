"""The comparison on the page: every number is that of its file's row, in the right place; absent without results."""

from __future__ import annotations

import csv
import re
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from browser import DESKTOP, PHONE, browser_page
from comparison_project import ComparisonProject, run_comparison
from report_project import Project, run_report
from ruamel.yaml import YAML

from ecdm.reporting.labels import METRICS, bucket_heading, model_title

SECTION = 'id="comparison"'
DECIMALS = {metric.name: metric.decimals for metric in METRICS}
TITLES = {metric.name: metric.title for metric in METRICS}
HEADINGS = {"scenes": "Scenes", "shifted": "Shifted scenes", "objects": "Objects"}
SCROLLED = "one => (one.scrollLeft = 200, one.scrollLeft)"


class Linked(NamedTuple):
    """A link in a table: row's title, heading above, masks, column's place, link, text."""

    row: str
    table: str
    masks: str
    column: int
    href: str
    text: str


class Tables(HTMLParser):
    """Links of the grouped tables, with their place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[Linked] = []
        self.groups: dict[str, list[str]] = {}
        self._table = self._masks = self._row = self._href = ""
        self._column, self._texts, self._in = -1, [""], ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if named.get("role") == "region":
            self._table, self._masks = named["aria-label"] or "", ""
        if tag == "tr":
            self._column = -1
        if tag == "td":
            self._column += 1
        if tag == "a":
            self._href = named.get("href") or ""
        if tag in ("th", "a", "summary"):
            self._texts = [""]
            self._in = named.get("scope") or tag

    def handle_data(self, data: str) -> None:
        self._texts.append(data)

    def handle_endtag(self, tag: str) -> None:
        text = " ".join("".join(self._texts).split())
        if tag == "table":
            self._column = -1
        if tag == "th" and self._in == "colgroup":
            self.groups.setdefault(self._table, []).append(text)
            self._masks = text
        if tag == "th" and self._in == "row":
            self._row = text
        if tag == "a" and self._column >= 0:
            self.found.append(Linked(self._row, self._table, self._masks, self._column, self._href, text))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ablation and a comparison with six methods, both reported; of the second its results alone are left."""
    root = tmp_path_factory.mktemp("page")
    ComparisonProject(root).write_tree()
    done = run_comparison(root)
    assert done.returncode == 0, done.stderr
    for made in ("build/compare", "build/compared", "data/custom"):
        shutil.rmtree(root / made)
    ablation = Project(root)
    ablation.write_all_scores()
    ablation.write_tree()
    done = run_report(root)
    assert done.returncode == 0, done.stderr
    return root


@pytest.fixture
def text(tree: Path) -> str:
    """The section of the comparison."""
    page = (tree / "reports" / "report.html").read_text(encoding="utf-8")
    return page[page.index(f"<section {SECTION}") :].partition("</section>")[0]


def row(path: Path, key: str) -> dict[str, str]:
    """The only row of a CSV file that the key names."""
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = ("dataset", "method", "bucket", "metric")
    (found,) = [one for one in rows if ",".join(one[n] for n in names) + f",pasted={one['pasted']}" == key]
    return found


def test_every_number_is_its_files(tree: Path, text: str) -> None:
    counts: dict[str, int] = {}
    for one in Tables(text).found:
        path, _, key = one.href.partition("#")
        counts[path] = counts.get(path, 0) + 1
        shown = one.text.replace("−", "-")
        if path == "comparison.json":
            continue
        found = row(tree / "reports" / path, key)
        low, mean, high = (float(found[name]) for name in ("ci_low", "mean", "ci_high"))
        if path == "comparison_differences.csv":
            digits = DECIMALS[found["metric"]]
            assert shown == f"{mean:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]".replace("-0.000 ", "+0.000 ")
        else:
            assert shown in (f"{mean:.4f}", f"[{low:.4f}, {high:.4f}]", found["n"])
    # Table 1, pasted and raw: buckets, runs, data sets; CLIP scores and single items have means and intervals.
    means = 2 * 3 * 7 * 2 * (1 + 4) + 3 * 7 * 2 * (1 + 2) + 7 * (1 + 2 * 4)
    assert counts == {"comparison.csv": means, "comparison_differences.csv": 2 * 3 * 6 * 2 * 4, "comparison.json": 14}


def test_every_number_stands_where_its_key_says(text: str) -> None:
    tables = Tables(text)
    kinds = {"After the paper's Table 1, pasted": "1", "After the paper's Table 1, raw outputs": "0"}
    checked = 0
    for one in tables.found:
        if one.table not in kinds or one.href.startswith("comparison.json"):
            continue
        dataset, method, bucket, metric, pasted = one.href.partition("#")[2].split(",")
        assert one.row == (f"{model_title(method)} (64 px)" if method == "glide" else model_title(method))
        assert pasted == f"pasted={kinds[one.table]}"
        assert one.masks == bucket_heading(bucket)
        group, place = divmod(one.column, 5)
        assert ("Scenes", "Shifted scenes")[group] == HEADINGS[dataset]
        assert metric == ("psnr", "psnr", "ssim", "l1", "lpips_random")[place]
        checked += 1
    assert checked == 2 * 3 * 2 * (7 * 5 + 6 * 4)
    assert tables.groups["Attributes and cost"] == ["Objects", "Per image"]


def test_counts_of_cost_are_their_files(tree: Path, text: str) -> None:
    content = YAML(typ="safe").load((tree / "reports/comparison.json").read_text(encoding="utf-8"))
    for one in Tables(text).found:
        path, _, pointer = one.href.partition("#")
        if path == "comparison.json":
            value: Any = content
            for key in pointer.strip("/").split("/"):
                value = value[key]
            expected = (
                ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else f"{value / 1e9:.2f}"
            )
            assert one.text == expected


def test_pictures_and_files_are_there(tree: Path, text: str) -> None:
    for name in re.findall(r'href="([\w/]+\.(?:csv|json|md|tex|png))"', text):
        assert (tree / "reports" / name).is_file(), name
    # Two inputs and seven runs in six rows of either figure.
    assert text.count("data:image/webp") == 2 * 6 * 9
    assert "Original: caption 1 of custom &amp; more" in text
    assert "Wide strokes: caption 1 of scenes &amp; more" in text


def test_anchors_lead_to_the_tables(text: str) -> None:
    names = ("pasted", "raw", "text", "cost", "published")
    assert re.findall(r'id="(comparison-\w+)"', text) == [f"comparison-{name}" for name in names]


def test_published_values_stand_apart_with_label_and_doubts(text: str) -> None:
    part = text[text.index('class="apart"') :]
    assert part.index("Not comparable with the numbers above") < part.index("29.8000")
    assert part.count("<sup>†</sup>") == 3
    assert part.count("<sup>‡</sup>") == 4
    assert "† Probably a copying error" in part
    assert not Tables(part).found


def test_the_page_rests_on_the_files_of_the_comparison(tree: Path) -> None:
    page = (tree / "reports" / "report.html").read_text(encoding="utf-8")
    for name in ("comparison.csv", "comparison_differences.csv", "comparison.json", "figures"):
        assert f'href="../reports/{name}"' in page
    assert 'href="#comparison"' in page


@pytest.fixture
def report(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, load_stage: Callable[[str], ModuleType]
) -> Callable[[], None]:
    """The report stage on a copy of the tree, which is the working directory."""
    shutil.copytree(tree, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    main: Callable[[], None] = load_stage("report").main
    return main


def test_without_a_comparison_its_section_is_gone(report: Callable[[], None]) -> None:
    Path("reports/comparison.json").unlink()
    report()
    page = Path("reports/report.html").read_text(encoding="utf-8")
    assert "comparison" not in page.replace("comparisons are not corrected", "")
    assert "<h1>Inpainting report</h1>" in page


def test_half_a_comparison_is_an_error(report: Callable[[], None]) -> None:
    Path("reports/comparison_differences.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"^reports/comparison_differences\.csv: no such file"):
        report()


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_in_a_browser_it_is_quiet_and_never_sideways(tree: Path, size: tuple[int, int]) -> None:
    with browser_page(size) as (page, seen):
        page.goto((tree / "reports" / "report.html").as_uri())
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
        titles = page.locator("main h2").all_inner_texts()
        assert page.locator("nav a").all_inner_texts() == titles
        reached = [frame.evaluate(SCROLLED) for frame in page.locator("#comparison .scroll").all()]
        if size == DESKTOP:
            # Nothing is out of sight: not the last column of a table with two data sets, not that of the pictures.
            assert set(reached) == {0}
        else:
            assert reached[0] == 200
        frame = page.locator("#comparison .scroll").first
        name, group = (frame.locator(part).first.bounding_box() for part in ("tbody tr:nth-child(2) th", "thead span"))
        assert name is not None
        assert group is not None
        # Method and data set stay in view, the one beside the other.
        assert name["x"] < 400
        assert group["x"] >= name["x"] + name["width"] - 1
        assert seen.errors == []
