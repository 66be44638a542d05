"""The page: every number is that of the file it links to, nothing in a caption becomes markup, parts may be absent."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest
from report_project import reported_project, run_report
from ruamel.yaml import YAML

from ecdm.reporting import page as page_module
from ecdm.reporting.labels import METRICS, bucket_heading

CAPTION = "<script>alert(\"1\")</script> & <img src=x onerror=alert(2)> '$5' {{ 7 * 7 }}"
DECIMALS = {metric.name: metric.decimals for metric in METRICS}
TITLES = {
    **{"psnr": "PSNR", "ssim": "SSIM", "l1": "Mean ℓ1", "lpips_random": "lpips_random"},
    **{"psnr_hole": "Hole PSNR", "l1_hole": "Hole ℓ1"},
}
MODELS = {
    **{"baseline": "Baseline", "sail": "w/ SAIL", "acda": "w/ ACDA", "ours": "Ours"},
    **{"mean_fill": "Mean fill", "vae": "VAE ceiling"},
}


class Cell(NamedTuple):
    """A link in a table: label of the table's frame, its row's title, its column's heading, and the link."""

    frame: str
    row: str
    column: str
    href: str
    text: str
    look: str


class Page(HTMLParser):
    """Links (href, text), tags with attributes, texts of a page, cells of its tables."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.cells: list[Cell] = []
        self.text = ""
        self._open: dict[str, list[str]] = {}
        self._frame, self._columns, self._row = "", [""], [""]
        self._link: dict[str, str | None] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append((tag, found))
        if found.get("role") == "region":
            self._frame = found["aria-label"] or ""
        if tag == "tr":
            self._row = []
        if tag in ("a", "th", "td"):
            self._open[tag] = []
        if tag == "a":
            self._link = found
        if tag == "td":
            # Counted from its start: what is in a cell stands in the column that it opens.
            self._row.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag == "thead":
            self._columns = self._row
        text = " ".join("".join(self._open.pop(tag, [])).split())
        if tag == "th":
            self._row.append(text)
        if tag == "a":
            href, look = self._link.get("href") or "", self._link.get("class") or ""
            self.links.append((href, text))
            if "td" in self._open:
                self.cells.append(Cell(self._frame, self._row[0], self._columns[len(self._row) - 1], href, text, look))

    def handle_data(self, data: str) -> None:
        self.text += data
        for parts in self._open.values():
            parts.append(data)

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attrs[name] or "" for found, attrs in self.tags if found == tag and name in attrs]


def reported(root: Path) -> Page:
    done = run_report(root)
    assert done.returncode == 0, done.stderr
    return Page((root / "reports" / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All four variants, made to differ; a caption with markup; a gate that fails; reported."""
    return reported_project(tmp_path_factory.mktemp("page"), CAPTION)


@pytest.fixture
def page(tree: Path) -> Page:
    return Page((tree / "reports" / "report.html").read_text(encoding="utf-8"))


@pytest.fixture
def copy(tree: Path, tmp_path: Path) -> Path:
    """The tree for changes."""
    root = tmp_path / "copy"
    shutil.copytree(tree, root)
    return root


def cited(page: Page, ending: str) -> Iterator[tuple[Path, str, str]]:
    """Path, key and shown text of the numbers that cite files with this ending."""
    for href, text in page.links:
        path, mark, key = href.partition("#")
        if path.endswith(ending) and mark and key:
            yield Path(path), key, text.replace("−", "-")


def row(path: Path, key: str) -> dict[str, str]:
    """The only line of a CSV file that begins with the key."""
    lines = path.read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(f"{key},")]
    return next(csv.DictReader([lines[0], line]))


def test_every_mean_and_difference_is_its_files(tree: Path, page: Page) -> None:
    counts = {"ablation.csv": 0, "differences.csv": 0, "photos.csv": 0}
    for path, key, text in cited(page, ".csv"):
        found = row(tree / "reports" / path, key)
        counts[path.name] += 1
        if path.name == "differences.csv":
            ends = [float(found[name]) for name in ("ci_low", "mean", "ci_high")]
            assert ends[0] < ends[1] < ends[2]
            low, mean, high = (f"{end:+.{DECIMALS[found['metric']]}f}" for end in ends)
            assert re.sub(" [▲▼]", "", text) == f"{mean} [{low}, {high}]"
        else:
            assert text == f"{float(found['mean']):.4f}"
    # Buckets x models x metrics, pasted all six and raw four: six models on scenes, three differences; four models on
    # photographs, pasted.
    assert counts == {"ablation.csv": 2 * 6 * (6 + 4), "differences.csv": 2 * 3 * (6 + 4), "photos.csv": 2 * 4 * 6}


def test_every_number_stands_where_its_key_says(page: Page) -> None:
    """Row, column and section of a cell are the model, metric and bucket that its link names."""
    looks = set()
    numbers = [
        cell for cell in page.cells if cell.href.partition("#")[0] in ("ablation.csv", "differences.csv", "photos.csv")
    ]
    for cell in numbers:
        name, _, key = cell.href.partition("#")
        model, _, bucket, metric, pasted = key.split(",")
        part = {"1": "pasted", "0": "raw outputs"}[pasted]
        section = "Results on photographs, pasted" if name == "photos.csv" else f"Results, {part}"
        assert cell.frame == f"{section}, {bucket_heading(bucket)}"
        assert cell.row == MODELS[model]
        lower = metric in ("l1", "lpips_random", "l1_hole")
        assert cell.column == f"{TITLES[metric]} {'↓' if lower else '↑'}"
        if name == "differences.csv":
            low, high = (float(end) for end in cell.text.replace("−", "-").split("[")[1].rstrip("]").split(", "))
            expected = "open" if low <= 0 <= high else "better" if (low > 0) != lower else "worse"
            assert cell.look == f"change {expected}"
            assert {"better": "▲", "worse": "▼"}.get(expected, "[") in cell.text
            looks.add(expected)
    assert len(numbers) == 2 * 6 * 10 + 2 * 3 * 10 + 2 * 4 * 6
    assert looks == {"better", "worse", "open"}


def looked_up(path: Path, keys: list[str]) -> Any:
    """A value in a JSON or YAML file."""
    value = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    for key in keys:
        value = value[key.replace("~1", "/")]
    return value


def shown(value: Any) -> set[str]:
    """The ways in which the page may print a value of a JSON file."""
    if isinstance(value, list):
        return {f"[{', '.join(f'{end:.4g}' for end in value)}]"}
    return {f"{value / 1e9:.2f}", f"{value:,}".replace(",", " "), f"{value:.4g}", f"{value:.5g}", f"≥ {value:.4g}"}


def test_every_count_and_gate_is_its_files(tree: Path, page: Page) -> None:
    found = list(cited(page, ".json"))
    for path, key, text in found:
        assert text in shown(looked_up(tree / "reports" / path, key.strip("/").split("/")))
    assert len(found) == 4 * 7 + 3 + 11


def test_every_setting_is_its_files(tree: Path, page: Page) -> None:
    found = list(cited(page, ".yaml"))
    for path, key, text in found:
        keys = key.split(".")[0 if path.name == "params.yaml" else 1 :]
        value = looked_up(tree / "reports" / path, keys)
        if isinstance(value, float):
            assert float(text) == value
        else:
            assert text == (
                ", ".join(map(str, value)) if isinstance(value, list) else "off" if value is None else str(value)
            )
    assert {"seed", "seeds", "generate.steps", "ours.sail.lambda", "baseline.sail"} <= {key for _, key, _ in found}


def test_every_link_leads_to_a_file_or_a_section(tree: Path, page: Page) -> None:
    anchors = set(page.attributes("section", "id")) | {"main"}
    for href, _ in page.links:
        path, _, key = href.partition("#")
        if not path:
            assert key in anchors
        elif path not in ("../runs/report.html", "../src/ecdm/reporting/published.py"):
            assert (tree / "reports" / path).exists(), href
    shown = [href for href, _ in page.links if href.startswith("#") and href[1:] in anchors - {"main"}]
    assert set(page.attributes("section", "id")) == {href[1:] for href in shown}


def test_a_caption_stays_text(page: Page) -> None:
    assert CAPTION in page.text
    assert "script" not in {tag for tag, _ in page.tags}
    assert all(set(attrs) <= {"src", "width", "height", "alt"} for tag, attrs in page.tags if tag == "img")
    assert f"Ours: {CAPTION}" in page.attributes("img", "alt")


def test_the_page_needs_nothing_else(page: Page) -> None:
    assert {source.partition(";")[0] for source in page.attributes("img", "src")} == {"data:image/webp"}
    assert not {"script", "iframe", "object", "video"} & {tag for tag, _ in page.tags}
    assert all(href.startswith("data:") for tag, a in page.tags if tag == "link" for href in [a["href"] or ""])
    policy = page.attributes("meta", "content")
    assert any("default-src 'none'" in (text or "") for text in policy)


def test_charts_and_pictures_have_a_text(page: Page) -> None:
    assert all(page.attributes("img", "alt"))
    labels = [a.get("aria-label") for tag, a in page.tags if tag == "svg" and a.get("role") == "img"]
    assert len(labels) == 4 + 2
    assert all(labels)


def test_a_failed_gate_is_told_at_the_top_in_red_and_whether_it_is_enforced(page: Page) -> None:
    assert "alarm" in page.attributes("p", "class")
    assert "failed" in page.attributes("tr", "class")
    assert "were not enforced" in page.text[: page.text.index("Results")]
    assert "gates.enforce: false" in page.text


def test_gates_that_hold_raise_no_alarm(copy: Path) -> None:
    path = copy / "reports" / "gates.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"holds": false', '"holds": true'), encoding="utf-8")
    found = reported(copy)
    assert "alarm" not in found.attributes("p", "class")
    assert "failed" not in found.attributes("tr", "class")
    assert "The quality gate holds." in found.text
    content = json.loads(path.read_text(encoding="utf-8"))
    content["gates"]["second"] = content["gates"]["vae.psnr"]
    path.write_text(json.dumps(content), encoding="utf-8")
    assert "All 2 quality gates hold." in reported(copy).text


def test_published_values_stand_apart_with_their_label(page: Page) -> None:
    assert page.text.index("21.7218") > page.text.index("Not comparable with the numbers above")


def test_verdicts_count_metrics_of_whole_images(page: Page) -> None:
    """Of PSNR, SSIM, ℓ1 and the perceptual distance; hole columns would make six."""
    text = " ".join(page.text[: page.text.index("Counted from")].split())
    for variant, counts in (("w/ SAIL", "2 ▲ 2 ▼ 0 open"), ("w/ ACDA", "0 ▲ 0 ▼ 4 open"), ("Ours", "2 ▲ 2 ▼ 0 open")):
        assert f"{variant}{counts}{counts}" in text
    assert "without hole columns" in text


def test_without_baseline_pictures_and_curves_their_sections_are_gone(project: Any) -> None:
    root = project.write_tree(("sail",))
    for name in ("sail-0.csv", "reference.csv"):
        path = project.scores / name
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("photos")]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "build/train/sail-0/history.csv").write_text("step,name,value\n", encoding="utf-8")
    found = reported(root)
    assert found.attributes("section", "id") == [
        "results", "pictures", "search", "cost", "gates", "published", "provenance",
    ]  # fmt: skip
    assert "Photographs" not in found.text
    assert not [href for href, _ in found.links if "differences.csv" in href]


def test_a_page_beyond_the_limit_is_refused(
    copy: Path, monkeypatch: pytest.MonkeyPatch, load_stage: Callable[[str], ModuleType]
) -> None:
    monkeypatch.chdir(copy)
    monkeypatch.setattr(page_module, "LIMIT", 10_000)
    with pytest.raises(ValueError, match=r"report\.html: found \d+ bytes, expected at most 10000"):
        load_stage("report").main()
