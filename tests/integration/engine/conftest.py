"""Engines on a database of their own; PostgreSQL where more than one machine takes part."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.engine import Engine
from orchestrator.store import Store

NUMBER = itertools.count()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.foreign)])
def url(request, tmp_path):
    """The address of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/engine.db"
    return request.getfixturevalue("postgres").database(f"engine{next(NUMBER)}")


@pytest.fixture
def engines(url):
    """Make engines that share one database, each with a store of its own; they are stopped at the end."""
    made = []

    def make(advance, *, threads=2, lease_s=30.0, sweep_s=0.1, started=True):
        store = Store(url)
        store.db.create()
        engine = Engine(store, advance, lambda _: (), threads=threads, lease_s=lease_s, sweep_s=sweep_s)
        engine.open()
        engine.store = store
        made.append(engine)
        if started:
            engine.start()
        return engine

    yield make
    for engine in made:
        engine.stop(wait_s=5.0)
        engine.store.db.close()
