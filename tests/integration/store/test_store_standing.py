"""Standing grants in the database: the counter holds under several workers, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import timedelta

import pytest

from orchestrator.errors import NotFound
from orchestrator.model import StandingGrant, StandingState
from orchestrator.store import Store

MOST = 5


def grant(store: Store, **changes) -> StandingGrant:
    """Store a grant of five runs for an hour and return it."""
    now = store.db.now()
    made = StandingGrant("g1", "restart_service", "d" * 64, ("web1",), now + timedelta(hours=1), MOST, now, by=("olga",))
    made = replace(made, **changes)
    with store.db.transaction():
        store.standing.add(made)
    return made


def mint(store: Store, identity: str = "g1") -> bool:
    with store.db.transaction():
        return store.standing.mint(identity)


def test_two_workers_never_mint_more_than_there_are(url, store):
    """Workers with connections of their own that mint at once get exactly as many grants as there are."""
    grant(store)
    won: list[bool] = []
    together = threading.Barrier(4)

    def work() -> None:
        own = Store(url)
        together.wait(60)
        won.extend(mint(own) for _ in range(MOST))
        own.db.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert (len(won), won.count(True)) == (4 * MOST, MOST)
    assert store.standing.get("g1").used == MOST
    assert store.standing.get("g1").state is StandingState.USED_UP


@pytest.mark.parametrize(
    ("change", "state"),
    [
        ({"state": StandingState.WAITING}, StandingState.WAITING),
        ({"state": StandingState.REVOKED}, StandingState.REVOKED),
        ({"state": StandingState.VOID}, StandingState.VOID),
        ({"max_runs": 0}, StandingState.USED_UP),
    ],
)
def test_only_an_active_grant_mints(store, change, state):
    """What waits for a second person, was taken back, is void or used up mints nothing and is listed as what it is."""
    grant(store, **change)
    assert not mint(store)
    assert store.standing.get("g1").state is state
    assert [one.id for one in store.standing.find(state=(state,))[0]] == ["g1"]
    assert store.standing.active("restart_service") == []


def test_grant_ends_with_its_time(store):
    """A grant whose time is over mints nothing and what it minted may not begin any more."""
    grant(store, until=store.db.now() - timedelta(seconds=1))
    assert not mint(store)
    assert not store.standing.holds("g1")
    assert store.standing.get("g1").state is StandingState.EXPIRED


def test_used_up_still_holds_what_it_minted(store):
    """The last minted grant may begin; a revocation stops it."""
    grant(store, max_runs=1)
    assert mint(store)
    assert store.standing.holds("g1")
    with store.db.transaction():
        store.standing.change("g1", lambda one: replace(one, state=StandingState.REVOKED))
    assert not store.standing.holds("g1")
    assert store.standing.get("g1").used == 1


def test_unknown_grant_is_told(store):
    """A grant that is not there is said to be missing, and none is minted for it."""
    with pytest.raises(NotFound):
        store.standing.get("nothing")
    with pytest.raises(NotFound), store.db.transaction():
        store.standing.change("nothing", lambda one: one)
    assert not mint(store, "nothing")


def test_pages_of_grants(store):
    """Lists come newest first, a page at a time."""
    for number in range(5):
        grant(store, id=f"g{number}")
    first, cursor = store.standing.find(limit=3)
    rest, end = store.standing.find(limit=3, cursor=cursor)
    assert [one.id for one in first + rest] == ["g4", "g3", "g2", "g1", "g0"]
    assert not end
