"""The hosts of one play test: made, described by an inventory, and watched for changes that nobody asked for."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

from orchestrator.catalogue.playtest import HostKind, PlayTest
from orchestrator.errors import Unavailable
from orchestrator.throwaway import (
    HOST_FOLDER,
    Root,
    ThrowawayHost,
    ThrowawayHosts,
    missing,
    supervised_user,
    supervisor_configuration,
    supervisorctl,
    throwaway_hosts,
)

UNTOUCHED = ("etc", "home", "opt", "root", "srv", "usr", "var/www")
"""Folders in which check mode may change no file."""
_ANSIBLES_OWN = re.compile(r"(^|/)(\.ansible|\.cache|__pycache__)(/|$)|\.(log|out|pid|sock)$")
_STATUS = re.compile(r"(?m)^(\S+)\s+([A-Z]+)\s+(?:pid (\d+))?")
_HOST_PORT = 8080
_PATIENCE_S = 60.0


def lacking(test: PlayTest) -> str:
    """Return why a play test cannot be carried out on this machine; empty where it can."""
    if test.host is HostKind.ROOT and (reason := missing()):
        return reason
    for package in test.packages:
        try:
            done = subprocess.run(["dpkg-query", "-W", "-f", "${Status}", package], capture_output=True, text=True, timeout=60, check=False)
        except OSError:
            return f"needs {package} (Debian package)"
        if not done.stdout.endswith("ok installed"):
            return f"needs {package} (Debian package)"
    return ""


@dataclass(frozen=True, slots=True)
class Site:
    """Hosts that stand ready for one test."""

    folder: str
    """An empty folder on the host, as the host sees it."""
    port: int
    inventory: Path
    made: ThrowawayHosts | None = None
    """The hosts over ssh; None for a plain user's host."""
    supervised: bool = False

    @property
    def hosts(self) -> tuple[ThrowawayHost, ...]:
        """The hosts with roots of their own."""
        return self.made.hosts if self.made else ()

    def how_to_log_in(self) -> str:
        """Return a command per host, or where a plain user's host lies."""
        if self.made is None:
            return f"cd {self.folder}"
        made = self.made
        options = f"-F /dev/null -i {made.key} -o UserKnownHostsFile={made.known_hosts} -o IdentitiesOnly=yes"
        return "\n".join(f"ssh {options} root@{host.address}  # {host.name}" for host in made.hosts)

    def filled(self, value: Any, address: str = "127.0.0.1") -> Any:
        """Return a value with `$folder`, `$port`, `$python` and `$address` filled in; a text that is only `$port` becomes a number."""
        if isinstance(value, str):
            known = {"folder": self.folder, "port": str(self.port), "python": sys.executable, "address": address}
            return self.port if value == "$port" else Template(value).safe_substitute(known)
        if isinstance(value, Mapping):
            return {key: self.filled(item, address) for key, item in value.items()}
        return [self.filled(item, address) for item in value] if isinstance(value, list) else value

    def state(self) -> dict[str, Any]:
        """Return what check mode may not touch: files, children of process 1, programs of supervisor."""
        found: dict[str, Any] = {}
        places = [(host.name, host.changes / name) for host in self.hosts for name in _watched(host)]
        for name, place in places or [("", Path(self.folder))]:
            found |= {f"{name}:{path}": marks for path, marks in _files(place)}
        for host in self.hosts:
            found |= {f"{host.name}: process {pid} ({command})": True for pid, command in host.services()}
        for prefix in [host.prefix for host in self.hosts] or [()] if self.supervised else []:
            done = subprocess.run([*prefix, *supervisorctl(self.folder), "status"], capture_output=True, text=True, timeout=60, check=False)
            found |= {f"program {name} of supervisor": (word, pid) for name, word, pid in _STATUS.findall(done.stdout)}
        return found


def _watched(host: ThrowawayHost) -> tuple[str, ...]:
    # where the root is no overlay, /usr is this machine's own and read-only
    return UNTOUCHED if host.root is Root.OVERLAY else tuple(name for name in UNTOUCHED if name != "usr")


def _files(place: Path) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """Yield every file below a folder with what tells one version from another."""
    for folder, folders, names in os.walk(place):
        for name in (*folders, *names):
            path = os.path.join(folder, name)  # noqa: PTH118 - one per file of a host
            shown = f"{place.name}{path.removeprefix(str(place))}"
            if _ANSIBLES_OWN.search(shown):
                continue
            with suppress(FileNotFoundError):
                seen = os.lstat(path)
                plain = (seen.st_mode, seen.st_uid, seen.st_gid)
                yield shown, plain if stat.S_ISDIR(seen.st_mode) else (*plain, seen.st_size, seen.st_mtime_ns)


@contextmanager
def site_of(test: PlayTest, root: Root = Root.OVERLAY) -> Iterator[Site]:
    """Give the hosts of a test, their inventory written and their supervisors started; they are gone afterwards.

    Raises:
        Unavailable: they cannot be made here.
    """
    with ExitStack() as stack:
        yield _with_root(stack, test, root) if test.host is HostKind.ROOT else _of_user(stack, test)


def _with_root(stack: ExitStack, test: PlayTest, root: Root) -> Site:
    made = stack.enter_context(throwaway_hosts(tuple(test.hosts), root))
    site = Site(HOST_FOLDER, _HOST_PORT, made.inventory, made, bool(test.supervisor))
    made.write_inventory({host.name: _variables(site, test, host.name, host.address) for host in made.hosts}, test.groups)
    if test.supervisor:
        for host in made.hosts:
            _supervise(host, site.filled(dict(test.supervisor), host.address))
    return site


def _supervise(host: ThrowawayHost, programs: Mapping[str, Any]) -> None:
    """Start a supervisor on a host with a root of its own."""
    config, listed = f"{HOST_FOLDER}/supervisord.conf", supervisor_configuration(HOST_FOLDER, programs)
    subprocess.run([*host.prefix, "tee", config], input=listed, text=True, stdout=subprocess.DEVNULL, timeout=60, check=True)
    command = [*host.prefix, sys.executable, "-m", "supervisor.supervisord", "-c", config]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    end = time.monotonic() + _PATIENCE_S
    while subprocess.run([*host.prefix, "test", "-S", f"{HOST_FOLDER}/s.sock"], timeout=60, check=False).returncode:
        if done.returncode or time.monotonic() > end:
            raise Unavailable(f"supervisor did not start: {done.stdout}{done.stderr}. Mend: look at the programs of the test.")
        time.sleep(0.05)


def _of_user(stack: ExitStack, test: PlayTest) -> Site:
    """Return a plain user's host: a folder of this machine."""
    folder = Path(tempfile.mkdtemp(prefix="site-"))
    site = Site(str(folder), _free_port(), folder.with_name(f"{folder.name}.json"), supervised=bool(test.supervisor))
    stack.callback(site.inventory.unlink, missing_ok=True)
    stack.enter_context(supervised_user(site.filled(dict(test.supervisor)), folder))
    (name,) = test.hosts
    # nothing of Ansible's own lies in the user's home
    local = {"ansible_connection": "local", "ansible_host": "127.0.0.1", "ansible_remote_tmp": f"{folder}/.ansible"}
    groups: dict[str, Any] = {group: {"hosts": {each: {} for each in names}} for group, names in test.groups.items()}
    hosts = {name: {**local, "ansible_python_interpreter": sys.executable, **_variables(site, test, name, "127.0.0.1")}}
    site.inventory.write_text(json.dumps({"all": {"children": {**groups, "recoverable": {"hosts": hosts}}}}), encoding="utf-8")
    return site


def _variables(site: Site, test: PlayTest, name: str, address: str) -> dict[str, Any]:
    """Return a host's inventory variables besides the ones that reach it."""
    own = {"throwaway_folder": site.folder, "throwaway_port": site.port, "throwaway_python": sys.executable}
    manager: dict[str, Any] = {"service_manager": "sysvinit"} if site.made else {}
    if test.supervisor:
        manager = {"service_manager": "supervisor", "supervisorctl_argv": list(supervisorctl(site.folder))}
    return {**own, **manager, **site.filled(dict(test.inventory), address), **site.filled(dict(test.hosts[name]), address)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
