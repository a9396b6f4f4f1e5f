"""The store keeps what it acknowledged, and lets one worker through."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from orchestrator.errors import LeaseLost, SchemaMismatch
from orchestrator.ingest import fingerprint
from orchestrator.lifecycle import FOREVER, Step, move
from orchestrator.matcher import matches_all
from orchestrator.model import (
    Agreement,
    Alert,
    AlertGroup,
    AlertStatus,
    Choice,
    Grant,
    Happening,
    Proposal,
    Reason,
    RejectedAlert,
    Run,
    RunKind,
    RunRequest,
    RunState,
    Status,
)
from orchestrator.store import Linking, Store

START = datetime(2026, 1, 1, tzinfo=UTC)
LINKING = Linking(30.0, lambda labels: matches_all(('alertname="HostDown"',), labels))


def alert(name="ServiceDown", host="web1", status=AlertStatus.FIRING, starts=START, ends=None, **labels):
    labels = {"alertname": name, "instance": f"{host}:9100", "severity": "critical", **labels}
    return Alert(fingerprint(labels), status, labels, {}, starts, ends)


def receive(store, *alerts, rejected=()):
    woken = []
    lines = store.incidents.receive(AlertGroup(tuple(alerts), tuple(rejected)), LINKING, woken.append)
    return lines, woken


def claim(store, identity, owner="me", lease_s=10.0):
    return store.incidents.claim(identity, owner, lease_s)


def commit(store, held, step, limits=()):
    return store.incidents.commit(held, step, lambda _: limits, lambda _: None)


def request(incident, hosts=("web1",), n=1):
    return RunRequest(f"{incident.id}:1:apply:{n}", RunKind.APPLY, "restart_service", "playbook.yml", hosts, "/snapshot")


def granted(incident, hosts=("web1",)):
    proposal = Proposal(Choice.RUN, Agreement.MATCHERS, "matchers", "x", "restart_service", hosts)
    return incident.evolve(status=Status.EXECUTING, proposal=proposal, grant=Grant("g", "d", hosts, {}, ("policy",)))


def test_repeat_opens_nothing_twice(store):
    """At most one open incident per fingerprint, however often it is delivered."""
    first, woken = receive(store, alert())
    again, _ = receive(store, alert())
    assert first[0]["created"]
    assert not again[0]["created"]
    assert first[0]["id"] == again[0]["id"] == woken[0]
    assert len(store.incidents.alerts()[0]) == 1


def test_new_episode_after_the_end_is_linked(store):
    """After an incident is over, a firing delivery of a new episode opens one linked as previous."""
    (line,), _ = receive(store, alert())
    held = claim(store, line["id"])
    assert not commit(store, held, move(held.incident, Status.CLEARED, Reason.NOT_FIRING, "gone"))
    receive(store, alert(status=AlertStatus.RESOLVED, ends=START + timedelta(minutes=1)))
    (second,), _ = receive(store, alert(starts=START + timedelta(minutes=5)))
    assert second["created"]
    assert store.incidents.get(second["id"]).previous == line["id"]


def test_delivery_older_than_the_resolve_opens_nothing(store):
    """A firing delivery of an episode whose resolve is known is recorded and opens nothing."""
    (line,), _ = receive(store, alert(status=AlertStatus.RESOLVED, ends=START + timedelta(minutes=1)))
    assert line["id"] is None
    (late,), _ = receive(store, alert())
    assert not late["created"]
    assert store.incidents.find()[0] == []
    assert len(store.incidents.alerts()[0]) == 2


def test_resolve_of_an_earlier_episode_ends_nothing(store):
    """A resolve that comes late, of an episode before the present one, is recorded and reaches no incident."""
    (line,), _ = receive(store, alert(starts=START + timedelta(days=1)))
    receive(store, alert(status=AlertStatus.RESOLVED, ends=START + timedelta(minutes=1)))
    assert claim(store, line["id"]).signals == ()
    assert store.incidents.find()[0][0].firing


def test_old_suppression_hides_nothing(store):
    """A suppressed incident whose alert has resolved does not hide its fingerprint from reconciliation."""
    (line,), _ = receive(store, alert())
    held = claim(store, line["id"])
    commit(store, held, move(held.incident, Status.SUPPRESSED, Reason.SILENCED, "silence", wait_s=FOREVER))
    assert alert().fingerprint in store.incidents.open_fingerprints()
    receive(store, alert(status=AlertStatus.RESOLVED, ends=START + timedelta(minutes=1)))
    assert alert().fingerprint not in store.incidents.open_fingerprints()


def test_equal_deliveries_at_once_open_one_incident(store):
    """Two of a pair of Alertmanagers deliver the same alert in the same moment: one incident, no error."""
    lines, gate = [], threading.Barrier(4)

    def deliver():
        gate.wait()
        lines.extend(receive(store, alert())[0])
        store.db.close()

    threads = [threading.Thread(target=deliver) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lines) == 4
    assert len({line["id"] for line in lines}) == 1
    assert sum(line["created"] for line in lines) == 1


def test_two_sealers_make_one_chain(store):
    """Workers that seal at once do not fork the global chain."""
    for number in range(8):
        receive(store, alert(service=str(number)))
    gate = threading.Barrier(4)

    def seal():
        gate.wait()
        store.chain.seal()
        store.db.close()

    threads = [threading.Thread(target=seal) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.chain.verify()["problems"] == []
    assert store.chain.verify()["seals"] == 1


def test_resolve_signals_once(store):
    """A resolve reaches its incident once, however often it is delivered."""
    (line,), _ = receive(store, alert())
    for _ in range(3):
        receive(store, alert(status=AlertStatus.RESOLVED, ends=START + timedelta(minutes=1)))
    held = claim(store, line["id"])
    assert [signal.kind for _, signal in held.signals] == ["resolved"]


@pytest.mark.parametrize("order", ["host first", "service first"])
def test_host_down_is_the_parent_whatever_came_first(store, order):
    """The host that is down is the parent of services on it, in either order of arrival."""
    pair = [alert("HostDown"), alert("ServiceDown", service="nginx")]
    if order == "service first":
        pair.reverse()
    lines = [receive(store, item)[0][0] for item in pair]
    host, service = (lines[0], lines[1]) if order == "host first" else (lines[1], lines[0])
    held = claim(store, service["id"])
    told = [signal.data.get("parent") for _, signal in held.signals]
    assert held.incident.parent == host["id"] or host["id"] in told
    assert store.incidents.get(host["id"]).parent == ""


def test_no_link_across_hosts(store):
    """Incidents of different targets are never linked by themselves."""
    receive(store, alert("HostDown", host="web1"))
    (line,), _ = receive(store, alert(host="web2"))
    assert store.incidents.get(line["id"]).parent == ""


def test_rejected_alerts_are_kept_raw(store):
    """A malformed alert of a group is stored raw; the others go on."""
    lines, _ = receive(store, alert(), rejected=[RejectedAlert(1, "no labels", "{}")])
    assert len(lines) == 1
    assert store.db.tables.rejected.select().count() == 1


def test_rolled_back_delivery_leaves_nothing(store):
    """A delivery that fails half way leaves no row of itself."""

    def wake(identity):
        raise RuntimeError(identity)

    with pytest.raises(RuntimeError):
        store.incidents.receive(AlertGroup((alert(),)), LINKING, wake)
    assert store.incidents.find()[0] == []
    assert store.chain.newest() == 0


def test_one_of_many_claims_wins(store):
    """Of workers that claim one incident at once, one wins."""
    (line,), _ = receive(store, alert())
    won, gate = [], threading.Barrier(6)

    def work(number):
        gate.wait()
        if claim(store, line["id"], f"w{number}"):
            won.append(number)
        store.db.close()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1


def test_a_worker_that_lost_its_lease_writes_nothing(store):
    """A step of a worker whose lease ran out and was taken over is refused whole."""
    (line,), _ = receive(store, alert())
    stale = claim(store, line["id"], "sleeper", lease_s=-1.0)
    fresh = claim(store, line["id"], "other")
    assert fresh is not None
    before = store.chain.newest()
    with pytest.raises(LeaseLost):
        commit(store, stale, move(stale.incident, Status.INVESTIGATING, None, "late"))
    assert store.chain.newest() == before
    assert store.incidents.get(line["id"]).status is Status.RECEIVED
    assert not store.incidents.renew(line["id"], "sleeper", 10)


def test_a_signal_between_reading_and_parking_is_not_lost(store):
    """An incident that would park forever stays due when something came in since it was read."""
    (line,), _ = receive(store, alert())
    held = claim(store, line["id"])
    store.incidents.signal(line["id"], "answered", {}, lambda _: None)
    assert commit(store, held, Step(held.incident, wait_s=FOREVER))


def test_two_changing_runs_never_share_a_host(store):
    """The second incident that needs a host waits until the first has given it back."""
    first, second = (receive(store, alert(service=name, host=name))[0][0]["id"] for name in ("a", "b"))
    one, two = claim(store, first), claim(store, second)
    assert commit(store, one, Step(granted(one.incident).evolve(run=None), intent=request(one.incident)))
    commit(store, two, Step(granted(two.incident)))
    two = store.incidents.look(second, "me")
    assert not commit(store, two, Step(two.incident, intent=request(two.incident)))
    assert store.incidents.get(second).blocked_by == "host:web1"
    assert [row.id for row in store.db.tables.run.select()] == [f"{first}:1:apply:1"]
    one = store.incidents.look(first, "me")
    commit(store, one, Step(one.incident, free=True, wait_s=FOREVER))
    two = claim(store, second)
    assert commit(store, two, Step(granted(two.incident), intent=request(two.incident)))


def test_several_hosts_are_taken_all_or_nothing(store):
    """A run over several hosts that cannot have them all takes none."""
    first, second = (receive(store, alert(service=name, host=name))[0][0]["id"] for name in ("a", "b"))
    one, two = claim(store, first), claim(store, second)
    commit(store, one, Step(granted(one.incident), intent=request(one.incident, ("web2",))))
    commit(store, two, Step(granted(two.incident), intent=request(two.incident, ("web1", "web2", "web3"))))
    assert {name for name, _ in store.runs.slots()} == {"host:web2"}


def test_limits_count_across_incidents(store):
    """No more changing runs than the limit hold a place at once."""
    ids = [receive(store, alert(service=name, host=name))[0][0]["id"] for name in ("a", "b", "c")]
    for number, identity in enumerate(ids):
        held = claim(store, identity)
        commit(store, held, Step(granted(held.incident), intent=request(held.incident, (f"web{number}",))), limits=[("all", 2)])
    assert store.incidents.get(ids[2]).blocked_by == "all"
    assert sum(name.startswith("all#") for name, _ in store.runs.slots()) == 2


def test_an_intent_begins_once(store):
    """Of all who try to begin a run, one may, and only the worker that holds the incident."""
    (line,), _ = receive(store, alert())
    held = claim(store, line["id"])
    commit(store, held, Step(granted(held.incident), intent=request(held.incident)))
    run = f"{line['id']}:1:apply:1"
    assert not store.runs.begin(run, line["id"], "somebody else", "n2")
    assert store.runs.begin(run, line["id"], "me", "n1")
    assert not store.runs.begin(run, line["id"], "me", "n1")
    assert store.runs.get(run).state is RunState.RUNNING


def test_events_reach_the_outbox_with_the_step(store):
    """What a channel wants to hear is written in the step's own transaction."""
    (line,), _ = receive(store, alert())
    held = claim(store, line["id"])
    commit(store, held, move(held.incident, Status.ESCALATED, Reason.NO_ENTRY, "nothing fits", wait_s=FOREVER))
    letters = store.outbox.take()
    assert [letter.kind for letter in letters] == ["incident.escalated"]
    assert store.outbox.take() == []


def test_letter_that_another_worker_took_is_not_sent(store):
    """A worker that slept with a letter in its hands notices before sending that another one has it by now."""
    (line,), _ = receive(store, alert())
    held = claim(store, line["id"])
    commit(store, held, move(held.incident, Status.ESCALATED, Reason.NO_ENTRY, "nothing fits", wait_s=FOREVER))
    (slept,) = store.outbox.take()
    table = store.db.tables.outbox
    table.update(due=table.due - 120_000).execute()  # two minutes later
    (taken,) = store.outbox.take()
    assert not store.outbox.keep(slept)
    assert store.outbox.keep(taken)


def test_a_broken_step_leaves_the_incident_with_a_person(store):
    """A handler's bug leaves the incident escalated with its error, not in a loop."""
    (line,), _ = receive(store, alert())
    held = claim(store, line["id"])
    store.incidents.fail(held, "ValueError: boom")
    left = store.incidents.get(line["id"])
    assert left.status is Status.ESCALATED
    assert left.reason is Reason.INTERNAL_ERROR
    assert "boom" in left.detail
    assert store.incidents.due() == []


def test_audit_log_refuses_change(store):
    """The database itself refuses to change or delete an audit event."""
    receive(store, alert())
    table = store.db.tables.audit
    for statement in (table.delete(), table.update(actor="mallory"), table.update(data="{}")):
        with pytest.raises(Exception, match="append-only"), store.db.transaction():
            statement.execute()
    assert store.chain.verify()["ok"]


def test_redaction_leaves_a_tombstone(store):
    """A redacted body is gone, the chain holds, and the log says who did it."""
    receive(store, alert())
    store.chain.redact(1, "admin", "a secret")
    assert store.chain.events()[0].data is None
    assert store.chain.events()[-1].kind == "audit.redacted"
    assert store.chain.verify()["ok"]


def test_a_head_outside_notices_a_rewritten_log(store, tmp_path):
    """A log that was written anew as a whole is noticed by the head kept outside."""
    receive(store, alert())
    head = store.chain.seal()
    assert store.chain.verify(head)["ok"]
    other = Store(f"sqlite:///{tmp_path}/other.db")
    other.db.create()
    receive(other, alert())
    other.chain.seal()
    told = other.chain.verify(head)
    other.db.close()
    assert not told["ok"]
    assert "outside" in told["problems"][0]


def test_newer_schema_is_refused(store, url):
    """A database written by a newer version is refused with the mend."""
    store.people.set_flag("schema_version", "999")
    with pytest.raises(SchemaMismatch, match="install the newer version"):
        Store(url).db.create()


def test_past_runs_carry_their_effect(store):
    """Cooldown and breaker see a run with its time, its changes and whether it helped."""
    (line,), _ = receive(store, alert())
    held = claim(store, line["id"])
    commit(store, held, Step(granted(held.incident), intent=request(held.incident)))
    run = f"{line['id']}:1:apply:1"
    assert store.runs.past(0) == []
    store.runs.begin(run, line["id"], "me", "n1")
    held = store.incidents.look(line["id"], "me")
    done = Run(run, RunKind.APPLY, "restart_service", RunState.DONE)
    commit(
        store,
        held,
        replace(move(held.incident, Status.ESCALATED, Reason.UNHEALTHY, "x", effective=False, free=True, wait_s=FOREVER), runs=(done,)),
    )
    (past,) = store.runs.past(0)
    assert (past.host, past.effective, past.by_person) == ("web1", False, False)
    assert store.runs.slots() == []


def test_chain_events_page_in_order(store):
    """The log is read in the order in which it was written."""
    with store.db.transaction():
        for number in range(5):
            store.chain.append("system", Happening("x", data={"n": number}))
    assert [event.data["n"] for event in store.chain.each()] == [0, 1, 2, 3, 4]
    assert [event.id for event in store.chain.latest(2)] == [5, 4]


def test_pages_of_several_statuses_are_whole_and_in_order(store):
    """A filter by several statuses pages through all of them, newest first, nothing twice and nothing left out."""
    ids = [receive(store, alert(host=f"web{number}"))[0][0]["id"] for number in range(9)]
    table = store.db.tables.incident
    with store.db.transaction():
        for number, identity in enumerate(ids):
            status = ("resolved", "cleared", "received")[number % 3]
            table.update(status=status).where(table.id == identity).execute()
    wanted, cursor, found = (Status.RESOLVED, Status.CLEARED), "", []
    while True:
        items, cursor = store.incidents.find(status=wanted, limit=2, cursor=cursor)
        found += [item.id for item in items]
        if not cursor:
            break
    assert found == sorted((one for number, one in enumerate(ids) if number % 3 != 2), reverse=True)
