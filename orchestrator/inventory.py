"""The Ansible inventory: hosts, groups, and which host an alert's labels mean.

Ansible itself is a program of its own, called as a process; nothing of it is imported.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import InventoryError
from orchestrator.model import Host, target_of

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_TIMEOUT_S = 180.0
FAILED_S = 5.0
"""How long a failure is believed while no file changes."""
_OWN_NAME = re.compile(r"\{\{\s*inventory_hostname\s*\}\}")
_INSTANCE_LABELS = ("instance", "node", "nodename", "host", "hostname")


@dataclass(frozen=True, slots=True)
class Inventory:
    """All hosts and groups at one moment."""

    hosts: Mapping[str, Host] = field(default_factory=dict)
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Group → its hosts, those of nested groups too; `all` holds every host."""
    problems: tuple[str, ...] = ()
    """What was left out, and why."""
    _indexes: dict[str, HostIndex] = field(default_factory=dict, init=False, repr=False, compare=False)

    def index(self, instance_variable: str) -> HostIndex:
        """Return the index over the hosts by a variable, made on first use."""
        if instance_variable not in self._indexes:
            self._indexes[instance_variable] = HostIndex(self.hosts, instance_variable)
        return self._indexes[instance_variable]


def load(paths: Iterable[Path | str], *, vault_password_file: str = "", python: str = sys.executable) -> Inventory:
    """Read the inventory with `ansible-inventory --list`.

    Args:
        paths: files, folders or scripts, in Ansible's own order of precedence.
        vault_password_file: file with the vault password; empty for none.
        python: the interpreter whose environment holds Ansible.

    Returns:
        Hosts with their variables and all their groups. Hosts whose names could be read as a pattern are left out and listed as problems.

    Raises:
        InventoryError: a path is missing, or Ansible cannot read it. Ansible is never called with a path that is not there, because it would take
            the path for a host's name.
    """
    places = [Path(path).absolute() for path in paths]
    if not places:
        raise InventoryError("inventory.paths is empty. Mend: name at least one file or folder.")
    for place in [*places, *([Path(vault_password_file).absolute()] if vault_password_file else [])]:
        if not place.exists():
            raise InventoryError(f"{place}: there is no such file or folder. Mend: set inventory.paths, or make it.")
    arguments = [str(_program(python)), "--list"]
    for place in places:
        arguments += ["-i", f"{place}/" if place.is_dir() else str(place)]
    if vault_password_file:
        arguments += ["--vault-password-file", str(Path(vault_password_file).absolute())]
    return _parse(_run(arguments))


def _program(python: str) -> Path:
    """Return `ansible-inventory` beside the interpreter.

    Raises:
        InventoryError: it is not there.
    """
    program = Path(python).absolute().parent / "ansible-inventory"
    if not program.is_file():
        raise InventoryError(f"{program}: there is no such program. Mend: install ansible-core into the same environment.")
    return program


def _run(arguments: Sequence[str]) -> Mapping[str, Any]:
    """Return what `ansible-inventory` says.

    Raises:
        InventoryError: it failed, took too long or said no JSON.
    """
    # Nothing of our own environment, secrets among it, may be templated into a variable.
    environment = {
        "PATH": os.pathsep.join([str(Path(arguments[0]).parent), os.environ.get("PATH", os.defpath)]),
        "HOME": os.environ.get("HOME", "/"),
        "LANG": "C.UTF-8",
        "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        "ANSIBLE_NOCOLOR": "true",
    }
    try:
        done = subprocess.run(
            arguments,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            encoding="utf-8",
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise InventoryError(f"ansible-inventory did not end within {_TIMEOUT_S:g} s. Mend: look at slow inventory scripts.") from exc
    except OSError as exc:
        raise InventoryError(f"ansible-inventory could not be started: {exc}. Mend: install ansible-core.") from exc
    if done.returncode != 0:
        raise InventoryError(f"ansible-inventory failed: {_words(done.stderr)} Mend: ansible-inventory --list shows the same.")
    try:
        said = json.loads(done.stdout)
    except ValueError as exc:
        raise InventoryError("ansible-inventory said no JSON. Mend: call ansible-inventory --list and look.") from exc
    if not isinstance(said, dict):
        raise InventoryError("ansible-inventory said no mapping. Mend: call ansible-inventory --list and look.")
    return said


def _words(text: str) -> str:
    """Return the last lines of what a program complained about, short."""
    return " ".join(text.split())[-600:] or "it gave no reason."


def _parse(said: Mapping[str, Any]) -> Inventory:
    """Return the inventory in `ansible-inventory --list`'s answer."""
    variables = _plain(said.get("_meta", {}).get("hostvars", {}))
    members = {group: _members(said, group, frozenset()) for group in said if group != "_meta"}
    names = sorted(set(variables).union(*members.values()) if members else set(variables))
    good = [name for name in names if _NAME.fullmatch(name)]
    problems = [
        f"the host {name!r} is left out: a host's name holds letters, digits, '_', '.' and '-' only"
        for name in names
        if not _NAME.fullmatch(name)
    ]
    members["all"] = set(names)
    clashing = sorted(set(good).intersection(members))
    problems += [f"the host {name!r} is left out: a group has the same name" for name in clashing]
    kept = [name for name in good if name not in set(clashing)]
    groups = {group: tuple(name for name in kept if name in held) for group, held in sorted(members.items())}
    of_host: dict[str, list[str]] = {name: [] for name in kept}
    for group, held_by in groups.items():
        for name in held_by if group != "all" else ():
            of_host[name].append(group)
    hosts = {name: Host(name, tuple(of_host[name]), variables.get(name, {})) for name in kept}
    return Inventory(hosts, groups, tuple(problems))


def _plain(value: Any) -> Any:
    """Return a value without the wrappers in which Ansible writes texts that are no templates."""
    if isinstance(value, dict):
        return value["__ansible_unsafe"] if list(value) == ["__ansible_unsafe"] else {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def _members(said: Mapping[str, Any], group: str, above: frozenset[str]) -> set[str]:
    """Return the hosts of a group and of all groups below it."""
    body = said.get(group)
    if not isinstance(body, Mapping) or group in above:
        return set()
    found = set(body.get("hosts", ()))
    return found.union(*(_members(said, child, above | {group}) for child in body.get("children", ())))


class InventoryCache:
    """Loads again when a file below one of the paths changes, or when what was read is old: a script may tell something new.

    Args:
        paths: files, folders or scripts.
        vault_password_file: file with the vault password; empty for none.
        python: the interpreter whose environment holds Ansible.
        longest_s: read again after this many seconds in any case.
        clock: seconds that only go up.
    """

    def __init__(
        self,
        paths: Iterable[Path | str],
        *,
        vault_password_file: str = "",
        python: str = sys.executable,
        longest_s: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._paths = tuple(Path(path) for path in paths)
        self._longest_s, self._clock, self._read_at = longest_s, clock, 0.0
        self._vault_password_file, self._python = vault_password_file, python
        self._lock = threading.Lock()
        self._fingerprint: object = None
        self._failed: tuple[object, float, InventoryError] | None = None
        self._inventory: Inventory | None = None

    def get(self) -> Inventory:
        """Return the inventory; one object as long as nothing changes on disk.

        Raises:
            InventoryError: it cannot be read as it stands now.
        """
        with self._lock:
            # Taken before reading: what changes in between is found the next time.
            fingerprint, now = _fingerprint(self._paths), self._clock()
            if self._inventory is None or fingerprint != self._fingerprint or now - self._read_at >= self._longest_s:
                self._inventory = self._load(fingerprint, now)
                self._fingerprint, self._read_at = fingerprint, now
            return self._inventory

    def _load(self, fingerprint: object, now: float) -> Inventory:
        """Read the inventory, but not again at once where it has just failed: a script may take its time to fail."""
        if self._failed is not None and self._failed[0] == fingerprint and now - self._failed[1] < FAILED_S:
            raise InventoryError(str(self._failed[2]))
        try:
            found = load(self._paths, vault_password_file=self._vault_password_file, python=self._python)
        except InventoryError as error:
            self._inventory, self._failed = None, (fingerprint, self._clock(), error)
            raise
        self._failed = None
        return found


def _fingerprint(paths: Iterable[Path]) -> tuple[tuple[str, int, int, int, int], ...]:
    """Return a value that changes when a file below one of `paths`, or beside a file among them, changes."""
    found: list[tuple[str, int, int, int, int]] = []
    for path in paths:
        names = [str(path)]
        # Ansible also reads group_vars and host_vars that stand beside an inventory file.
        roots = [path] if path.is_dir() else [path.parent / "group_vars", path.parent / "host_vars"]
        for root in roots:
            for place, folders, files in os.walk(root):
                names += [os.path.join(place, name) for name in (*folders, *files)]  # noqa: PTH118 - ten times faster than Path
        for name in sorted(names):
            try:
                stat = os.stat(name)  # noqa: PTH116 - as above
            except OSError:
                continue
            found.append((name, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


def host_for(inventory: Inventory, labels: Mapping[str, str], instance_variable: str = "prometheus_instance") -> Host | None:
    """Return the host that an alert's labels mean.

    The first rule that finds a host decides: its `instance_variable` is the whole label (text, or one of a list); its name is the whole label or the
    label's machine part; its `ansible_host` is the machine part; its name up to the first dot is the label, where the label has no dot.

    Args:
        inventory: all hosts.
        labels: the alert's labels; the first of `instance`, `node`, `nodename`, `host`, `hostname` counts.
        instance_variable: the host variable that names the host's `instance` label.

    Returns:
        The host, or None where no rule finds one.

    Raises:
        InventoryError: one rule finds several hosts; the message names them.
    """
    whole = next((labels[name] for name in _INSTANCE_LABELS if labels.get(name)), "")
    machine = target_of(labels)
    if not whole or not machine:
        return None
    for names in inventory.index(instance_variable).candidates(whole, machine):
        if len(names) > 1:
            raise InventoryError(
                f"{whole!r} could be any of {', '.join(sorted(names))}. Mend: set {instance_variable} on the host that is meant."
            )
        if names:
            return inventory.hosts[names[0]]
    return None


class HostIndex:
    """Finds hosts by what an alert's label may say, without looking at each.

    Args:
        hosts: name → host.
        instance_variable: the host variable that names the host's `instance` label.
    """

    def __init__(self, hosts: Mapping[str, Host], instance_variable: str) -> None:
        self._hosts = hosts
        self._by_instance: dict[str, list[str]] = {}
        self._by_address: dict[str, list[str]] = {}
        self._by_short_name: dict[str, list[str]] = {}
        for name, host in hosts.items():
            for text in dict.fromkeys(_texts(host, instance_variable)):
                self._by_instance.setdefault(text, []).append(name)
            address = host.variables.get("ansible_host")
            if isinstance(address, str):
                self._by_address.setdefault(address, []).append(name)
            self._by_short_name.setdefault(name.split(".", 1)[0], []).append(name)

    def candidates(self, whole: str, machine: str) -> Iterator[list[str]]:
        """Yield, rule by rule, the names of the hosts that the rule finds.

        Args:
            whole: the label.
            machine: its machine part.
        """
        yield self._by_instance.get(whole, [])
        yield [whole] if whole in self._hosts else []
        yield [machine] if machine in self._hosts else []
        yield self._by_address.get(machine, [])
        if "." not in machine:
            yield self._by_short_name.get(machine, [])


def _texts(host: Host, variable: str) -> list[str]:
    """Return a variable that is a text or a list of texts; of templates only the host's own name is filled in."""
    value = host.variables.get(variable)
    listed = value if isinstance(value, list | tuple) else [value]
    return [_OWN_NAME.sub(host.name, item) for item in listed if isinstance(item, str)]
