"""A real Chromium without a window, for the tests of pages."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, sync_playwright

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP, PHONE = (1280, 900), (390, 844)
LOCAL = ("127.0.0.1", "localhost")
TIMEOUT = 120_000.0


@dataclass
class Seen:
    """What a page did: `errors` of its console and scripts, `strangers` that it asked beside this machine."""

    errors: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)

    def watch(self, page: Page) -> None:
        """Note everything from now on."""
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", lambda request: self._request(request.url))

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob", "file", "about") and parts.hostname not in LOCAL:
            self.strangers.append(url)


@contextmanager
def browser_page(size: tuple[int, int] = DESKTOP, **options: Any) -> Iterator[tuple[Page, Seen]]:
    """An empty page of width and height in pixels in a new browser, and what it does.

    `options`: further ones of a playwright context. A missing Chromium fails the test.
    """
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.fail("found no Chromium on the PATH, which the browser tests need: apt-get install chromium")
    with tempfile.TemporaryDirectory() as profile, sync_playwright() as playwright:
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=path,
            args=FLAGS,
            viewport={"width": size[0], "height": size[1]},
            **options,
        )
        context.set_default_timeout(TIMEOUT)
        context.set_default_navigation_timeout(TIMEOUT)
        page, seen = context.pages[0], Seen()
        seen.watch(page)
        try:
            yield page, seen
        finally:
            context.close()
