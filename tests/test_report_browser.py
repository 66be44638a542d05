"""The report's pages in a real browser: no message, no request, never wider than a phone, readable in the dark."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from browser import DESKTOP, PHONE, Seen, browser_page
from playwright.sync_api import Page
from report_project import reported_project

from ecdm.reporting.measured import write_measured_page

PAGES = ("reports/report.html", "runs/report.html")
LONG = "an_unbroken_word_" * 40


@contextmanager
def opened(path: Path, size: tuple[int, int] = DESKTOP, **options: Any) -> Iterator[tuple[Page, Seen, list[str]]]:
    """The page, what went wrong on it, and everything that it asked for."""
    with browser_page(size, **options) as (page, seen):
        requests: list[str] = []
        page.on("request", lambda request: requests.append(request.url))
        page.goto(path.as_uri())
        yield page, seen, requests


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both pages of a project whose captions and stages have names that do not break."""
    root = reported_project(tmp_path_factory.mktemp("browser"), LONG)
    record = {"stage": LONG, "started": "2026-01-02T03:04:05+00:00", "seconds": 1.0, "peak_memory_mb": 5}
    record |= {"hardware": {"cpu": LONG, "cores": 2}, "commit": "0" * 40, "completed": True}
    (root / "runs" / "one.json").write_text(json.dumps(record), encoding="utf-8")
    write_measured_page(root)
    return root


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_quiet_alone_and_never_sideways(root: Path, name: str, size: tuple[int, int]) -> None:
    with opened(root / name, size) as (page, seen, requests):
        page.evaluate("document.querySelectorAll('details').forEach(one => one.open = true)")
        assert page.evaluate("document.documentElement.scrollWidth") == size[0]
        reached = page.evaluate("(window.scrollTo(500, 0), window.scrollX)")
        assert reached == 0
        assert page.evaluate("[...document.images].every(one => one.complete && one.naturalWidth > 0)")
        assert seen.errors == []
        assert [url for url in requests if not url.startswith("data:")] == [(root / name).as_uri()]


def test_wide_tables_scroll_inside_their_own_frame(root: Path) -> None:
    with opened(root / PAGES[0], PHONE) as (page, _, _):
        frames = page.locator("#results .scroll").first
        assert frames.evaluate("one => one.scrollWidth > one.clientWidth")
        assert frames.evaluate("one => (one.scrollLeft = 80, one.scrollLeft)") == 80
        first = frames.locator("tbody th").first.bounding_box()
        assert first is not None
        # The model's name stays in view.
        assert 0 <= first["x"] < 40


def test_the_contents_lead_to_every_section(root: Path) -> None:
    with opened(root / PAGES[0], PHONE) as (page, _, _):
        titles = page.locator("main h2").all_inner_texts()
        assert page.locator("nav a").all_inner_texts() == titles
        page.get_by_role("link", name="Quality gates", exact=True).click()
        assert page.url.endswith("#gates")
        box = page.locator("#gates").bounding_box()
        assert box is not None
        assert -1 <= box["y"] < 200


@pytest.mark.parametrize("name", PAGES)
def test_text_stands_out_in_light_and_dark(root: Path, name: str) -> None:
    script = "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
    seen_papers = set()
    for scheme in ("light", "dark"):
        with opened(root / name, color_scheme=scheme) as (page, _, _):
            ink, paper = (_brightness(text) for text in page.evaluate(script))
            assert abs(ink - paper) > 180
            seen_papers.add(paper > 128)
    assert seen_papers == {True, False}


def test_a_failed_gate_is_red(root: Path) -> None:
    with opened(root / PAGES[0]) as (page, _, _):
        for part in ("tr.failed td >> nth=0", ".alarm"):
            red, green, blue = _channels(page.locator(part).evaluate("one => getComputedStyle(one).color"))
            assert red > 2 * max(green, blue)


def test_print_hides_the_contents_and_shows_what_is_folded(root: Path) -> None:
    with opened(root / PAGES[0]) as (page, _, _):
        inside = page.locator("details table").first
        assert not inside.is_visible()
        page.emulate_media(media="print")
        assert inside.is_visible()
        assert not page.locator("nav").is_visible()


def _channels(colour: str) -> list[float]:
    return [float(part) for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]


def _brightness(colour: str) -> float:
    return sum(_channels(colour)) / 3
