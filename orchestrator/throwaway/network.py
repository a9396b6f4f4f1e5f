"""The network of throw-away hosts: a bridge that nothing leads out of, and a namespace per host. Needs root and iproute2."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from contextlib import ExitStack, suppress

from orchestrator.errors import Unavailable

_PATIENCE_S = 60.0
_ATTEMPTS = 20


def ip(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run iproute2's `ip`.

    Raises:
        Unavailable: it ended with an error, and `check` asks for none.
    """
    done = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=60, check=False)
    if check and done.returncode:
        raise Unavailable(f"`ip {' '.join(words)}` failed: {done.stderr.strip()}. Mend: run as root, with iproute2 and network namespaces.")
    return done


def bridge(stack: ExitStack, name: str) -> str:
    """Make a bridge with a free network, removed with the stack.

    Returns:
        The network's first three numbers; the bridge has number 1 in it.
    """
    ip("link", "add", name, "type", "bridge")
    stack.callback(ip, "link", "del", name, check=False)
    for _ in range(_ATTEMPTS):
        network = _free_network()
        ip("addr", "add", f"{network}.1/24", "dev", name)
        # two processes may have chosen the same one in the same moment
        if ip("-o", "addr").stdout.count(f" {network}.1/24 ") == 1:
            ip("link", "set", name, "up")
            return network
        ip("addr", "del", f"{network}.1/24", "dev", name)
        time.sleep(secrets.randbelow(100) / 1000)
    raise Unavailable("no free network was found for throw-away hosts. Mend: remove bridges that are left over.")


def _free_network() -> str:
    """Return the first three numbers of a network that no interface or route here uses."""
    used = ip("route", "show", "table", "all").stdout + ip("addr").stdout
    while True:
        network = f"10.{200 + secrets.randbelow(20)}.{secrets.randbelow(250) + 1}"
        if f"{network}." not in used:
            return network


def namespace(stack: ExitStack, name: str, *, link: str, onto: str, address: str) -> None:
    """Make a network namespace with `lo` and `eth0`, removed with the stack and with all processes in it.

    Args:
        stack: takes what removes it.
        name: of the namespace.
        link: name of the link's end that is put on the bridge.
        onto: the bridge.
        address: IPv4 address of `eth0`, in the bridge's network.

    Raises:
        Unavailable: it cannot be made, or a route would lead out of it.
    """
    ip("netns", "add", name)
    stack.callback(_remove_namespace, name)
    ip("link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", name)
    ip("link", "set", link, "master", onto, "up")
    inside = ("-n", name)
    ip(*inside, "link", "set", "lo", "up")
    ip(*inside, "addr", "add", f"{address}/24", "dev", "eth0")
    ip(*inside, "link", "set", "eth0", "up")
    if ip(*inside, "route", "get", "192.0.2.1", check=False).returncode == 0:
        raise Unavailable("a route leads out of the throw-away host. Mend: look at `ip route` inside the namespace.")


def _remove_namespace(name: str) -> None:
    """End what still runs in the namespace, then remove it."""
    end = time.monotonic() + _PATIENCE_S
    while (pids := ip("netns", "pids", name, check=False).stdout.split()) and time.monotonic() < end:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.05)
    ip("netns", "del", name, check=False)
