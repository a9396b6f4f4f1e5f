"""The track record and the locks that the card shows, on SQLite and on PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from orchestrator.model import Alert, AlertStatus, HostStats, Incident, Outcome, Run, RunKind, RunRequest, RunState, Status
from orchestrator.store import Store

START = 1_700_000_000_000
SECOND = 1000


def ran(
    store: Store, number: int, *, host: str = "web1", outcome: Outcome = Outcome.SUCCESSFUL, effective: bool | None = True, took_s: int = 8
) -> str:
    """Store an incident whose apply ended, and return its id."""
    identity, run = f"inc{number}", f"inc{number}:1:apply:1"
    alert = Alert(f"{number:016x}", AlertStatus.FIRING, {"alertname": "ServiceDown" if number < 90 else "Other", "instance": host})
    begin = START + number * 60 * SECOND
    with store.db.transaction():
        store.incidents.insert(Incident(identity, alert, status=Status.RESOLVED), begin)
        request = RunRequest(run, RunKind.APPLY, "restart_service", "playbook.yml", (host,), "/snapshot")
        store.runs.reserve(Incident(identity, alert), request, (), begin)
        done = Run(run, RunKind.APPLY, "restart_service", RunState.DONE, outcome, {host: HostStats(changed=1)})
        store.runs.save(done, identity)
        table = store.db.tables.run
        table.update(created_at=begin, started_at=begin, ended_at=begin + took_s * SECOND).where(table.id == run).execute()
        if effective is not None:
            store.runs.judge(identity, effective=effective)
        store.runs.free(identity)
    return identity


def test_record_of_an_alert(store):
    """Runs, verified share, usual duration and the latest end are those of this entry for this alert; the asking incident's are left out."""
    for number, took in enumerate((4, 8, 60)):
        ran(store, number, effective=number != 2, took_s=took)
    ran(store, 99)
    own = ran(store, 5, outcome=Outcome.FAILED, effective=False)
    track = store.track.of("restart_service", "ServiceDown", before=own)
    assert (track.runs, track.verified, track.usual_s, track.last, track.last_incident) == (3, 2, 8.0, "not verified", "inc2")
    assert track.share == pytest.approx(2 / 3)
    assert track.last_at == datetime.fromtimestamp((START + 120 * SECOND + 60 * SECOND) / 1000, tz=UTC)
    assert store.track.of("restart_service", "ServiceDown").last == "failed"
    assert store.track.of("restart_service", "Nothing").runs == 0


def test_record_of_each_host(store):
    """Each host has its own record, whatever the alert was."""
    ran(store, 1, host="web1")
    ran(store, 99, host="web1", effective=False)
    found = store.track.on_hosts("restart_service", ("web1", "web2"))
    assert (found["web1"].runs, found["web1"].verified) == (2, 1)
    assert (found["web2"].runs, found["web2"].words) == (0, "It never ran here before.")


def test_who_touched_a_host_since(store):
    """Another incident's changing run that ended after a moment, or has not ended, touched the host; one's own and older ones did not."""
    ran(store, 1, host="web1")
    ended = START + 60 * SECOND + 8 * SECOND
    assert store.track.touched_since(("web1", "web2"), ended, "other") == [("web1", "inc1:1:apply:1")]
    assert store.track.touched_since(("web1",), ended + 1, "other") == []
    assert store.track.touched_since(("web1",), ended, "inc1") == []
    assert store.track.touched_since(("web2",), 0, "other") == []
    with store.db.transaction():
        store.db.tables.run.update(ended_at=None).execute()
    assert store.track.touched_since(("web1",), ended + 10**9, "other") == [("web1", "inc1:1:apply:1")]


def test_locks_name_who_holds_a_host(store):
    """A host's lock names the incident that holds it."""
    with store.db.transaction():
        store.db.tables.slot.create(name="host:web1", incident="inc9", run="r", at=START)
        store.db.tables.slot.create(name="all#0", incident="inc9", run="r", at=START)
    assert store.track.locks(("web1", "web2")) == {"web1": "inc9"}
