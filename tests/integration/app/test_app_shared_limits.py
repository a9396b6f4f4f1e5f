"""What one worker's runs came to counts for every worker: cooldown, circuit breakers, hosts changed within an hour."""

from __future__ import annotations

import itertools
import json

import pytest

from orchestrator.app import build
from orchestrator.lifecycle import FOREVER, Step
from orchestrator.model import Agreement, Choice, Grant, HostStats, Outcome, Proposal, Run, RunKind, RunRequest, RunState, Status
from orchestrator.settings import load
from orchestrator.shipped import folder

NUMBER = itertools.count()
HOSTS = "\n".join(
    f"        web{n}: {{ansible_connection: local, prometheus_instance: 'web{n}:9100', recoverable_services: [nginx]}}" for n in range(3)
)


@pytest.fixture
def machines(tmp_path, postgres):
    """Two machines that share one PostgreSQL."""
    (tmp_path / "hosts.yml").write_text(f"all:\n  children:\n    recoverable:\n      hosts:\n{HOSTS}\n")
    url, made = postgres.database(f"limits{next(NUMBER)}"), []
    for name in ("a", "b"):
        values = {
            "ORCHESTRATOR_DATA_DIR": str(tmp_path / name),
            "ORCHESTRATOR_DATABASE__URL": url,
            "ORCHESTRATOR_CATALOGUE__PATH": str(folder("playbooks")),
            "ORCHESTRATOR_CATALOGUE__ROLES": str(folder("roles")),
            "ORCHESTRATOR_INVENTORY__PATHS": str(tmp_path / "hosts.yml"),
        }
        made.append(build(load(None, values)))
    yield made
    for program in made:
        program.stop()


def proposed(host):
    return Proposal(Choice.RUN, Agreement.MATCHERS, "matchers", "x", "restart_service", (host,), {"restart_service_name": "nginx"})


def ran(program, number, host, *, effective):
    """Let a worker carry one changing run to its end, with this effect."""
    labels = {"alertname": f"Down{number}", "instance": f"{host}:9100", "service": "nginx"}
    alert = {"status": "firing", "labels": labels, "annotations": {}, "startsAt": "2026-01-01T00:00:00Z"}
    (line,) = program.receive(json.dumps({"version": "4", "alerts": [alert]}).encode()).incidents
    store, identity = program.store, line["id"]
    claim = store.incidents.claim(identity, "w", 60.0)
    request = RunRequest(f"{identity}:1:apply:1", RunKind.APPLY, "restart_service", "playbook.yml", (host,), "/nowhere")
    intent = Run(request.id, request.kind, request.entry, RunState.INTENT)
    grant = Grant("g", "d", (host,), {}, ("policy",), undo_shown=False)
    ready = claim.incident.evolve(status=Status.EXECUTING, proposal=proposed(host), run=intent, grant=grant)
    store.incidents.commit(claim, Step(ready, intent=request), lambda _: (), lambda _: None)
    assert store.runs.begin(request.id, identity, "w", program.data.node())
    done = Run(request.id, request.kind, request.entry, RunState.DONE, Outcome.SUCCESSFUL, hosts={host: HostStats(ok=1, changed=1)})
    over = ready.evolve(status=Status.ESCALATED, run=done)
    step = Step(over, free=True, runs=(done,), effective=effective, wait_s=FOREVER)
    store.incidents.commit(store.incidents.look(identity, "w"), step, lambda _: (), lambda _: None)


def facts(program, host):
    """Return what the policy of a machine knows before a run on a host."""
    alert = {
        "status": "firing",
        "labels": {"alertname": "Ask", "instance": f"{host}:9100"},
        "annotations": {},
        "startsAt": "2026-01-01T00:00:00Z",
    }
    (line,) = program.receive(json.dumps({"version": "4", "alerts": [alert]}).encode()).incidents
    incident = program.incident(line["id"]).evolve(proposal=proposed(host))
    return program.wiring.facts(incident, incident.proposal, program.entry("restart_service"))


@pytest.mark.foreign
def test_what_one_worker_ran_counts_for_the_other(machines):
    """Two ineffective runs by one machine open the breakers of entry and host, start the cooldown and count as changed on the other."""
    one, two = machines
    assert facts(two, "web1").breaker == ()
    ran(one, 1, "web1", effective=False)
    seen = facts(two, "web1")
    assert set(seen.last_run_at) == {"web1"}
    assert seen.hosts_changed_last_hour == {"web1"}
    assert seen.breaker == (), "once is not enough"
    ran(one, 2, "web1", effective=False)
    words = facts(two, "web1").breaker
    assert any("restart_service" in word for word in words)
    assert any("host web1" in word for word in words)
    assert not any("host web2" in word for word in facts(two, "web2").breaker), "the entry's is open everywhere, the host's there only"
    ran(two, 3, "web1", effective=True)
    assert facts(one, "web1").breaker == (), "a run that helped closes both"
