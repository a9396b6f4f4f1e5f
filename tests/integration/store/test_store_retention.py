"""Taking bodies out of the audit log: recorded, verifiable, and really gone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.errors import Conflict, NotFound
from orchestrator.ingest import fingerprint
from orchestrator.lifecycle import FOREVER, move
from orchestrator.model import Alert, AlertGroup, AlertStatus, Happening, Reason, RunEvent, Status
from orchestrator.store import Linking


def receive(store, name):
    labels = {"alertname": name, "instance": "web1:9100"}
    alert = Alert(fingerprint(labels), AlertStatus.FIRING, labels, {}, datetime(2026, 1, 1, tzinfo=UTC), None)
    linking = Linking(0.0, lambda _: False)
    return store.incidents.receive(AlertGroup((alert,)), linking, lambda _: None)[0]["id"]


def ended(store, identity):
    claim = store.incidents.claim(identity, "w", 30)
    step = move(claim.incident, Status.CLEARED, Reason.NOT_FIRING, "over", wait_s=FOREVER)
    store.incidents.commit(claim, step, lambda _: (), lambda _: None)


def test_redacted_body_is_gone_from_the_file(store, url):
    """What an event held is in no file of the database afterwards; the tombstone says who and why, and the log verifies."""
    with store.db.transaction():
        event = store.chain.append("i1", Happening("context.gathered", data={"text": "canary-secret-" * 50}))
    head = store.chain.seal()
    store.chain.redact(event.id, "ann", "held a password")
    told = store.chain.verify(head)
    assert told["ok"], told["problems"]
    first, tombstone = store.chain.events(incident="i1")
    assert (first.data, tombstone.data["reason"], tombstone.actor) == (None, "held a password", "ann")
    store.db.close()
    if url.startswith("sqlite"):
        path = Path(url.removeprefix("sqlite:///"))
        assert all(b"canary-secret" not in file.read_bytes() for file in path.parent.glob(f"{path.name}*"))


def test_what_cannot_be_redacted_is_refused(store):
    """A tombstone, a body that is gone and an event that is not there are refused."""
    receive(store, "A")
    (event,) = store.chain.events(limit=1)
    store.chain.redact(event.id, "ann", "x")
    tombstone = store.chain.events(after=event.id)[-1]
    for number, error in ((event.id, Conflict), (tombstone.id, Conflict), (9999, NotFound)):
        with pytest.raises(error):
            store.chain.redact(number, "ann", "x")


def test_prune_keeps_what_is_open_and_the_chain(store):
    """Old bodies of what is over are gone with the output of its runs, open incidents are whole, and the log verifies."""
    over, still = receive(store, "Over"), receive(store, "Still")
    ended(store, over)
    tables = store.db.tables
    with store.db.transaction():
        tables.run.create(
            id="r", incident=over, kind="check", entry="e", state="done", request="{}", result="{}", created_at=1, started_at=1, ended_at=2
        )
    store.runs.add_events("r", [RunEvent(1, "ok", datetime(2026, 1, 1, tzinfo=UTC), text="output")])
    head = store.chain.seal()
    bodies, pieces = store.chain.prune(datetime.now(UTC) + timedelta(hours=1), "ann", "kept long enough")
    assert (bodies, pieces) == (len(store.chain.events(incident=over)), 1)
    assert all(event.data is None for event in store.chain.events(incident=over))
    assert all(event.data for event in store.chain.events(incident=still))
    (tombstone,) = [event for event in store.chain.each() if event.kind == "audit.pruned"]
    assert (tombstone.actor, tombstone.data["events"]) == ("ann", bodies)
    told = store.chain.verify(head)
    assert told["ok"], told["problems"]
    assert store.chain.prune(datetime.now(UTC) + timedelta(hours=1), "ann") == (0, 0)


def test_prune_leaves_what_is_newer(store):
    """Nothing that came after the time is touched."""
    ended(store, receive(store, "Over"))
    assert store.chain.prune(datetime(2026, 1, 1, tzinfo=UTC), "ann") == (0, 0)
    assert all(event.data for event in store.chain.each())


def test_body_taken_out_without_a_word_is_noticed(store):
    """A body that somebody has taken out of the database without a tombstone is a problem of the log."""
    receive(store, "A")
    with store.db.transaction():
        store.db.tables.audit.update(data=None, salt="").execute()
    told = store.chain.verify()
    assert not told["ok"]
    assert "no tombstone" in told["problems"][0]
