"""Every store test runs on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.store import Store

NUMBER = itertools.count()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.foreign)])
def url(request, tmp_path):
    """The address of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/store.db"
    return request.getfixturevalue("postgres").database(f"store{next(NUMBER)}")


@pytest.fixture
def store(url):
    """A store with its tables made."""
    made = Store(url, route=lambda kind, severity: ("slack",) if kind == "incident.escalated" else ())
    made.db.create()
    yield made
    made.db.close()
