"""The app over the stand-in."""

from __future__ import annotations

import pytest
from fake_orchestrator import FakeOrchestrator

from orchestrator.settings import Settings
from orchestrator.web import create_app

SETTINGS = Settings.model_validate({"server": {"max_body_bytes": 4096}})


@pytest.fixture
def fake():
    """Return a stand-in for the orchestrator."""
    return FakeOrchestrator(SETTINGS)


@pytest.fixture(scope="session")
def shared_app():
    """Return one app for all tests, so that templates are compiled once."""
    return create_app(FakeOrchestrator(SETTINGS))


@pytest.fixture
def client(shared_app, fake):
    """Return a test client of the app over the stand-in."""
    shared_app.extensions["orchestrator"] = fake
    return shared_app.test_client()


@pytest.fixture
def bearer():
    """Return a function: role → request headers with a token of that role."""
    return lambda role: {"Authorization": f"Bearer {role}-token"}
