"""The engine carries every incident on, whoever is killed, and never with two workers at once."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from services import until

from orchestrator.ingest import fingerprint
from orchestrator.lifecycle import FOREVER, Step, move
from orchestrator.model import (
    Agreement,
    Alert,
    AlertGroup,
    AlertStatus,
    Choice,
    Grant,
    Proposal,
    Reason,
    Run,
    RunKind,
    RunRequest,
    RunState,
    Status,
)
from orchestrator.store import Linking

LINKING = Linking(0.0, lambda _: False)


def alert(name):
    labels = {"alertname": "ServiceDown", "instance": f"{name}:9100"}
    return Alert(fingerprint(labels), AlertStatus.FIRING, labels, {}, datetime(2026, 1, 1, tzinfo=UTC), None)


def receive(engine, *names, wake=None):
    group = AlertGroup(tuple(alert(name) for name in names))
    return [line["id"] for line in engine.store.incidents.receive(group, LINKING, wake or engine.wake)]


def end(incident):
    """A step that ends an incident."""
    return move(incident, Status.CLEARED, Reason.NOT_FIRING, "over", wait_s=FOREVER)


def at_once(incident, signals, owner):
    return end(incident)


def is_over(engine, identity):
    return engine.store.incidents.get(identity).status is Status.CLEARED


def lost(_incident):
    """A wake that never arrives."""


def test_rolled_back_delivery_leaves_no_task(engines):
    """A wake inside a transaction that is rolled back leaves no task, as its row leaves no incident."""
    engine = engines(at_once, started=False)

    def failing(identity):
        engine.wake(identity)
        raise RuntimeError("after the wake")

    with pytest.raises(RuntimeError):
        receive(engine, "web1", wake=failing)
    assert engine._huey.storage.queue_size() == 0
    assert engine.store.incidents.find()[0] == []
    receive(engine, "web1")
    assert engine._huey.storage.queue_size() == 1


def test_sweeper_resends_a_lost_task(engines):
    """An incident whose task was lost with its worker is found by the sweeper."""
    engine = engines(at_once)
    (identity,) = receive(engine, "web1", wake=lost)
    until(lambda: is_over(engine, identity), what="the incident is over")


def test_sweeper_sends_no_flood(engines):
    """Incidents that wait for a free worker are not sent again and again without end."""
    engine = engines(at_once, started=False)
    receive(engine, *(f"web{number}" for number in range(150)), wake=lost)
    for _ in range(5):
        engine.sweep()
    assert engine._huey.storage.queue_size() <= 64


def test_expired_lease_is_taken_over(engines):
    """An incident whose worker went silent is carried on by another one."""
    engine = engines(at_once)
    (identity,) = receive(engine, "web1", wake=lost)
    dead = engines(at_once, started=False)
    held = dead.store.incidents.claim(identity, "dead", 0.3)
    until(lambda: held is None or is_over(engine, identity), what="the incident is over")


def test_bug_in_a_step_ends_with_a_person(engines):
    """A step that raises leaves its incident escalated, with the error in words, and is not repeated."""
    calls = []

    def broken(incident, signals, owner):
        calls.append(incident.id)
        raise ZeroDivisionError("boom")

    engine = engines(broken)
    (identity,) = receive(engine, "web1")
    until(lambda: engine.store.incidents.get(identity).status is Status.ESCALATED, what="escalated")
    found = engine.store.incidents.get(identity)
    assert found.reason is Reason.INTERNAL_ERROR
    assert "boom" in found.detail
    assert calls == [identity]
    assert engine.store.incidents.due() == []


def test_bug_while_writing_ends_with_a_person(engines):
    """A step that cannot be written because of our own fault ends with a person too, not in a loop."""

    def unwritable(incident, signals, owner):
        return replace(end(incident), settle_approval=("no tuple of two",))

    engine = engines(unwritable)
    (identity,) = receive(engine, "web1")
    until(lambda: engine.store.incidents.get(identity).status is Status.ESCALATED, what="escalated")
    assert engine.store.incidents.get(identity).reason is Reason.INTERNAL_ERROR


@pytest.mark.parametrize("begun", [True, False])
def test_bug_after_the_intent_tells_what_is_known(engines, begun):
    """After a fault of ours a run that was begun is unknown and keeps its host; one that was not is over and frees it."""
    engine = engines(None, started=False)

    def advance(incident, signals, owner):
        if incident.run is None:
            proposal = Proposal(Choice.RUN, Agreement.MATCHERS, "matchers", "x", "restart_service", ("web1",))
            grant = Grant("g", "d", ("web1",), {}, ("policy",))
            request = RunRequest(f"{incident.id}:1:apply:1", RunKind.APPLY, "restart_service", "playbook.yml", ("web1",), "/snapshot")
            intent = Run(request.id, request.kind, request.entry, RunState.INTENT)
            changed = incident.evolve(status=Status.EXECUTING, proposal=proposal, grant=grant, run=intent)
            return Step(changed, intent=request)
        if begun:
            assert engine.store.runs.begin(incident.run.id, incident.id, owner, "node")
        raise ZeroDivisionError("boom")

    engine._advance = advance
    engine.start()
    (identity,) = receive(engine, "web1")
    until(lambda: engine.store.incidents.get(identity).status is Status.ESCALATED, what="escalated")
    found = engine.store.incidents.get(identity)
    assert found.run.state is (RunState.UNKNOWN if begun else RunState.DONE)
    assert engine.store.runs.get(found.run.id).state is found.run.state
    assert bool(engine.store.runs.slots()) is begun


def test_heartbeat_keeps_a_long_step(engines):
    """A step that takes longer than the lease keeps its incident, and nobody else starts it."""
    calls = []

    def slow(incident, signals, owner):
        calls.append(owner)
        time.sleep(5.0)
        return end(incident)

    engines(slow, lease_s=1.5)
    other = engines(slow, lease_s=1.5)
    (identity,) = receive(other, "web1")
    until(lambda: is_over(other, identity), what="the incident is over")
    assert len(calls) == 1


def test_stop_hands_over(engines):
    """An engine that stops in the middle of a long step gives the incident to the next one at once, and writes nothing after."""
    gate, entered = threading.Event(), threading.Event()

    def stuck(incident, signals, owner):
        entered.set()
        gate.wait(60)
        return move(incident, Status.ESCALATED, Reason.NO_ENTRY, "too late", wait_s=FOREVER)

    first = engines(stuck)
    (identity,) = receive(first, "web1")
    assert entered.wait(60)
    first.stop(wait_s=0.2)
    second = engines(at_once)
    until(lambda: is_over(second, identity), what="the incident is over")
    gate.set()
    until(lambda: not first.holds(identity), what="the first has noticed")
    assert is_over(second, identity)


def test_stop_lets_a_step_come_to_its_end(engines):
    """A step under way when the engine stops is kept by the heartbeat while it is waited for, and written."""
    entered = threading.Event()

    def slow(incident, signals, owner):
        entered.set()
        time.sleep(3.0)
        return end(incident)

    engine = engines(slow, lease_s=1.5)
    (identity,) = receive(engine, "web1")
    assert entered.wait(60)
    engine.stop(wait_s=30.0)
    assert is_over(engine, identity)


def test_stopped_engine_starts_nothing(engines):
    """What comes in after the stop waits for the next start."""
    engine = engines(at_once)
    engine.stop()
    (identity,) = receive(engine, "web1")
    engine.work(identity)
    assert engine.store.incidents.get(identity).status is Status.RECEIVED
    second = engines(at_once)
    until(lambda: is_over(second, identity), what="the incident is over")


def test_one_incident_is_never_advanced_twice_at_once(engines):
    """Two engines on one database, many doubled wakes: no incident is ever in two hands, and every step is made once."""
    inside, twice, steps = set(), [], []
    guard = threading.Lock()

    def watched(incident, signals, owner):
        with guard:
            if incident.id in inside:
                twice.append(incident.id)
            inside.add(incident.id)
            steps.append((incident.id, incident.attempt))
        time.sleep(0.01)
        with guard:
            inside.discard(incident.id)
        return end(incident) if incident.attempt == 3 else Step(incident.evolve(attempt=incident.attempt + 1), wait_s=0.0)

    one, two = engines(watched, threads=3), engines(watched, threads=3)
    ids = receive(one, *(f"web{number}" for number in range(20)))
    for identity in ids * 3:
        two.wake(identity)
    until(lambda: all(is_over(two, identity) for identity in ids), what="all are over")
    assert twice == []
    assert sorted(steps) == sorted((identity, attempt) for identity in ids for attempt in (1, 2, 3))
