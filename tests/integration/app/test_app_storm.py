"""A storm of alerts: people are told once, hosts are left alone, and nothing runs by itself while most of the fleet alerts."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from orchestrator.app import build
from orchestrator.chores import Chores
from orchestrator.errors import Unavailable
from orchestrator.model import Actor, Effect, Reason, Role, Rule
from orchestrator.settings import load
from orchestrator.shipped import folder

HOSTS = 20


class Inbox:
    """A channel that keeps what it was given, and can be broken."""

    name = "inbox"

    def __init__(self):
        self.messages, self.broken = [], False

    def send(self, message):
        if self.broken:
            raise Unavailable("no route to the inbox")
        self.messages.append(message)


class Firing:
    """A Prometheus in which everything fires."""

    def firing(self, alert):
        return True

    def rule_for(self, alert):
        return Rule(alert.name, "up == 0", {}, {})

    def holds(self, query):
        return True

    def active(self):
        return []


@pytest.fixture
def program(tmp_path):
    """One orchestrator with twenty hosts that may act by itself; nothing advances unless a test says so."""
    hosts = "\n".join(
        f"        web{n}: {{ansible_connection: local, prometheus_instance: 'web{n}:9100', recoverable_services: [nginx]}}"
        for n in range(HOSTS)
    )
    (tmp_path / "hosts.yml").write_text(f"all:\n  children:\n    recoverable:\n      hosts:\n{hosts}\n")
    built = build(
        load(
            None,
            {
                "ORCHESTRATOR_DATA_DIR": str(tmp_path / "var"),
                "ORCHESTRATOR_INVENTORY__PATHS": str(tmp_path / "hosts.yml"),
                "ORCHESTRATOR_CATALOGUE__PATH": str(folder("playbooks")),
                "ORCHESTRATOR_CATALOGUE__ROLES": str(folder("roles")),
                "ORCHESTRATOR_DECISION__ENGINE": "matchers",
                "ORCHESTRATOR_POLICY__MODE": "auto",
                "ORCHESTRATOR_POLICY__AUTONOMY_MEDIUM": "auto",
                "ORCHESTRATOR_NOTIFY__APPRISE_URLS": "json://127.0.0.1:1",
            },
        )
    )
    built.wiring = replace(built.wiring, prometheus=Firing())
    inbox = Inbox()
    inbox.name = next(iter(built.channels))
    built.channels[inbox.name] = built.inbox = inbox
    yield built
    built.stop()


def post(program, count, name="ServiceDown", service="nginx", first=0):
    """Deliver one group of alerts, each of a host of its own."""
    alerts = [
        {
            "status": "firing",
            "labels": {"alertname": name, "instance": f"web{n}:9100", "service": service, "severity": "critical"},
            "annotations": {},
            "startsAt": "2026-01-01T00:00:00Z",
        }
        for n in range(first, first + count)
    ]
    return [line["id"] for line in program.receive(json.dumps({"version": "4", "alerts": alerts}).encode()).incidents]


def later(program, ms):
    """Let time pass for everything that counts messages."""
    tables = program.store.db.tables
    with program.store.db.transaction():
        tables.outbox.update(created_at=tables.outbox.created_at - ms).execute()
        tables.storm.update(due=0, began_at=tables.storm.began_at - ms, told_at=tables.storm.told_at - ms).execute()


def work(program, ids):
    for identity in ids:
        program.engine.work(identity)


def test_few_hosts_may_run_many_ask(program):
    """While a few of twenty hosts alert a repair may run by itself; once more than half do, every decision asks, and says why."""
    (one,) = post(program, 1)
    incident = program.incident(one)

    def judged():
        hosts = program.wiring.hosts(incident)
        context = program.wiring.gather(incident, hosts) if program.wiring._fleet_alarm() else program.wiring.rule_of(incident.alert)
        ready = incident.evolve(context=context)
        return program.wiring.judge(ready.evolve(proposal=program.wiring.decide(ready, hosts)))

    assert judged().effect is Effect.ALLOW, judged().guards
    post(program, 11, first=1)
    verdict = judged()
    assert (verdict.effect, verdict.reasons) == (Effect.ASK, (Reason.FLEET_ALARM,))
    assert any("12 of 20 hosts alert. Monitoring itself may be wrong." in guard.detail for guard in verdict.guards)


def test_fleet_alarm_asks_no_host(program):
    """While most of the fleet alerts nobody logs in to it for context or for checks; what is missing says so."""
    program.executor.run = lambda *_: pytest.fail("a play was run")
    ids = post(program, 12)
    work(program, ids[:1])
    incident = program.incident(ids[0])
    assert incident.status == "awaiting_approval"
    assert any("12 of 20 hosts alert at once" in piece.reason for piece in incident.context.missing)
    assert incident.check is None


def test_storm_is_told_once_and_when_it_is_over(program):
    """Hundreds of incidents make one message when the storm begins and one when it is over; single messages come again afterwards."""
    chores, inbox = Chores(program), program.inbox
    waves = [post(program, HOSTS, name=f"Odd{kind}") for kind in range(10)]
    for wave in waves:
        work(program, wave)
        chores.notify()
    assert inbox.messages == []
    later(program, 11_000)
    chores.notify()
    (begin,) = inbox.messages
    assert begin.subject == "Alert storm: 200 incidents on 20 hosts"
    assert "Odd0 20" in begin.text
    later(program, 61_000)
    chores.notify()
    end = inbox.messages[-1]
    assert (len(inbox.messages), end.kind) == (2, "storm.over")
    assert "escalated 200" in end.text
    assert program.store.outbox.counts()["summarised"] == 200
    work(program, post(program, 1, name="Single"))
    chores.notify()
    assert "Single" in inbox.messages[-1].text


def test_storm_that_goes_on_is_told_now_and_then(program):
    """While it lasts there is one message every ten minutes, and none between."""
    chores, inbox = Chores(program), program.inbox
    post(program, HOSTS, name="Odd")
    post(program, HOSTS, name="Other")
    work(program, [item.id for item in program.store.incidents.find(limit=100)[0]])
    chores.notify()
    for _ in range(12):
        later(program, 60_001)
        with program.store.db.transaction():
            table = program.store.db.tables.outbox
            table.update(created_at=program.store.db.now_ms()).execute()
        chores.notify()
        chores.notify()
    assert [message.kind for message in inbox.messages] == ["storm.began", "storm.goes_on"]


def test_summary_that_cannot_be_sent_is_tried_again(program):
    """A channel that is down when a storm begins is told of it when it is up again."""
    chores, inbox = Chores(program), program.inbox
    inbox.broken = True
    work(program, [*post(program, HOSTS, name="Odd"), *post(program, HOSTS, name="Other")])
    chores.notify()
    later(program, 11_000)
    chores.notify()
    assert program.troubles.all()
    inbox.broken = False
    later(program, 0)
    chores.notify()
    assert [message.kind for message in inbox.messages] == ["storm.began"]
    assert not [item for item in program.troubles.all() if item["what"].startswith("notify")]


def test_word_about_ourselves_is_no_part_of_a_storm(program):
    """What concerns this program itself is told at once in a storm, too."""
    chores, inbox = Chores(program), program.inbox
    post(program, HOSTS, name="Odd")
    post(program, HOSTS, name="Other")
    work(program, [item.id for item in program.store.incidents.find(limit=100)[0]])
    program.pause(Actor("ann", Role.ADMIN), "storm")
    chores.notify()
    assert [message.kind for message in inbox.messages] == ["engine.paused"]
