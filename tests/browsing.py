"""A real Chromium steered by Playwright, listening for everything that must never happen on a page.

Source: Playwright for Python, sync API. The browser is Debian's; Playwright's own are never fetched.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

PATIENCE_MS = 90_000
PHONE = {"width": 390, "height": 844}
NARROW = {"width": 360, "height": 740}
WIDE = {"width": 1280, "height": 900}
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
]


def chromium() -> str | None:
    """Return the path of Debian's Chromium, None where it is not installed."""
    return next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)


@contextmanager
def launched(program: str) -> Iterator[Browser]:
    """Start one headless browser; it and its driver end with the block."""
    # without it the driver's own runtime prints warnings into the tests' output
    os.environ.setdefault("NODE_NO_WARNINGS", "1")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=FLAGS, timeout=PATIENCE_MS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def visiting(browser: Browser, **options: Any) -> Iterator[Visit]:
    """Open a window of its own, without anything of the ones before; fail at its end if a page did what none may."""
    context = browser.new_context(**{"viewport": WIDE, "reduced_motion": "reduce", **options})
    context.set_default_timeout(PATIENCE_MS)
    try:
        visit = Visit(context)
        yield visit
        assert visit.faults == []
    finally:
        context.close()


class Visit:
    """One window and what went wrong in it.

    Args:
        context: a fresh browser context.
    """

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.faults: list[str] = []
        """Dialogs, script errors, policy violations and requests to other sites."""
        self.expected: tuple[str, ...] = ()
        """Parts of faults that a test brings about itself."""
        self.page = self.open()

    def open(self) -> Page:
        """Open one more page in the window."""
        page = self.context.new_page()
        page.on("dialog", lambda dialog: (self._note(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("pageerror", lambda error: self._note(f"script error: {error}"))
        page.on("console", self._console)
        page.on("request", lambda request: self._request(page, request.url))
        return page

    def _console(self, message: Any) -> None:
        # an answer other than 200 is told as an error, too; the tests look at those themselves
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self._note(f"console: {message.text}")

    def _request(self, page: Page, url: str) -> None:
        if not url.startswith(("http://127.0.0.1:", "data:", "blob:")):
            self._note(f"asked another site: {url}")

    def _note(self, fault: str) -> None:
        if not any(part in fault for part in self.expected):
            self.faults.append(fault)
