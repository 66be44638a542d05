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
from typing import Any

import pytest
from report_project import Project, run_report
from ruamel.yaml import YAML

from ecdm.reporting import page as page_module
from ecdm.reporting.labels import METRICS

CAPTION = "<script>alert(\"1\")</script> & <img src=x onerror=alert(2)> '$5' {{ 7 * 7 }}"
DECIMALS = {metric.name: metric.decimals for metric in METRICS}


class Page(HTMLParser):
    """Links (href, text), tags with attributes, texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[tuple[str, str]] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: tuple[str, list[str]] | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "a":
            self._open = dict(attrs).get("href") or "", []

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._open:
            self.links.append((self._open[0], " ".join("".join(self._open[1]).split())))
            self._open = None

    def handle_data(self, data: str) -> None:
        self.text += data
        if self._open:
            self._open[1].append(data)

    def attributes(self, tag: str, name: str) -> list[str]:
        return [attrs[name] or "" for found, attrs in self.tags if found == tag and name in attrs]


def reported(root: Path) -> Page:
    done = run_report(root)
    assert done.returncode == 0, done.stderr
    return Page((root / "reports" / "report.html").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All four variants, made to differ; a caption with markup; a gate that fails; reported."""
    project = Project(tmp_path_factory.mktemp("page"))
    project.write_all_scores()
    root = project.write_tree(project.VARIANTS, holds=False)
    path = root / "data" / "scenes" / "annotations" / "captions_test.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["annotations"][0]["caption"] = CAPTION
    path.write_text(json.dumps(content), encoding="utf-8")
    done = run_report(root)
    assert done.returncode == 0, done.stderr
    return root


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
            mean, low, high = (
                f"{float(found[n]):+.{DECIMALS[found['metric']]}f}" for n in ("mean", "ci_low", "ci_high")
            )
            assert re.sub(" [▲▼]", "", text) == f"{mean} [{low}, {high}]"
        else:
            assert text == f"{float(found['mean']):.4f}"
    # Buckets x metrics x pasted and raw: six models on scenes, three differences; four models on photographs, pasted.
    assert counts == {"ablation.csv": 2 * 6 * 2 * 6, "differences.csv": 2 * 6 * 2 * 3, "photos.csv": 2 * 6 * 4}


def looked_up(path: Path, keys: list[str]) -> Any:
    """A value in a JSON or YAML file."""
    value = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    for key in keys:
        value = value[key]
    return value


def shown(value: Any) -> set[str]:
    """The ways in which the page may print a value of a JSON file."""
    if isinstance(value, list):
        return {f"[{', '.join(f'{end:.4g}' for end in value)}]"}
    return {f"{value / 1e9:.2f}", f"{value:,}".replace(",", " "), f"{value:.4g}", f"≥ {value:.4g}"}


def test_every_count_and_gate_is_its_files(tree: Path, page: Page) -> None:
    found = list(cited(page, ".json"))
    for path, key, text in found:
        assert text in shown(looked_up(tree / "reports" / path, key.strip("/").split("/")))
    assert len(found) == 4 * 7 + 3


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
    assert len(labels) == 6 + 2
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
    assert "All 1 quality gates hold" in found.text


def test_published_values_stand_apart_with_their_label(page: Page) -> None:
    assert page.text.index("21.7218") > page.text.index("Not comparable with the numbers above")


def test_absent_parts_are_not_mentioned(page: Page) -> None:
    assert not {"comparison", "search"} & set(page.attributes("section", "id"))
    assert "Comparison" not in page.text
    assert "Search" not in page.text


def test_without_baseline_pictures_and_curves_their_sections_are_gone(project: Any) -> None:
    root = project.write_tree(("sail",))
    for name in ("sail-0.csv", "reference.csv"):
        path = project.scores / name
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("photos")]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    (root / "build/train/sail-0/history.csv").write_text("step,name,value\n", encoding="utf-8")
    found = reported(root)
    assert found.attributes("section", "id") == ["results", "pictures", "cost", "gates", "published", "provenance"]
    assert "Photographs" not in found.text
    assert not [href for href, _ in found.links if "differences.csv" in href]


def test_a_page_beyond_the_limit_is_refused(
    copy: Path, monkeypatch: pytest.MonkeyPatch, load_stage: Callable[[str], ModuleType]
) -> None:
    monkeypatch.chdir(copy)
    monkeypatch.setattr(page_module, "LIMIT", 10_000)
    with pytest.raises(ValueError, match=r"report\.html: found \d+ bytes, expected at most 10000"):
        load_stage("report").main()
