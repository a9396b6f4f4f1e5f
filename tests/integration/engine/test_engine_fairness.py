"""Who has its turn: by age and severity, nobody starves, and a busy host costs the others nothing."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

from services import until

from orchestrator.errors import HostBusy
from orchestrator.ingest import fingerprint
from orchestrator.lifecycle import FOREVER, Step, move
from orchestrator.model import (
    Agreement,
    Alert,
    AlertGroup,
    AlertStatus,
    Choice,
    Entry,
    EntryKind,
    Grant,
    Outcome,
    Proposal,
    Reason,
    Run,
    RunKind,
    RunRequest,
    RunState,
    Status,
)
from orchestrator.playing import READS_PER_HOST, Playing
from orchestrator.store import Linking
from orchestrator.store.runs import HEAD_START_MS

LINKING = Linking(0.0, lambda _: False)


def receive(store, name, severity="warning", wake=lambda _: None):
    labels = {"alertname": "ServiceDown", "instance": f"{name}:9100", "severity": severity}
    alert = Alert(fingerprint(labels), AlertStatus.FIRING, labels, {}, datetime(2026, 1, 1, tzinfo=UTC), None)
    return store.incidents.receive(AlertGroup((alert,)), LINKING, wake)[0]["id"]


def aged(store, identity, ms):
    """Make an incident older."""
    table = store.db.tables.incident
    with store.db.transaction():
        table.update(run_at=table.run_at - ms, created_at=table.created_at - ms).where(table.id == identity).execute()


def end(incident):
    return move(incident, Status.CLEARED, Reason.NOT_FIRING, "over", wait_s=FOREVER)


def test_severe_goes_first_until_the_other_is_old(engines):
    """A step of severity is worth one minute of waiting: the critical pass the others, but not those that have waited long enough."""
    store = engines(None, started=False).store
    info, warning, critical = (receive(store, name, name) for name in ("info", "warning", "critical"))
    assert store.incidents.due() == [critical, warning, info]
    aged(store, info, 3 * HEAD_START_MS)
    assert store.incidents.due() == [critical, info, warning]
    aged(store, info, 2 * HEAD_START_MS)
    assert store.incidents.due() == [info, critical, warning]


def test_old_incident_of_low_severity_gets_its_turn(engines):
    """While critical alerts come faster than they are worked on, an old one of low severity is not put off for ever."""
    order = []

    def flood(incident, signals, owner):
        order.append(incident.id)
        if len(order) < 60:
            for number in range(2):
                receive(engine.store, f"host{len(order)}-{number}", "critical", engine.wake)
        return end(incident)

    engine = engines(flood, threads=1, started=False)
    low = receive(engine.store, "low", "info", engine.wake)
    for number in range(5):
        receive(engine.store, f"first{number}", "critical", engine.wake)
    aged(engine.store, low, 5 * HEAD_START_MS)
    engine.start()
    until(lambda: low in order, what="the old incident has had its turn")
    assert order.index(low) < 30, "before what came later"


def test_many_tasks_are_not_piled_up(engines):
    """In a storm the queue of tasks stays short: who takes one goes on until nothing is due."""
    engine = engines(lambda incident, signals, owner: end(incident), started=False)
    for number in range(100):
        receive(engine.store, f"a{number}", wake=engine.wake)
    engine.sweep()
    size = engine._huey.storage.queue_size()
    for number in range(100):
        receive(engine.store, f"b{number}", wake=engine.wake)
    assert engine._huey.storage.queue_size() == size
    engine.start()
    until(lambda: not engine.store.incidents.waiting(), what="all were worked on")
    assert engine.store.incidents.counts() == {"cleared": 200}


def granted(incident, host):
    """Return an incident that may run on a host, and the step that asks for its slots."""
    proposal = Proposal(Choice.RUN, Agreement.MATCHERS, "matchers", "x", "restart_service", (host,))
    ready = incident.evolve(status=Status.EXECUTING, proposal=proposal, grant=Grant("g", "d", (host,), {}, ("policy",), undo_shown=False))
    request = RunRequest(f"{incident.id}:1:apply:1", RunKind.APPLY, "restart_service", "playbook.yml", (host,), "/snapshot")
    intent = Run(request.id, request.kind, request.entry, RunState.INTENT)
    return Step(ready.evolve(run=intent, blocked_by=""), intent=request, wait_s=FOREVER)


def try_to_run(store, identity, host, limits=()):
    """Let a worker ask for everything an incident needs; return what is in its way."""
    table = store.db.tables.incident
    with store.db.transaction():
        table.update(run_at=1, lease=0).where(table.id == identity).execute()
    claim = store.incidents.claim(identity, f"worker-{identity}", 30.0)
    claim = replace(claim, incident=claim.incident.evolve(status=Status.EXECUTING))
    store.incidents.commit(claim, granted(claim.incident, host), lambda _: limits, lambda _: None)
    return store.incidents.summary(identity).blocked_by


def free(store, identity, woken):
    table = store.db.tables.incident
    with store.db.transaction():
        table.update(run_at=1, lease=0).where(table.id == identity).execute()
    claim = store.incidents.claim(identity, f"end-{identity}", 30.0)
    ended = end(claim.incident.evolve(status=Status.VERIFYING))
    store.incidents.commit(claim, replace(ended, free=True), lambda _: (), woken.append)


def test_turns_for_a_slot_across_workers(engines):
    """Of two workers' incidents that wait for one host or one limit the older goes first, and is woken when it becomes free."""
    one, two = engines(None, started=False).store, engines(None, started=False).store
    for host, limits, slot in (("web1", (), "host:web1"), ("", (("all", 1),), "all")):
        first, older, newer = (receive(one, f"{slot}-{n}") for n in ("first", "older", "newer"))
        hosts = [host or f"h{n}" for n in range(3)]
        assert try_to_run(one, first, hosts[0], limits) == ""
        assert try_to_run(two, older, hosts[1], limits) == slot
        assert try_to_run(one, newer, hosts[2], limits) == slot
        woken = []
        free(one, first, woken)
        assert woken[0] == older
        assert try_to_run(one, newer, hosts[2], limits) == slot, "the older one has its turn"
        assert try_to_run(two, older, hosts[1], limits) == ""
        free(two, older, [])
        assert try_to_run(one, newer, hosts[2], limits) == ""
        free(one, newer, [])


def test_limits_hold_across_workers(engines):
    """The limits of the whole, of an entry and of a group count the runs of every worker, and a host's lock is asked for first."""
    one, two = engines(None, started=False).store, engines(None, started=False).store
    limits = (("all", 3), ("entry:restart_service", 2), ("group:web", 1))
    ids = [receive(one, f"web{n}") for n in range(4)]
    assert try_to_run(one, ids[0], "web0", limits) == ""
    assert try_to_run(two, ids[1], "web0", limits) == "host:web0", "no slot of a limit is held while it waits for its host"
    assert try_to_run(two, ids[2], "web2", limits) == "group:web"
    assert try_to_run(two, ids[2], "web2", limits[:2]) == ""
    assert try_to_run(one, ids[3], "web3", limits[:2]) == "entry:restart_service"
    assert Counter(incident for _, incident in one.runs.slots()) == {ids[0]: 4, ids[2]: 3}


# ---------------------------------------------------------------- seats of read-only plays


def test_seats_are_shared_between_workers(engines):
    """Not more than three incidents read one host at once, whichever worker carries them; plays of one incident share a seat."""
    one, two = engines(None, started=False).store, engines(None, started=False).store
    assert [one.seats.take(f"i{n}", ["web1"], 3, 30) for n in range(3)] == ["", "", ""]
    assert two.seats.take("i3", ["web1"], 3, 30) == "web1"
    assert two.seats.take("i2", ["web1"], 3, 30) == ""
    assert two.seats.take("i3", ["web2", "web1"], 3, 30) == "web1"
    assert [seat for seat, _ in one.seats.taken()] == ["read:web1#0", "read:web1#1", "read:web1#2"], "all or nothing"
    one.seats.give_back("i1")
    assert two.seats.take("i3", ["web2", "web1"], 3, 30) == ""


def test_seat_of_a_dead_worker_is_free_again(engines):
    """A seat that nobody keeps any more is free when its time is over; one that is kept is not."""
    store = engines(None, started=False).store
    store.seats.take("dead", ["web1"], 1, -1)
    assert store.seats.taken() == []
    assert store.seats.take("next", ["web1"], 1, 0.05) == ""
    store.seats.keep("next", 30)
    assert store.seats.take("third", ["web1"], 1, 30) == "web1"


def test_older_reader_goes_first(engines):
    """Who waits for a seat has it before one that came later."""
    store = engines(None, started=False).store
    older, newer = receive(store, "older"), receive(store, "newer")
    claim = store.incidents.claim(older, "w", 30)
    store.incidents.hold_off(older, claim.owner, "read:web1", 1.0)
    assert store.seats.take(newer, ["web1"], 3, 30) == "web1"
    assert store.seats.take(older, ["web1"], 3, 30) == ""
    assert store.incidents.summary(older).blocked_by == ""
    assert store.seats.take(newer, ["web1"], 3, 30) == ""


class SlowPlays:
    """Plays that end when they are let go; it counts how many read a host at once."""

    def __init__(self):
        self.go, self.lock = threading.Event(), threading.Lock()
        self.now, self.most = Counter(), Counter()

    def run(self, request, on_event, cancelled):
        (host,) = request.hosts
        with self.lock:
            self.now[host] += 1
            self.most[host] = max(self.most[host], self.now[host])
        assert host == "calm" or self.go.wait(60)
        with self.lock:
            self.now[host] -= 1
        return Run(request.id, request.kind, request.entry, RunState.DONE, Outcome.SUCCESSFUL)

    def settle(self, run):
        return


def test_busy_host_starves_no_other(engines):
    """Incidents that wait to read one host hold no worker: those of another host come to their end meanwhile, on two engines."""
    plays, made = SlowPlays(), []

    def read(engine):
        playing = Playing(
            engine.store,
            plays,
            lambda _: Entry("host_state", "x", "", EntryKind.DIAGNOSTIC, "", "d"),
            "n",
            str,
            lambda: False,
            lambda _: "",
        )

        def advance(incident, signals, owner):
            host = "busy" if "busy" in incident.alert.target else "calm"
            request = RunRequest(f"{incident.id}:1:context:1", RunKind.CONTEXT, "host_state", "playbook.yml", (host,), "/s")
            try:
                playing.play(incident, request)
            finally:
                playing.busy.pop(incident.id, "")
            return end(incident)

        return advance

    for _ in range(2):
        made.append(engines(None, threads=4, started=False))
        made[-1]._advance = read(made[-1])
    store = made[0].store
    for number in range(12):
        receive(store, f"busy{number}", "critical", made[0].wake)
    calm = [receive(store, f"calm{number}", "info", made[0].wake) for number in range(4)]
    for engine in made:
        engine.start()
    try:
        until(lambda: all(store.incidents.summary(one).status is Status.CLEARED for one in calm), what="the calm host's are over")
        assert plays.now["busy"] <= READS_PER_HOST
    finally:
        plays.go.set()
    until(lambda: store.incidents.counts() == {"cleared": 16}, what="all are over")
    assert plays.most["busy"] <= READS_PER_HOST
    assert store.seats.taken() == []


def test_host_busy_says_which():
    """The error names the host, for people who ask why an incident waits."""
    assert "web1" in str(HostBusy("web1"))
