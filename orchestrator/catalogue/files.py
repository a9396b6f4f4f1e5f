"""Reading YAML strictly, digests over folders, and the revision of the checkout."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from orchestrator.errors import CatalogueError

try:
    from yaml import CSafeLoader as _Base
except ImportError:  # PyYAML was built without libyaml
    from yaml import SafeLoader as _Base  # type: ignore[assignment]

_LARGEST_BYTES = 1_000_000
_GIT_TIMEOUT_S = 2.0


class _Loader(_Base):
    """A safe loader that refuses a key written twice and reads Ansible's own tags as plain text."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key, _ in node.value:
        if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
            raise yaml.constructor.ConstructorError(None, None, f"the key {key.value!r} is written twice", key.start_mark)
        seen.add(str(key.value))
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


def _text(loader: _Loader, node: yaml.Node) -> Any:
    return loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else None


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)
for _tag in ("!vault", "!vault-encrypted", "!unsafe"):
    _Loader.add_constructor(_tag, _text)


def read_yaml(file: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        CatalogueError: the file is missing, too large, no UTF-8, no YAML, or writes a key twice.
    """
    text = read_text(file)
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.YAMLError as exc:
        raise CatalogueError(str(file), "", f"it is not valid YAML: {_one_line(exc)}", "mend the line named here.") from exc
    except (RecursionError, ValueError) as exc:
        raise CatalogueError(str(file), "", f"it cannot be read: {exc}", "write simpler YAML.") from exc


def read_text(file: Path) -> str:
    """Return the text of a file of the catalogue.

    Raises:
        CatalogueError: the file is missing, too large or no UTF-8.
    """
    try:
        if file.stat().st_size > _LARGEST_BYTES:
            raise CatalogueError(str(file), "", "it is over 1 MB.", "keep files of the catalogue small.")
        return file.read_text(encoding="utf-8")
    except FileNotFoundError as exc:
        raise CatalogueError(str(file), "", "there is no such file.", "add it.") from exc
    except (OSError, UnicodeError) as exc:
        raise CatalogueError(str(file), "", f"it cannot be read: {exc}", "make it a readable UTF-8 file.") from exc


def _one_line(exc: yaml.YAMLError) -> str:
    """Return a YAML error in one line, with the line number."""
    mark = getattr(exc, "problem_mark", None) or getattr(exc, "context_mark", None)
    problem = str(getattr(exc, "problem", None) or exc).replace("\n", " ")
    return f"line {mark.line + 1}: {problem}." if mark else f"{problem}."


def line_of(file: Path, field: str) -> int:
    """Return the line, counted from 1, where a dotted field stands; 1 where it cannot be found.

    Args:
        file: a YAML file.
        field: keys and list positions with dots between: `0.tasks.2.ansible.builtin.command`.
    """
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except (OSError, UnicodeError, yaml.YAMLError, RecursionError):
        return 1
    line, rest = 1, field
    while rest and node is not None:
        step = _step(node, rest)
        if step is None:
            break
        line, node, rest = step
    return line


def _step(node: yaml.Node, rest: str) -> tuple[int, yaml.Node, str] | None:
    """Return line, node and remaining field after one step down."""
    if isinstance(node, yaml.SequenceNode):
        head, _, tail = rest.partition(".")
        if not head.isdigit() or int(head) >= len(node.value):
            return None
        child = node.value[int(head)]
        return child.start_mark.line + 1, child, tail
    if isinstance(node, yaml.MappingNode):
        fitting = [pair for pair in node.value if rest == str(pair[0].value) or rest.startswith(f"{pair[0].value}.")]
        if fitting:
            key, child = max(fitting, key=lambda pair: len(str(pair[0].value)))
            return key.start_mark.line + 1, child, rest[len(str(key.value)) + 1 :]
    return None


def walk_files(folder: Path) -> Iterator[Path]:
    """Yield every file and symbolic link below `folder`, sorted, without `__pycache__`."""
    for place, folders, names in os.walk(folder):
        links = [name for name in folders if (Path(place) / name).is_symlink()]
        folders[:] = sorted(name for name in folders if name != "__pycache__" and name not in links)
        for name in sorted([*names, *links]):
            yield Path(place) / name


def digest_of(folder: Path, roles: Mapping[str, Path]) -> str:
    """Return the SHA-256, as 64 hex digits, over an entry's folder and the roles it uses.

    Args:
        folder: `playbooks/<id>`.
        roles: role name → its folder. Where the folders stand does not count, only what is in them.

    Raises:
        OSError: a file cannot be read.
    """
    total = hashlib.sha256()
    parts = [("entry", folder), *((f"roles/{name}", roles[name]) for name in sorted(roles))]
    for prefix, place in parts:
        for file in sorted(walk_files(place), key=lambda file: file.relative_to(place).as_posix()):
            name = f"{prefix}/{file.relative_to(place).as_posix()}".encode()
            content = str(file.readlink()).encode() if file.is_symlink() else file.read_bytes()
            total.update(b"%d:%s%d:" % (len(name), name, len(content)))
            total.update(content)
    return total.hexdigest()


def stat_fingerprint(places: Iterable[Path]) -> tuple[tuple[str, int, int, int, int], ...]:
    """Return a value that changes when a file below one of `places` is added, removed, renamed or written."""
    found: list[tuple[str, int, int, int, int]] = []
    for place in places:
        names = [str(place)]
        for parent, folders, files in os.walk(place):
            folders[:] = sorted(name for name in folders if name not in ("__pycache__", ".git"))
            names += [os.path.join(parent, name) for name in (*folders, *files)]  # noqa: PTH118 - ten times faster than Path
        for name in sorted(names):
            try:
                stat = os.lstat(name)
            except OSError:
                continue
            found.append((name, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino))
    return tuple(found)


def head_fingerprint(folder: Path) -> tuple[int, ...]:
    """Return a value that changes when the checkout that holds `folder` gets another commit: its files may stay, its revision does not."""
    place = folder.resolve()
    for parent in (place, *place.parents):
        git = parent / ".git"
        if git.is_dir():
            found = []
            for name in ("HEAD", "logs/HEAD"):
                try:
                    found.append((git / name).stat().st_mtime_ns)
                except OSError:
                    found.append(0)
            return tuple(found)
    return ()


def revision_of(folder: Path) -> str:
    """Return the git revision of the checkout that holds `folder`, with `+` when it is dirty; empty where there is none."""
    head = _git(folder, "rev-parse", "HEAD")
    if not head:
        return ""
    dirty = _git(folder, "status", "--porcelain", "--", ".")
    return f"{head}+" if dirty is None or dirty else head


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, or None where it fails."""
    environment = {"PATH": os.environ.get("PATH", os.defpath), "HOME": os.environ.get("HOME", "/"), "LANG": "C", "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", "-c", "core.fsmonitor=false", *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
