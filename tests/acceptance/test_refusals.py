"""Faults that a restart does not mend, and one that it does: each is told in words by which a person can go on."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import ExitStack
from types import SimpleNamespace

import psutil
import pytest
from farm import SERVICE_DOWN, Nginx, Supervisor, Watch, applied, incident_of, kinds, local_host, short_folder, write_inventory
from server import Server
from services import free_port, until

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(600)]

SETTINGS = {
    "ORCHESTRATOR_POLICY__MODE": "auto",
    "ORCHESTRATOR_POLICY__FLEET_MINIMUM": "100",
    "ORCHESTRATOR_POLICY__BREAKER_FAILURES": "100",
    "ORCHESTRATOR_POLICY__MAX_HOSTS_PER_HOUR": "100",
    "ORCHESTRATOR_CONTEXT__FROM_HOSTS": "false",
    "ORCHESTRATOR_LOGS__FROM_HOSTS": "false",
}

STRANGER = """\
import http.server, sys
class Wrong(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_error(503)
    def log_message(self, *arguments):
        pass
http.server.HTTPServer.allow_reuse_address = True
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Wrong).serve_forever()
"""


@pytest.fixture(scope="module")
def site():
    """Run five hosts' services and their monitoring, break each in its own way, and let the policy repair what it may."""
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder("refuse-"))
        supervisor = Supervisor(folder / "s")
        broken, held, hung, unlisted = (Nginx(supervisor, name) for name in ("broken", "held", "hung", "unlisted"))
        stack.enter_context(supervisor)
        watch = stack.enter_context(Watch(folder))
        nowhere = free_port()
        watched = {broken: "broken", held: "held", hung: "hung", unlisted: "unlisted"}
        probes = {nginx.address: {"instance": f"{name}:80", "service": name} for nginx, name in watched.items()}
        watch.start({**probes, f"127.0.0.1:{nowhere}": {"instance": "away:80", "service": "nginx"}}, [SERVICE_DOWN])
        hosts = {name: nginx.host(prometheus_instance=f"{name}:80") for nginx, name in watched.items()}
        hosts["unlisted"]["recoverable_services"] = ["something-else"]
        hosts["away"] = local_host(
            supervisor,
            ansible_connection="ssh",
            ansible_host="127.0.0.1",
            ansible_port=nowhere,
            prometheus_instance="away:80",
            recoverable_services=["nginx"],
        )
        inventory = write_inventory(folder / "hosts.yml", hosts)
        server = Server(folder, {**watch.settings, **SETTINGS, "ORCHESTRATOR_INVENTORY__PATHS": str(inventory)})
        stack.enter_context(server)
        for nginx, name in watched.items():
            assert until(nginx.answers, what=f"{name} answers")
        watch.sees("sum(probe_success) == 4")
        break_each(stack, broken, held, hung, unlisted)
        watch.connect(server)
        yield SimpleNamespace(server=server, broken=broken, held=held, hung=hung, unlisted=unlisted, nowhere=nowhere)


def break_each(stack, broken, held, hung, unlisted):
    """Break every service as its test tells."""
    broken.config.write_text(broken.config.read_text().replace("listen", "lissten"))
    broken.supervisor.control("stop", "broken", "held", "unlisted")
    stranger = subprocess.Popen([sys.executable, "-c", STRANGER, str(held.port)])
    stack.callback(stranger.wait, 60)
    stack.callback(stranger.kill)
    for process in hung.supervisor.family("hung"):
        process.send_signal(signal.SIGSTOP)


def ended(site, name, *statuses):
    """Wait for the end of a host's incident and return it with its changing runs."""
    identity = incident_of(site.server, "ServiceDown", f"{name}:80")
    incident = site.server.reaches(identity, *statuses, patience_s=240)
    return incident, applied(site.server, identity)


def test_a_broken_configuration_is_not_restarted(site):
    """The configuration test refuses before anything changes, and the parser's own words reach the person."""
    incident, runs = ended(site, "broken", "escalated", "resolved")
    assert (incident["status"], incident["reason"]) == ("escalated", "run_failed")
    assert 'unknown directive "lissten"' in incident["detail"]
    assert [run["hosts"]["broken"]["changed"] for run in runs] == [0]
    assert site.broken.supervisor.pid("broken") == 0


def test_a_stranger_on_the_port_is_named_and_left_alone(site):
    """A service whose port another program holds is not restarted; the person is told who holds it."""
    incident, runs = ended(site, "held", "escalated", "resolved")
    assert (incident["status"], incident["reason"]) == ("escalated", "run_failed")
    assert f"Port {site.held.port} is held by python" in incident["detail"]
    assert [run["hosts"]["held"]["changed"] for run in runs] == [0]


def test_a_stopped_process_is_repaired(site):
    """A process that hangs in SIGSTOP, whose port still takes connections, is seen as hung and comes back."""
    incident, runs = ended(site, "hung", "escalated", "resolved")
    assert (incident["status"], incident["reason"]) == ("resolved", "verified"), incident["detail"]
    assert site.hung.answers()
    assert [list(run["hosts"]) for run in runs] == [["hung"]]
    assert not [one for one in site.hung.supervisor.family("hung") if one.status() == psutil.STATUS_STOPPED]


def test_a_host_that_does_not_answer_is_said_to_be_unreachable(site):
    """A host whose ssh does not answer ends with a person, who is told what ssh said."""
    incident, runs = ended(site, "away", "escalated", "resolved")
    assert (incident["status"], incident["reason"]) == ("escalated", "unreachable")
    assert "Connection refused" in incident["detail"]
    assert [run["outcome"] for run in runs] == ["unreachable"]


def test_a_service_the_host_does_not_list_is_not_touched(site):
    """A service outside the host's allow-list goes to a person, and no play starts for it."""
    incident, runs = ended(site, "unlisted", "escalated", "resolved")
    assert (incident["status"], incident["reason"]) == ("escalated", "not_allowed")
    assert "recoverable_services" in incident["detail"]
    assert runs == []
    assert "run.intent" not in kinds(site.server, incident["id"])
    assert site.unlisted.supervisor.pid("unlisted") == 0
