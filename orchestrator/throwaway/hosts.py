"""Throw-away hosts over ssh. Needs root, iproute2, util-linux and openssh-server."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from orchestrator.errors import Unavailable
from orchestrator.throwaway import network

_PATIENCE_S = 60.0
_SBIN = ":/usr/local/sbin:/usr/sbin:/sbin"
_INSIDE = Path(__file__).with_name("inside.py")
HOST_FOLDER = "/srv/throwaway"
"""An empty folder on every host with a root of its own."""


class Root(StrEnum):
    """What a host has for its file system."""

    OVERLAY = "overlay"
    """A writable layer over this machine's root; where overlayfs is refused: `COPIES`."""
    COPIES = "copies"
    """This machine's root read-only, with copies of `/etc` and `/var` and an empty `/home`, `/opt`, `/root`, `/srv`."""
    SHARED = "shared"
    """This machine's own files and processes; only the network is the host's own."""


@dataclass(frozen=True)
class ThrowawayHost:
    """One host: a namespace with a network and an sshd of its own, and what else its root says."""

    name: str
    address: str
    namespace: str
    root: Root = Root.SHARED
    pid: int = 0
    """Its process 1, as seen from here; 0 where it shares this machine's processes."""
    changes: Path = Path("/")
    """The folder in which what was written to its file system shows."""
    link: str = ""
    """This machine's end of its cable."""

    def cut(self) -> None:
        """Pull its cable: packets are lost without a word."""
        network.ip("link", "set", self.link, "down")

    def join(self) -> None:
        """Plug its cable in again."""
        network.ip("link", "set", self.link, "up")

    @property
    def prefix(self) -> tuple[str, ...]:
        """What to put before a command so that it runs on this host."""
        if not self.pid:
            return ("ip", "netns", "exec", self.namespace)
        return ("nsenter", "--target", str(self.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--")

    def services(self) -> frozenset[tuple[int, str]]:
        """Return pid and command of the children of its process 1; empty where it has none."""
        found = set()
        for status in Path("/proc").glob("[0-9]*/stat") if self.pid else ():
            with suppress(OSError, ValueError):
                head, _, rest = status.read_text().rpartition(")")
                if int(rest.split()[1]) == self.pid:
                    found.add((int(head.split()[0]), head.partition("(")[2]))
        return frozenset(found)


@dataclass(frozen=True)
class ThrowawayHosts:
    """All hosts, and what reaches them."""

    folder: Path
    hosts: tuple[ThrowawayHost, ...]
    key: Path
    """Private key that logs in as root."""
    known_hosts: Path
    inventory: Path

    def reached_by(self, host: ThrowawayHost) -> dict[str, Any]:
        """Return the inventory variables with which Ansible reaches a host."""
        return {
            "ansible_host": host.address,
            "ansible_user": "root",
            "ansible_python_interpreter": sys.executable,
            "ansible_ssh_private_key_file": str(self.key),
            "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=5s -o BatchMode=yes",
            "ansible_ssh_common_args": f"-F /dev/null -o UserKnownHostsFile={self.known_hosts} -o IdentitiesOnly=yes",
            "prometheus_instance": f"{host.address}:9100",
        }

    def write_inventory(
        self, variables: Mapping[str, Mapping[str, Any]] | None = None, groups: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        """Write the inventory anew, with these variables besides the ones that reach each host; all are in group `recoverable`."""
        listed = {host.name: {**self.reached_by(host), **(variables or {}).get(host.name, {})} for host in self.hosts}
        others: dict[str, Any] = {group: {"hosts": {name: {} for name in names}} for group, names in (groups or {}).items()}
        self.inventory.write_text(json.dumps({"all": {"children": {**others, "recoverable": {"hosts": listed}}}}, indent=1))


def missing() -> str:
    """Return why hosts over ssh cannot be made here; empty where they can."""
    if os.geteuid() != 0:
        return "needs root: it makes network namespaces and hosts of its own"
    for program, package in (("ip", "iproute2"), ("unshare", "util-linux"), ("sshd", "openssh-server"), ("ssh", "openssh-client")):
        if not _program(program):
            return f"needs {program} (Debian package {package})"
    return ""


def _program(name: str) -> str:
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + _SBIN) or ""


@contextmanager
def throwaway_hosts(names: Sequence[str], root: Root = Root.OVERLAY) -> Iterator[ThrowawayHosts]:
    """Make hosts, and remove every trace of them in the end.

    Args:
        names: what they are called, in the inventory and by themselves.
        root: what they have for a file system.

    Raises:
        Unavailable: this machine cannot make them; says why.
    """
    if reason := missing():
        raise Unavailable(f"{reason}. Mend: provide it, or test without hosts.")
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="hosts-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        _, bare = _networks(stack, names, root)
        key = _key(folder / "key")
        listed = "".join(f"{host.address} {host.name}\n" for host in bare)
        hosts = [_started(stack, host, folder / host.name, listed) for host in bare]
        known = folder / "known_hosts"
        known.write_text("".join(f"{host.address} {(folder / host.name / 'host_key.pub').read_text()}" for host in hosts))
        for host in hosts:
            _wait_for_ssh(host, folder / host.name)
        made = ThrowawayHosts(folder, tuple(hosts), key, known, folder / "hosts.json")
        made.write_inventory()
        yield made


@contextmanager
def networks(names: Sequence[str]) -> Iterator[tuple[str, list[ThrowawayHost]]]:
    """Make networks of their own and nothing in them; yield this machine's address on the bridge between them, and them.

    Raises:
        Unavailable: this machine cannot make them; says why.
    """
    if os.geteuid() != 0 or not _program("ip"):
        raise Unavailable("needs root and ip (Debian package iproute2): it makes network namespaces. Mend: provide them.")
    with ExitStack() as stack:
        yield _networks(stack, names, Root.SHARED)


def _networks(stack: ExitStack, names: Sequence[str], root: Root) -> tuple[str, list[ThrowawayHost]]:
    token = secrets.token_hex(3)
    bridge = f"br{token}"
    prefix = network.bridge(stack, bridge)
    hosts = [
        ThrowawayHost(name, f"{prefix}.{10 + number}", f"ns{token}{number}", root, link=f"v{token}{number}")
        for number, name in enumerate(names, 1)
    ]
    for host in hosts:
        network.namespace(stack, host.namespace, link=host.link, onto=bridge, address=host.address)
    return f"{prefix}.1", hosts


def _key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "throwaway", "-f", str(path)], check=True, timeout=60)
    return path


def _started(stack: ExitStack, host: ThrowawayHost, folder: Path, listed: str) -> ThrowawayHost:
    """Start a host's sshd, inside a root of its own unless it shares ours."""
    folder.mkdir()
    _key(folder / "host_key")
    shutil.copy(folder.parent / "key.pub", folder / "authorized_keys")
    if host.root is Root.SHARED:
        return _shared(stack, host, folder)
    return _separate(stack, host, folder, listed)


def _configuration(host: ThrowawayHost, folder: str) -> str:
    """Return sshd's configuration; its files lie in `folder`, as sshd sees it."""
    # without PAM sshd lets nobody in whose password is locked
    locked = Path("/etc/shadow").read_text(encoding="utf-8").startswith("root:!")
    return f"""Port 22
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
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
"""


def _shared(stack: ExitStack, host: ThrowawayHost, folder: Path) -> ThrowawayHost:
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    config = folder / "sshd_config"
    config.write_text(_configuration(host, str(folder)))
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(
            [*host.prefix, _program("sshd"), "-D", "-e", "-f", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    stack.callback(process.wait, 30)
    stack.callback(process.terminate)
    return host


def _separate(stack: ExitStack, host: ThrowawayHost, folder: Path, listed: str) -> ThrowawayHost:
    """Start the host's process 1 in namespaces of its own and wait until it has made the root file system."""
    scratch, spare = folder / "root", folder / "spare"
    scratch.mkdir()
    spare.mkdir()
    place = "/run/throwaway"
    files = {name: (folder / name).read_text() for name in ("host_key", "authorized_keys")}
    plan = {
        "name": host.name,
        "root": host.root,
        "scratch": str(scratch),
        "spare": str(spare),
        "folder": HOST_FOLDER,
        "keep": sorted({sys.prefix, sys.base_prefix}),
        "hosts": listed,
        "sshd": _program("sshd"),
        "files": {**files, "sshd_config": _configuration(host, place)},
    }
    enter = ["nsenter", f"--net=/run/netns/{host.namespace}", "unshare", "--mount", "--uts", "--ipc", "--pid", "--cgroup", "--fork"]
    with (folder / "init.log").open("wb") as log:
        process = subprocess.Popen(
            [*enter, "--kill-child", sys.executable, "-I", "-S", str(_INSIDE)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
    stack.callback(_end, process)
    assert process.stdin is not None and process.stdout is not None  # noqa: S101, PT018 - as asked for above
    with suppress(BrokenPipeError):
        process.stdin.write(json.dumps(plan) + "\n")
        process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise Unavailable(
            f"{host.name} did not start: {(folder / 'init.log').read_text().strip()}. Mend: see whether mounting is allowed here."
        )
    said = json.loads(answer)
    changes = Path(f"/proc/{said['pid']}/fd/{said['changes']}")
    return replace(host, root=Root(said["root"]), pid=said["pid"], changes=changes)


def _end(process: subprocess.Popen[str]) -> None:
    """Close the standard input of a host's process 1: the kernel ends all that runs there."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()
    try:
        process.wait(_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _wait_for_ssh(host: ThrowawayHost, folder: Path) -> None:
    end = time.monotonic() + _PATIENCE_S
    while True:
        with suppress(OSError), socket.create_connection((host.address, 22), timeout=2):
            return
        if time.monotonic() > end:
            log = folder / "sshd.log" if not host.pid else Path(f"/proc/{host.pid}/root/run/throwaway/sshd.log")
            raise Unavailable(f"sshd of {host.name} does not answer: {log.read_text().strip()[-600:]}. Mend: see what it says.")
        time.sleep(0.02)
