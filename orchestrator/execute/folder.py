"""A run's folder: what may be asked for, and everything the worker needs to run it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import ExecutionError
from orchestrator.execute import processes, snapshot, worker
from orchestrator.model import RunKind, RunRequest

RUN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*(:[A-Za-z0-9_-][A-Za-z0-9_.-]*)*")
HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
PLAYBOOK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\.ya?ml")
PARAMETER = re.compile(r"[a-z][a-z0-9_]*")
WORDS_FOR_ALL = frozenset({"all", "ungrouped"})
MAX_DEPTH = 8


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every run of this program is given besides its request."""

    inventory: tuple[Path, ...]
    vault_password_file: str = ""
    ssh_key_file: str = ""
    is_local: Callable[[str], bool] = lambda _: False
    """Whether a host of the inventory is this machine itself (`ansible_connection: local`)."""


def name_of(run_id: str) -> str:
    """Return the folder name of a run; `id_of` is its inverse.

    Raises:
        ExecutionError: the id is none.
    """
    if not RUN_ID.fullmatch(run_id):
        raise ExecutionError(f"{run_id!r} is no id of a run. Mend: use `incident:attempt:kind:n`.")
    return run_id.replace(":", "+")


def id_of(name: str) -> str:
    """Return the run id behind a folder name."""
    return name.replace("+", ":")


def control_path(folder: Path) -> Path:
    """Return the folder for ssh's shared connections of this run: short, because a socket's path may have 108 bytes only."""
    return Path(tempfile.gettempdir()) / f"orchestrator-{os.getuid()}" / hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]


def check(request: RunRequest, snapshots: Path, surroundings: Surroundings) -> None:
    """Refuse whatever could reach other hosts, other files or Ansible's template engine.

    Raises:
        ExecutionError: names the value and the mend.
    """
    name_of(request.id)
    _check_hosts(request.hosts)
    _check_parameters(request)
    _check_surroundings(surroundings)
    if not math.isfinite(request.timeout_s) or request.timeout_s <= 0:
        raise ExecutionError(f"{request.id}: a time-out of {request.timeout_s} s. Mend: give a positive number of seconds.")
    path = Path(request.snapshot)
    if path.parent != snapshots:
        raise ExecutionError(f"{request.snapshot}: is not in {snapshots}. Mend: run from a snapshot that was taken there.")
    snapshot.verify(path)
    if not snapshot.NAME.fullmatch(request.entry) or not PLAYBOOK.fullmatch(request.playbook) or not _playbook(request).is_file():
        raise ExecutionError(
            f"{request.entry}/{request.playbook}: no such playbook in the snapshot. Mend: name one of the entry's playbooks."
        )


def _check_hosts(hosts: tuple[str, ...]) -> None:
    """Refuse what `--limit` could take for more than one literal host: it is a pattern language."""
    if not hosts:
        raise ExecutionError("no host is named. Mend: name at least one inventory host; an empty limit would mean all of them.")
    for host in hosts:
        if not isinstance(host, str) or not HOST.fullmatch(host) or host in WORDS_FOR_ALL:
            raise ExecutionError(f"{host!r} is no literal host name. Mend: use an inventory name of letters, digits, `_`, `.` and `-`.")
    if len(set(hosts)) != len(hosts):
        raise ExecutionError(f"{', '.join(hosts)}: a host is named twice. Mend: name each once.")


def _check_parameters(request: RunRequest) -> None:
    """Refuse names that are not the entry's own: an extra variable such as `ansible_connection` runs code on this machine."""
    for name, value in request.parameters.items():
        if not isinstance(name, str) or not PARAMETER.fullmatch(name) or not name.startswith(f"{request.entry}_"):
            raise ExecutionError(f"parameter {name!r} is not one of {request.entry}. Mend: its name starts with `{request.entry}_`.")
        _check_value(name, value, MAX_DEPTH)


def _check_value(name: str, value: Any, depth: int) -> None:
    """Refuse anything but plain YAML; exact types, because a subclass may write itself differently."""
    if depth and type(value) is list:
        for item in value:
            _check_value(name, item, depth - 1)
    elif depth and type(value) is dict:
        for key, item in value.items():
            _check_value(name, key, 0)
            _check_value(name, item, depth - 1)
    elif not (value is None or type(value) in (str, int, float, bool)) or (type(value) is float and not math.isfinite(value)):
        raise ExecutionError(f"parameter {name}: a value of type {type(value).__name__} is not plain. Mend: use text, numbers, lists.")
    elif type(value) is str and any("\ud800" <= character <= "\udfff" for character in value):
        raise ExecutionError(f"parameter {name}: its text is not valid Unicode. Mend: correct the value.")


def _check_surroundings(surroundings: Surroundings) -> None:
    """Refuse an inventory that is not there: ansible-runner would make one with a host that is named like the path."""
    if not surroundings.inventory:
        raise ExecutionError("no inventory is set. Mend: name one in `inventory.paths`.")
    for path in surroundings.inventory:
        if not path.exists() or "," in str(path):
            raise ExecutionError(f"inventory {path} does not exist, or has a comma in its name. Mend: correct `inventory.paths`.")
    for file in (surroundings.vault_password_file, surroundings.ssh_key_file):
        if file and not Path(file).is_file():
            raise ExecutionError(f"{file} does not exist. Mend: correct `inventory.vault_password_file` or `inventory.ssh_key_file`.")


def _playbook(request: RunRequest) -> Path:
    return Path(request.snapshot) / "playbooks" / request.entry / request.playbook


def _switches(kind: RunKind) -> str:
    match kind:
        case RunKind.CHECK:
            return "--check --diff"
        case RunKind.APPLY | RunKind.UNDO:
            return "--diff"
        case RunKind.CONTEXT | RunKind.DIAGNOSE | RunKind.VERIFY:
            return ""


def fill(folder: Path, request: RunRequest, surroundings: Surroundings) -> None:
    """Write everything the worker and ansible-runner read into a fresh run folder.

    Args:
        folder: absolute, exists, empty, mode 0700.
        request: checked.
        surroundings: checked.
    """
    (folder / "env").mkdir(mode=0o700)
    processes.local_temp(folder).mkdir(mode=0o700)
    # the tag keeps Ansible from reading any of it as a template
    extra = "--- !unsafe\n" + yaml.safe_dump(dict(request.parameters), allow_unicode=True)
    _private(folder / "env" / "extravars", extra)
    _private(folder / "env" / "settings", json.dumps({"pexpect_timeout": 0.25, "suppress_output_file": True}))
    _private(folder / worker.EVENTS, "")
    worker.write_json(
        folder / worker.REQUEST,
        {
            "id": request.id,
            "kind": request.kind,
            "entry": request.entry,
            "playbook": str(_playbook(request)),
            "hosts": list(request.hosts),
            "limit": ",".join(request.hosts),
            "inventory": [str(path.absolute()) for path in surroundings.inventory],
            "cmdline": _switches(request.kind),
            "timeout_s": request.timeout_s,
            "start_by": request.start_by,
        },
    )


def _private(path: Path, text: str) -> None:
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(text, encoding="utf-8")


def environment(folder: Path, request: RunRequest, surroundings: Surroundings) -> Mapping[str, str]:
    """Return the whole environment of a run: nothing of ours but PATH and HOME goes in, ansible-runner writes it to disk."""
    base = Path(request.snapshot)
    temp = str(processes.local_temp(folder))
    found = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "HOME": os.environ.get("HOME") or str(Path.home()),
        "LANG": "C.UTF-8",
        processes.MARKER: request.id,
        # modules unpack themselves there: what a killed play leaves behind goes with its folder
        "TMPDIR": temp,
        processes.LOCAL_TEMP: temp,
        "ANSIBLE_CONFIG": str(base / snapshot.CONFIG),
        "ANSIBLE_ROLES_PATH": str(base / "roles"),
        # only collections inside the entry's folder: what lies elsewhere is not covered by the digest
        "ANSIBLE_COLLECTIONS_PATH": str(base / "playbooks" / request.entry / "collections"),
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "0",
        "ANSIBLE_RETRY_FILES_ENABLED": "0",
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PIPELINING": "1",
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(control_path(folder)),
    }
    if all(surroundings.is_local(host) for host in request.hosts):
        found["ANSIBLE_REMOTE_TMP"] = temp
    if surroundings.vault_password_file:
        found["ANSIBLE_VAULT_PASSWORD_FILE"] = str(Path(surroundings.vault_password_file).absolute())
    if surroundings.ssh_key_file:
        found["ANSIBLE_PRIVATE_KEY_FILE"] = str(Path(surroundings.ssh_key_file).absolute())
    return found


def make_control_path(folder: Path) -> None:
    """Make the folder for ssh's sockets, private to this user.

    Raises:
        ExecutionError: somebody else has made its parent in the temporary folder.
    """
    path = control_path(folder)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    found = path.parent.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise ExecutionError(f"{path.parent} is not private to this user. Mend: remove it.")
    path.mkdir(mode=0o700, exist_ok=True)
