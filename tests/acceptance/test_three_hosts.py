"""Three hosts lose the same service at once: one alert each, and each is repaired over ssh, on itself only."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from farm import SERVICE_DOWN, Nginx, Supervisor, Watch, applied, incident_of, short_folder
from hosts import throwaway_hosts
from server import Server
from services import until


@pytest.mark.root
@pytest.mark.foreign
@pytest.mark.timeout(600)
def test_each_of_three_hosts_is_repaired_on_itself_only():
    """One group with three alerts becomes three incidents; every play ran on its own host, and every service came back once."""
    with ExitStack() as stack:
        hosts = stack.enter_context(throwaway_hosts(3))
        folder = stack.enter_context(short_folder("three-"))
        services = {}
        for host in hosts.hosts:
            supervisor = Supervisor(folder / host.name, host.prefix)
            services[host.name] = Nginx(supervisor, ip=host.address)
            stack.enter_context(supervisor)
        hosts.write_inventory({name: variables(nginx, f"{name}:9100") for name, nginx in services.items()})
        watch = stack.enter_context(Watch(folder))
        probes = {nginx.address: {"instance": f"{name}:9100", "service": "nginx"} for name, nginx in services.items()}
        watch.start(probes, [SERVICE_DOWN])
        more = {
            "ORCHESTRATOR_INVENTORY__PATHS": str(hosts.inventory),
            "ORCHESTRATOR_POLICY__MODE": "auto",
            "ORCHESTRATOR_CONTEXT__FROM_HOSTS": "false",
            "ORCHESTRATOR_LOGS__FROM_HOSTS": "false",
        }
        server = stack.enter_context(Server(folder, {**watch.settings, **more}))
        watch.connect(server, group_by=["alertname"])
        watch.sees("sum(probe_success) == 3")
        for nginx in services.values():
            nginx.supervisor.control("stop", "nginx")
        for name, nginx in services.items():
            identity = incident_of(server, "ServiceDown", f"{name}:9100")
            incident = server.reaches(identity, "resolved", "escalated", "cleared", patience_s=300)
            assert (incident["status"], incident["reason"]) == ("resolved", "verified"), incident["detail"]
            assert [list(run["hosts"]) for run in applied(server, identity)] == [[name]]
            assert until(nginx.answers, what=f"nginx on {name} answers")
        assert {name: spawned(nginx) for name, nginx in services.items()} == dict.fromkeys(services, 2)
        assert len(server.get("/api/v1/incidents")["items"]) == 3


def variables(nginx, instance):
    """Return what the inventory says of a host."""
    manager = {"service_manager": "supervisor", "supervisorctl_argv": nginx.supervisor.argv}
    return {**nginx.variables(), **manager, "prometheus_instance": instance}


def spawned(nginx):
    """Return how often the host's supervisor has started its nginx."""
    return (nginx.supervisor.folder / "supervisord.log").read_text().count("spawned: 'nginx'")
