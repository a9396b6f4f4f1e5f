"""An inventory of thousands of hosts: read by Ansible, taken in, and asked for the host behind a label."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.figures import Figure
from orchestrator.inventory import InventoryCache, host_for

HOSTS = 10_000
GROUPS = 20


def inventory() -> list[Figure]:
    """Measure a cold load against `ansible-inventory` alone, a cached one, and look-ups."""
    with tempfile.TemporaryDirectory(prefix="bench-inventory-") as folder:
        place = Path(folder)
        (place / "hosts.yml").write_text(_hosts())
        start = time.perf_counter()
        command = [str(Path(sys.executable).with_name("ansible-inventory")), "-i", f"{place}/", "--list"]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
        alone_s = time.perf_counter() - start
        cache = InventoryCache([place])
        start = time.perf_counter()
        found = cache.get()
        cold_s = time.perf_counter() - start
        start = time.perf_counter()
        assert cache.get() is found
        warm_s = time.perf_counter() - start
        start = time.perf_counter()
        for number in range(HOSTS):
            assert host_for(found, {"instance": f"host{number}:9100"})
        lookup_s = (time.perf_counter() - start) / HOSTS
    note = f"{HOSTS} hosts in {GROUPS} groups"
    return [
        Figure(
            "inventory, cold",
            round(cold_s, 2),
            "s",
            round(alone_s, 2),
            round(cold_s / alone_s, 2),
            1,
            f"{note}; baseline: ansible-inventory alone",
        ),
        Figure("inventory, cached", round(warm_s * 1000, 2), "ms", None, None, 1, f"{note}; nothing changed on disk"),
        Figure("inventory, host of a label", round(lookup_s * 1e6, 1), "µs", None, None, HOSTS, note),
    ]


def _hosts() -> str:
    lines = ["all:", "  children:"]
    each = HOSTS // GROUPS
    for group in range(GROUPS):
        lines += [f"    group{group}:", "      hosts:"]
        for number in range(group * each, (group + 1) * each):
            address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
            lines.append(f"        host{number}.example.org: {{ansible_host: {address}, prometheus_instance: 'host{number}:9100'}}")
    return "\n".join(lines) + "\n"
