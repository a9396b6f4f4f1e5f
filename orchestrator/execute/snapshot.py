"""The content-addressed copy of everything that an entry's plays are made of."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ExecutionError
from orchestrator.model import Entry

CONFIG = "ansible.cfg"
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
DIGEST = re.compile(r"[0-9a-f]{64}")
UNDER_WAY = ".new-"
SKIPPED = frozenset({"__pycache__"})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of an entry, its roles and Ansible's configuration.

    Inside `path`: `playbooks/<entry>/`, `roles/<role>/` and `ansible.cfg` (empty where none is set, so that no other one is found).
    """

    digest: str
    """SHA-256 over every file's path, executable bit and content; also the folder's name."""
    path: Path


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    executable: bool
    content: bytes


def take(entry: Entry, *, roles: Path, config: Path | None, into: Path) -> Snapshot:
    """Copy an entry and return its snapshot; an existing one of the same digest is verified and used again.

    Args:
        entry: the entry; its folder, its `roles` and nothing else are copied.
        roles: the folder of roles.
        config: Ansible's configuration file, if any.
        into: the folder of snapshots.

    Raises:
        ExecutionError: something is missing, is no plain file, leads outside, or the existing snapshot was tampered with.
    """
    files = _read(Path(entry.folder), f"playbooks/{_plain(entry.id)}")
    for role in sorted(set(entry.roles)):
        files += _read(roles / _plain(role), f"roles/{role}", inside=roles)
    files.append(_File(CONFIG, executable=False, content=_content(config) if config else b""))
    digest = _digest(files)
    path = into / digest
    if not path.exists():
        _write(files, path)
    verify(path)
    return Snapshot(digest, path)


def verify(path: Path) -> None:
    """Verify that a snapshot's content is what its name says.

    Raises:
        ExecutionError: it is not, or the folder is no snapshot.
    """
    if not DIGEST.fullmatch(path.name) or not path.is_dir() or path.is_symlink():
        raise ExecutionError(f"{path}: no such snapshot. Mend: take it again from the catalogue.")
    if _digest(_read(path, "", skip=frozenset(), links=False)) != path.name:
        raise ExecutionError(f"{path}: the snapshot has been changed since it was taken. Mend: find out by whom, then remove the folder.")


def _plain(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ExecutionError(f"{name!r} is no name of an entry or a role. Mend: use letters, digits, `_`, `.` and `-`.")
    return name


def _read(folder: Path, prefix: str, *, inside: Path | None = None, skip: frozenset[str] = SKIPPED, links: bool = True) -> list[_File]:
    """Read every file below `folder`; links are followed only within it."""
    try:
        root = folder.resolve(strict=True)
    except OSError as error:
        raise ExecutionError(f"{folder}: cannot be read ({error.strerror}). Mend: create it, or take its name out of the entry.") from error
    if not root.is_dir() or (inside and not root.is_relative_to(inside.resolve())):
        raise ExecutionError(f"{folder}: is no folder, or leads outside {inside}. Mend: put the folder itself there.")
    files = []
    for place, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in skip)
        for name in folders:
            if Path(place, name).is_symlink():
                raise ExecutionError(f"{Path(place, name)}: a link to a folder. Mend: put the folder itself there.")
        files += [_one(Path(place, name), root, prefix, links=links) for name in names]
    return files


def _one(path: Path, root: Path, prefix: str, *, links: bool) -> _File:
    target = path.resolve()
    if path.is_symlink() and not (links and target.is_relative_to(root)):
        raise ExecutionError(f"{path}: a link that leads to {target}. Mend: put the file itself there.")
    name = path.relative_to(root).as_posix()
    return _File(f"{prefix}/{name}" if prefix else name, os.access(target, os.X_OK), _content(target))


def _content(path: Path) -> bytes:
    if not path.is_file():
        raise ExecutionError(f"{path}: is no plain file. Mend: remove it.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExecutionError(f"{path}: cannot be read ({error.strerror}). Mend: make it readable.") from error


def _digest(files: list[_File]) -> str:
    total = hashlib.sha256()
    for file in sorted(files, key=lambda one: one.name):
        # each line is unambiguous: the name's length comes first
        name = os.fsencode(file.name)
        total.update(b"%d %b %d %b\n" % (len(name), name, file.executable, hashlib.sha256(file.content).hexdigest().encode()))
    return total.hexdigest()


def _write(files: list[_File], path: Path) -> None:
    """Write the snapshot beside its place, then put it there in one move."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f"{UNDER_WAY}{secrets.token_hex(8)}")
    try:
        for file in files:
            target = fresh / file.name
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.write_bytes(file.content)
            target.chmod(0o500 if file.executable else 0o400)
        fresh.rename(path)
    except OSError as error:
        shutil.rmtree(fresh, ignore_errors=True)
        if not path.is_dir():
            raise ExecutionError(f"{path}: the snapshot cannot be written ({error}). Mend: make room, or make it writable.") from error
