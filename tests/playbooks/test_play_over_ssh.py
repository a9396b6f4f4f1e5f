"""The same play over real ssh, on several hosts at once."""

from __future__ import annotations

import sys

import pytest
from hosts import throwaway_hosts


@pytest.mark.root
def test_three_hosts_are_repaired_over_ssh(site_on, play):
    """One run repairs the service on each of three hosts, reached over ssh with checked host keys; a second run changes nothing."""
    with throwaway_hosts(3) as made:
        sites, variables = {}, {}
        for host in made.hosts:
            site = sites[host.name] = site_on(host.prefix)
            site.supervise(web=f"command={sys.executable} -m http.server 8080 --bind {host.address} --directory {site.folder}")
            site.kill("web")
            reached = {"service_address": host.address, "service_ports": {"web": 8080}, "recoverable_services": ["web"]}
            variables[host.name] = {**site.variables, **reached}
        made.write_inventory(variables)
        run = {"limit": ",".join(sites), "restart_service_name": "web"}
        repaired = play(made.folder, made.inventory, "restart_service/playbook.yml", **run)
        assert (repaired.rc, repaired.changed, repaired.hosts) == (0, 3, set(sites)), repaired.output
        assert {site.state("web") for site in sites.values()} == {"RUNNING"}
        again = play(made.folder, made.inventory, "restart_service/playbook.yml", **run)
        assert (again.rc, again.changed, again.hosts) == (0, 0, set(sites)), again.output
        for site in sites.values():
            site.close()


@pytest.mark.root
def test_a_host_with_another_key_is_not_reached(play):
    """A host key that is not the known one ends the run: nobody can stand in for a host."""
    with throwaway_hosts(2) as made:
        first, second = made.hosts
        swapped = (
            made.known_hosts.read_text()
            .replace(first.address, "x")
            .replace(second.address, first.address)
            .replace("x ", f"{second.address} ")
        )
        made.known_hosts.write_text(swapped)
        refused = play(made.folder, made.inventory, "host_state/playbook.yml", limit=first.name)
        assert refused.rc != 0
        assert "UNREACHABLE" in refused.output
        assert "Host key verification failed" in refused.output
