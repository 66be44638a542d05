"""MLflow's page in a real browser, served by `ecdm ui`: a mirrored ablation is there to be compared by eye."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from ablation_store import STEPS, ablation_store
from browser import browser_page
from PIL import Image
from playwright.sync_api import Locator, Page
from report_project import Project
from servers import free_port, serving

from ecdm.mirror.views import links

VARIANTS = Project.VARIANTS
BUCKETS = ("10-20", "50-60")
# The grid has small copies of the pictures, as lossy WebP.
LOSSY = 4
# The values of a metric in the table of a comparison, from left to right: MLflow draws names and values apart.
ROW = """name => {
    const names = [...document.querySelectorAll('a[title="Plot chart"]')];
    const head = names.find(one => one.textContent.trim() === name)?.parentElement;
    const cells = head ? [...head.closest('[class*=collapse-content]').querySelectorAll('[role=rowgroup] > *')] : [];
    const beside = cells.filter(one => one !== head && one.style.top === head.style.top);
    const left = one => parseFloat(one.style.left);
    return beside.sort((a, b) => left(a) - left(b)).map(one => one.textContent);
}"""

# As of somebody who was here before: the panel of MLflow's assistant opens on the first visit and covers columns.
VISITED = "try { localStorage.setItem('mlflow.assistant.fab.autoOpenedOnFirstLoad_v1', 'true') } catch {}"


@dataclass(frozen=True)
class Ui:
    """A running server: addresses of the prepared views, the variants' run ids, the project behind it."""

    compare: str
    tree: str
    runs: dict[str, str]
    root: Path

    def means(self, metric: str) -> dict[str, float]:
        """The reported means, pasted, by variant; `metric` as the UI calls it."""
        name, _, bucket = metric.partition("/")
        with (self.root / "reports" / "ablation.csv").open(encoding="utf-8") as file:
            chosen = [row for row in csv.DictReader(file) if (row["metric"], row["bucket"]) == (name, bucket)]
        pasted = {row["variant"]: float(row["mean"]) for row in chosen if row["pasted"] == "1"}
        return {variant: pasted[variant] for variant in VARIANTS}


@pytest.fixture(scope="module")
def ui(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    root, port = tmp_path_factory.mktemp("ui"), free_port()
    with pytest.MonkeyPatch.context() as patch:
        for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
            patch.delenv(name, raising=False)
        store = ablation_store(root)
        page = f"http://127.0.0.1:{port}/#/experiments/{store.experiment_id}"
        (_, compare), (_, tree) = links(page, store.tags())
        found = store.client.search_runs([store.experiment_id], "tags.stage = 'variant'")
        runs = {run.data.tags["variant"]: run.info.run_id for run in found}
        command = [sys.executable, "-m", "ecdm.cli", "ui", "--port", str(port)]
        with serving(command, port, root / "server.log", cwd=root) as process:
            yield Ui(compare, tree, runs, root)
            # Killed, it would leave MLflow's server behind, which is a group of its own.
            process.terminate()
            process.wait(30)


@contextmanager
def opened(address: str, picture: Path) -> Iterator[Page]:
    """The page of an address, which asks no other machine; what it shows in the end is kept as a picture."""
    with browser_page() as (page, seen):
        page.add_init_script(VISITED)
        page.goto(address)
        try:
            yield page
        finally:
            page.screenshot(path=picture)
        assert seen.strangers == []


def row(page: Page, name: str | re.Pattern[str]) -> Locator:
    """A run in the table of runs."""
    return page.locator(".ag-row").filter(has=page.get_by_role("link", name=name, exact=True))


def unfold(row: Locator) -> None:
    """Show the runs below a run."""
    row.locator("button").first.click()


def test_the_runs_page_lists_variants_below_the_reproduction_and_seeds_below_them(ui: Ui, tmp_path: Path) -> None:
    with opened(ui.tree, tmp_path / "tree.png") as page:
        parent = row(page, re.compile("^reproduction "))
        parent.wait_for()
        assert [row(page, name).count() for name in VARIANTS] == [0] * 4
        unfold(parent)
        for name in VARIANTS:
            row(page, name).wait_for()
        assert row(page, "train@ours-0").count() == 0
        unfold(row(page, "ours"))
        for kind in ("train", "generate", "evaluate"):
            row(page, f"{kind}@ours-0").wait_for()
        assert row(page, "train@sail-0").count() == 0


def test_the_charts_show_every_bucket_of_a_metric_for_all_variants(ui: Ui, tmp_path: Path) -> None:
    with opened(ui.compare, tmp_path / "charts.png") as page:
        for name in VARIANTS:
            row(page, name).wait_for()
        assert page.locator(".ag-center-cols-container .ag-row").count() == len(VARIANTS)
        card = page.get_by_test_id("experiment-view-compare-runs-card").filter(has_text="psnr/50-60 vs psnr/10-20")
        bars = card.locator("text.bartext")
        bars.nth(len(VARIANTS) * len(BUCKETS) - 1).wait_for()
        shown = sorted(float(text) for text in bars.all_text_contents())
    expected = sorted(mean for bucket in BUCKETS for mean in ui.means(f"psnr/{bucket}").values())
    assert shown == pytest.approx(expected, abs=0.0051)


def test_runs_chosen_by_hand_are_compared_in_a_table(ui: Ui, tmp_path: Path) -> None:
    with opened(ui.compare, tmp_path / "table.png") as page:
        for name in VARIANTS:
            row(page, name).wait_for()
        page.locator(".ag-header input[type=checkbox]").first.check()
        page.get_by_role("button", name="Compare", exact=True).click()
        page.get_by_text("Comparing 4 Runs from 1 Experiment").wait_for()
        page.wait_for_function(f"({ROW})('l1/10-20').length == {len(VARIANTS)}")
        page.get_by_label("Metrics - Show diff only").first.scroll_into_view_if_needed()
        order = json.loads(parse_qs(urlsplit(page.url).fragment.partition("?")[2])["runs"][0])
        names = {run: name for name, run in ui.runs.items()}
        for metric in ("l1/10-20", "l1/50-60"):
            shown = dict(zip((names[run] for run in order), map(float, page.evaluate(ROW, metric)), strict=True))
            assert shown == pytest.approx(ui.means(metric), abs=0.0051)
        for end in ("ci_low", "ci_high"):
            assert len(page.evaluate(ROW, f"l1/10-20_{end}")) == len(VARIANTS)


def test_the_image_grid_has_every_variants_own_pictures(ui: Ui, tmp_path: Path) -> None:
    with opened(ui.compare, tmp_path / "pictures.png") as page:
        page.get_by_test_id("experiment-view-compare-runs-section-header").filter(
            has_text="pictures"
        ).scroll_into_view_if_needed()
        card = page.get_by_test_id("experiment-view-compare-runs-card").filter(has_text="Image grid")
        card.scroll_into_view_if_needed()
        for place, run in enumerate(ui.runs[name] for name in VARIANTS):
            for bucket in BUCKETS:
                # Masked input, output and truth below each other: the upper half of an output is its filled hole.
                shown = colour(page, card, run, f"test~scenes~{bucket}", 0.4)
                assert shown == pytest.approx([100 + 20 * place] * 3, abs=LOSSY)
            assert colour(page, card, run, "validation", 0.5) == pytest.approx([40 * place] * 3, abs=LOSSY)
        card.get_by_text("test/scenes/10-20", exact=True).scroll_into_view_if_needed()


def test_a_runs_own_page_shows_its_pictures(ui: Ui, tmp_path: Path) -> None:
    address = ui.tree.partition("/runs?")[0] + f"/runs/{ui.runs['ours']}"
    with opened(f"{address}/artifacts", tmp_path / "run.png") as page:
        page.get_by_text("images", exact=True).first.click()
        page.get_by_text(re.compile(rf"test~scenes~50-60\+step\+{STEPS[-1]}\+.*\.png")).click()
        page.wait_for_function("[...document.images].some(one => one.complete && one.naturalHeight == 48)")


def colour(page: Page, card: Locator, run: str, key: str, down: float) -> list[int]:
    """RGB of a picture as the browser got it, once it has drawn it: near its left edge, at a share of its height."""
    image = card.locator(f"img[src*='{run}'][src*='{key}']")
    image.scroll_into_view_if_needed()
    source = image.evaluate("one => one.src")
    drawn = "source => [...document.images].some(one => one.src === source && one.naturalWidth > 0)"
    page.wait_for_function(drawn, arg=source)
    picture = Image.open(io.BytesIO(page.request.get(source).body())).convert("RGB")
    return list(np.asarray(picture)[int(down * picture.height), picture.width // 32].tolist())
