"""`ecdm app` in a real browser: a picture is uploaded, painted over and inpainted by two variants."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import branch_case
import numpy as np
import pytest
from browser import PHONE, browser_page
from PIL import Image
from playwright.sync_api import Locator, Page
from playwright.sync_api import TimeoutError as PlaywrightTimeout
from servers import free_port

from ecdm.models.branch import start_branch

RUNS = {"ours-0": True, "baseline-0": False}


@pytest.fixture
def address(tree: Path, parts: Any) -> Iterator[str]:
    """The page of a small project with two runs; it must end well when it is asked to end."""
    for name, acda in RUNS.items():
        branch = start_branch(parts, branch_case.IMAGE if acda else None, 0)
        (branch_case.randomised(branch) if acda else branch).save(tree / "build" / "train" / name / "weights")
    port = free_port()
    command = [sys.executable, "-m", "ecdm.cli", "app", "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            line = server.stdout.readline()
            assert line == f"Inpainting: http://127.0.0.1:{port}  (Ctrl-C ends it)\n"
            yield f"http://127.0.0.1:{port}"
        finally:
            server.send_signal(signal.SIGTERM)
            code = server.wait()
    assert code == 0


def paint(page: Page) -> None:
    """A stroke from left to right through the middle of the picture."""
    canvas = page.locator("#editor canvas").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x - 40, y)
    page.mouse.down()
    for step in range(1, 9):
        page.mouse.move(x - 40 + 10 * step, y)
    page.mouse.up()


def press_start(page: Page) -> None:
    """Press the button until the page asks the server: while an earlier answer is being shown it ignores clicks."""
    for _ in range(60):
        try:
            with page.expect_request(lambda request: "/queue/join" in request.url, timeout=2000):
                page.locator("#start").click()
        except PlaywrightTimeout:
            continue
        return
    pytest.fail("the button started nothing")


def sample(page: Page, steps: str, guidance: str) -> None:
    """Start with settings; left empty, they are those of the small project: 3 and 3."""
    page.get_by_label("Steps", exact=True).fill(steps)
    page.get_by_label("Guidance", exact=True).fill(guidance)
    press_start(page)


def results(page: Page, seed: int) -> list[Any]:
    """The pictures that the models made of a seed, once all are there."""
    for name in ("baseline-0", "ours-0"):
        page.get_by_text(f"{name} · seed {seed}", exact=True).wait_for()
    images = page.locator("#results img")
    images.nth(1).wait_for()
    return [pixels(page, images.nth(i)) for i in range(2)]


def pixels(page: Page, image: Locator) -> Any:
    source = image.get_attribute("src")
    assert source is not None
    return np.array(Image.open(io.BytesIO(page.request.get(source).body())).convert("RGB")).astype(int)


def test_a_painted_mask_is_inpainted_end_to_end(address: str, tmp_path: Path) -> None:
    upload = np.random.default_rng(0).integers(0, 256, (60, 50, 3), np.uint8)
    Image.fromarray(upload).save(tmp_path / "mine.png")
    with browser_page() as (page, seen):
        page.goto(address)
        # Long before its fields are used: what is typed into a field that is still being mounted can be lost.
        page.get_by_text("Sampling", exact=True).click()
        page.get_by_label("Steps", exact=True).wait_for()
        press_start(page)
        page.get_by_text("Upload a picture first").wait_for()
        page.locator("#editor input[type=file]").first.set_input_files(tmp_path / "mine.png")
        page.locator("#editor").get_by_label("Brush").first.wait_for()
        press_start(page)
        page.get_by_text("Paint over the part").wait_for()
        paint(page)
        press_start(page)
        page.get_by_text("Type what should be in the painted part").wait_for()
        page.locator("#prompt textarea").fill("a red circle")
        sample(page, "many", "")
        page.get_by_text("Steps: found many, expected a number").wait_for()
        sample(page, "", "")
        first = results(page, 0)
        page.locator("#new-seed").click()
        page.wait_for_function("document.querySelector('#seed input').value != '0'")
        seed = int(page.locator("#seed input").input_value())
        press_start(page)
        second = results(page, seed)
        page.locator("#seed input").fill("0")
        sample(page, "3", "3")
        again = results(page, 0)
        page.locator("#seed input").fill(str(seed))
        sample(page, "101", "15.5")
        beyond = results(page, seed)
    changed = [(image != upload).any(axis=2) for image in first]
    for mask in changed:
        rows = mask.any(axis=1).nonzero()[0]
        assert len(rows) > 3
        assert 10 < rows[0] <= rows[-1] < 50
    assert not np.array_equal(*first)
    for one, two, three, four in zip(first, second, again, beyond, strict=True):
        assert np.array_equal(one, three)
        assert not np.array_equal(one, two)
        assert not np.array_equal(two, four)
    assert seen.strangers == []
    assert seen.errors == []


def test_an_example_is_inpainted_on_a_phone(address: str, tree: Path) -> None:
    with browser_page(PHONE, is_mobile=True, has_touch=True) as (page, seen):
        page.goto(address)
        page.locator("#examples .thumbnail-item").nth(5).click()
        page.wait_for_function("document.querySelector('#prompt textarea').value.length > 5")
        paint(page)
        page.locator("#models").get_by_label("baseline-0").uncheck()
        press_start(page)
        page.get_by_text("ours-0 · seed 0", exact=True).wait_for()
        image = page.locator("#results img")
        image.wait_for()
        found = pixels(page, image)
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    example = np.array(Image.open(min((tree / "data" / "photos" / "test").iterdir())))
    scene = np.array(Image.open(min((tree / "data" / "scenes" / "test").iterdir())))
    assert found.shape == example.shape == scene.shape
    assert 0 < (found != scene).any(axis=2).mean() < 0.9
    assert seen.strangers == []
    assert seen.errors == []
