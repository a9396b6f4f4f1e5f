"""The app over the stand-in."""

from __future__ import annotations

import pytest
from fake_orchestrator import FakeOrchestrator

from orchestrator.settings import Settings
from orchestrator.web import create_app


@pytest.fixture
def fake(tmp_path):
    """Return a stand-in for the orchestrator."""
    return FakeOrchestrator(Settings.model_validate({"data_dir": str(tmp_path), "server": {"max_body_bytes": 4096}}))


@pytest.fixture
def client(fake):
    """Return a test client of the app over the stand-in."""
    return create_app(fake).test_client()


@pytest.fixture
def bearer():
    """Return a function: role → request headers with a token of that role."""
    return lambda role: {"Authorization": f"Bearer {role}-token"}
