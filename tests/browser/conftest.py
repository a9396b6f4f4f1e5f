"""The stage, found beside this file."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def stage():
    """Return the module that serves a furnished stand-in."""
    spec = importlib.util.spec_from_file_location("browser_stage", Path(__file__).with_name("stage.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
