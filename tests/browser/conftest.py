"""A browser, and the stage found beside this file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from conftest import needs_program


def _beside(name: str):
    spec = importlib.util.spec_from_file_location(f"browser_{name}", Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def stage():
    """Return the module that serves a furnished stand-in."""
    return _beside("stage")


@pytest.fixture
def browser(stage, tmp_path):
    """Return a browser with a new profile; it ends with the test."""
    program = needs_program("chromium", "chromium-browser", "google-chrome")
    opened = _beside("chromium").Browser(stage.browser(program, str(tmp_path / "profile")))
    yield opened
    opened.close()
