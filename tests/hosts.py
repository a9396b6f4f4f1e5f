"""Hosts to throw away: network namespaces on a bridge, each with a real sshd of its own. Needs root, iproute2 and openssh-server.

They share this machine's files and processes' view, but have their own network: an address in 10.200.N.0/24 that exists nowhere else, no
default route, so that nothing leaves them.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conftest import needs_program, needs_root

_PATIENCE_S = 60.0


@dataclass(frozen=True)
class ThrowawayHost:
    """One host: a namespace with a network and an sshd of its own."""

    name: str
    address: str
    namespace: str
    link: str
    """This machine's end of its cable."""

    def cut(self) -> None:
        """Pull its cable: packets are lost without a word."""
        _ip("link", "set", self.link, "down")

    def join(self) -> None:
        """Plug its cable in again."""
        _ip("link", "set", self.link, "up")

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command so that it runs on this host."""
        return ("ip", "netns", "exec", self.namespace)


@dataclass(frozen=True)
class ThrowawayHosts:
    """All hosts, and what reaches them."""

    folder: Path
    hosts: tuple[ThrowawayHost, ...]
    key: Path
    """Private key that logs in as root."""
    known_hosts: Path
    inventory: Path

    def write_inventory(self, variables: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """Write the inventory anew, with these variables besides the ones that reach each host; all are in group `recoverable`."""
        listed = {}
        for host in self.hosts:
            listed[host.name] = {
                "ansible_host": host.address,
                "ansible_user": "root",
                "ansible_python_interpreter": sys.executable,
                "ansible_ssh_private_key_file": str(self.key),
                "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=5s -o BatchMode=yes",
                "ansible_ssh_common_args": f"-F /dev/null -o UserKnownHostsFile={self.known_hosts} -o IdentitiesOnly=yes",
                "prometheus_instance": f"{host.address}:9100",
                **(variables or {}).get(host.name, {}),
            }
        self.inventory.write_text(json.dumps({"all": {"children": {"recoverable": {"hosts": listed}}}}, indent=1))


@contextmanager
def throwaway_hosts(count: int) -> Iterator[ThrowawayHosts]:
    """Make `count` hosts named `host1`, `host2`, …, and remove every trace of them in the end; skips where it cannot."""
    needs_root()
    for program in ("ip", "sshd", "ssh", "ssh-keygen"):
        needs_program(program)
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="hosts-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _, hosts = _networks(stack, count)
        key = _key(folder / "key")
        for host in hosts:
            _sshd(stack, host, folder / host.name, key)
        known = folder / "known_hosts"
        known.write_text("".join(f"{host.address} {(folder / host.name / 'host_key.pub').read_text()}" for host in hosts))
        made = ThrowawayHosts(folder, tuple(hosts), key, known, folder / "hosts.json")
        made.write_inventory()
        yield made


@contextmanager
def networks(count: int) -> Iterator[tuple[str, list[ThrowawayHost]]]:
    """Make `count` networks of their own and nothing in them; yield this machine's address on the bridge between them, and them."""
    needs_root()
    needs_program("ip")
    with ExitStack() as stack:
        yield _networks(stack, count)


def _networks(stack: ExitStack, count: int) -> tuple[str, list[ThrowawayHost]]:
    token = secrets.token_hex(3)
    bridge, network = f"br{token}", _free_network()
    _ip("link", "add", bridge, "type", "bridge")
    stack.callback(_ip, "link", "del", bridge, check=False)
    _ip("addr", "add", f"{network}.1/24", "dev", bridge)
    _ip("link", "set", bridge, "up")
    hosts = [
        ThrowawayHost(f"host{number}", f"{network}.{10 + number}", f"ns{token}{number}", f"v{token}{number}")
        for number in range(1, count + 1)
    ]
    for host in hosts:
        _namespace(stack, host, bridge)
    return f"{network}.1", hosts


def _ip(*words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], capture_output=True, text=True, timeout=60, check=check)


def _free_network() -> str:
    """Return the first three numbers of a network that no interface or route here uses."""
    used = _ip("route", "show", "table", "all").stdout + _ip("addr").stdout
    while True:
        network = f"10.200.{secrets.randbelow(250) + 1}"
        if f"{network}." not in used:
            return network


def _key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "throwaway", "-f", str(path)], check=True, timeout=60)
    return path


def _namespace(stack: ExitStack, host: ThrowawayHost, bridge: str) -> None:
    """Make the host's network; nothing leads out of the bridge."""
    _ip("netns", "add", host.namespace)
    stack.callback(_remove_namespace, host.namespace)
    _ip("link", "add", host.link, "type", "veth", "peer", "name", "eth0", "netns", host.namespace)
    _ip("link", "set", host.link, "master", bridge, "up")
    inside = ("-n", host.namespace)
    _ip(*inside, "link", "set", "lo", "up")
    _ip(*inside, "addr", "add", f"{host.address}/24", "dev", "eth0")
    _ip(*inside, "link", "set", "eth0", "up")
    assert _ip(*inside, "route", "get", "192.0.2.1", check=False).returncode != 0, "a route leads out of the throwaway host"


def _remove_namespace(name: str) -> None:
    """End what still runs in the namespace, then remove it."""
    end = time.monotonic() + _PATIENCE_S
    while (pids := _ip("netns", "pids", name, check=False).stdout.split()) and time.monotonic() < end:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.05)
    _ip("netns", "del", name, check=False)


def _sshd(stack: ExitStack, host: ThrowawayHost, folder: Path, key: Path) -> None:
    """Start the host's sshd and wait until it listens."""
    folder.mkdir()
    _key(folder / "host_key")
    shutil.copy(key.with_suffix(".pub"), folder / "authorized_keys")
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    locked = Path("/etc/shadow").read_text().startswith("root:!")
    config = folder / "sshd_config"
    config.write_text(f"""Port 22
ListenAddress {host.address}
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM {"yes" if locked else "no"}
StrictModes no
UseDNS no
MaxStartups 100
""")
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            [*host.prefix, needs_program("sshd"), "-D", "-e", "-f", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)
    end = time.monotonic() + _PATIENCE_S
    while True:
        with suppress(OSError), socket.create_connection((host.address, 22), timeout=2):
            return
        assert process.poll() is None and time.monotonic() < end, (folder / "sshd.log").read_text()  # noqa: PT018 - one reason to stop
        time.sleep(0.1)
