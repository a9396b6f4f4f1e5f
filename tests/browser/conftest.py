"""One browser for a whole file, and windows of their own."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from browsing import chromium, launched, visiting
from conftest import needs_program


@pytest.fixture(scope="session")
def browser():
    """Yield one headless Chromium for all tests of this process."""
    needs_program("chromium", "chromium-browser", "google-chrome")
    with launched(chromium()) as started:
        yield started


@pytest.fixture
def visit(browser):
    """Yield a function that opens windows; at its end each must have been free of dialogs, script errors and policy violations."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(visiting(browser, **options))
