"""Playbooks of an entry and the roles they use, read without running anything."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.catalogue.files import read_yaml, walk_files
from orchestrator.catalogue.tasks import INCLUDES, ROLE_INCLUDES, RoleUse, Task, free_form, has_template, read_tasks, tasks_in
from orchestrator.errors import CatalogueError

_ROLE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_START = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_/-]*(?:\.ya?ml)?")
_TASK_LISTS = ("pre_tasks", "tasks", "post_tasks", "handlers")


@dataclass(frozen=True, slots=True)
class Play:
    """A playbook of one play."""

    file: Path
    data: Mapping[str, Any]
    tasks: tuple[Task, ...]
    roles: tuple[RoleUse, ...]


@dataclass(frozen=True, slots=True)
class RoleFiles:
    """What a role's folder holds."""

    name: str
    folder: Path
    tasks: Mapping[str, tuple[Task, ...]] = field(default_factory=dict)
    """Path below `tasks/` without ending → its tasks."""
    handlers: tuple[Task, ...] = ()
    variables: Mapping[Path, Any] = field(default_factory=dict)
    dependencies: tuple[RoleUse, ...] = ()

    @property
    def all_tasks(self) -> Iterator[Task]:
        """Every task and handler of the role."""
        for listed in self.tasks.values():
            yield from listed
        yield from self.handlers


def read_play(file: Path) -> Play:
    """Read a playbook of one play.

    Raises:
        CatalogueError: it cannot be read, is not exactly one play, or a role's name is a template.
    """
    data = read_yaml(file)
    if not isinstance(data, list) or len(data) != 1 or not isinstance(data[0], Mapping):
        raise CatalogueError(str(file), "", "this is not exactly one play.", "write a list with one play; use roles for more.")
    play = data[0]
    if "hosts" not in play:
        raise CatalogueError(str(file), "0", "this play has no hosts.", "write hosts: all; the run limits it to the approved hosts.")
    tasks = [task for part in _TASK_LISTS for task in tasks_in(file, play.get(part), f"0.{part}")]
    tasks = list(with_includes(tasks, file.parent))
    listed = play.get("roles") or []
    if not isinstance(listed, list):
        raise CatalogueError(str(file), "0.roles", "this is no list of roles.", "write a list.")
    uses = [_role_use(file, f"0.roles.{position}", item) for position, item in enumerate(listed)]
    return Play(file, play, tuple(tasks), (*uses, *uses_in(tasks)))


def with_includes(tasks: Iterable[Task], base: Path, seen: frozenset[Path] = frozenset()) -> Iterator[Task]:
    """Yield tasks, and those of the files they include, below the folder `base`.

    Raises:
        CatalogueError: an included file is a template, is outside the folder or cannot be read.
    """
    for task in tasks:
        yield task
        if task.module not in INCLUDES:
            continue
        target = included_file(task)
        if target is None:
            raise CatalogueError(str(task.file), task.field, "which file this includes is a template.", "write the file's name.")
        file = (task.file.parent / target).resolve()
        if not file.is_relative_to(base.resolve()):
            raise CatalogueError(
                str(task.file), task.field, f"{target!r} is outside the entry's folder.", "include files of the folder only."
            )
        if file not in seen:
            yield from with_includes(read_tasks(file), base, seen | {file})


def included_file(task: Task) -> str | None:
    """Return the file that an include names, or None where a template or nothing names it."""
    target = free_form(task, "file")
    return None if not target or has_template(target) else target


def uses_in(tasks: Iterable[Task]) -> tuple[RoleUse, ...]:
    """Return the roles that tasks include.

    Raises:
        CatalogueError: a role's name or first file is a template.
    """
    return tuple(_included_role(task) for task in tasks if task.module in ROLE_INCLUDES)


def _included_role(task: Task) -> RoleUse:
    name = task.arguments.get("name", task.arguments.get("role")) if isinstance(task.arguments, Mapping) else None
    start = str(task.arguments.get("tasks_from", "main")) if isinstance(task.arguments, Mapping) else "main"
    if not isinstance(name, str) or has_template(name) or has_template(start) or not _START.fullmatch(start):
        raise CatalogueError(
            str(task.file), task.field, "which role this includes cannot be told.", "write name: and tasks_from: literally."
        )
    return RoleUse(name, start.removesuffix(".yml").removesuffix(".yaml"), task.file, task.field)


def _role_use(file: Path, where: str, item: Any) -> RoleUse:
    name = item.get("role", item.get("name")) if isinstance(item, Mapping) else item
    if not isinstance(name, str) or has_template(name):
        raise CatalogueError(str(file), where, "which role this is cannot be told.", "write the role's name literally.")
    return RoleUse(name, "main", file, where)


class Shelf:
    """The folder of roles; each is read once.

    Args:
        folder: where the roles stand.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[str, RoleFiles] = {}

    def role(self, use: RoleUse) -> RoleFiles:
        """Return a role's files.

        Raises:
            CatalogueError: there is no such role, or it cannot be read.
        """
        if use.name not in self._read:
            place = self.folder / use.name
            if not _ROLE_NAME.fullmatch(use.name) or not place.is_dir():
                raise CatalogueError(
                    str(use.file), use.field, f"the role {use.name!r} is not in {self.folder}.", "add it, or mend its name."
                )
            self._read[use.name] = _read_role(use.name, place)
        return self._read[use.name]

    def closure(self, uses: Iterable[RoleUse]) -> dict[str, RoleFiles]:
        """Return every role that is used, directly or through others, by name.

        Raises:
            CatalogueError: one of them is missing or cannot be read.
        """
        found: dict[str, RoleFiles] = {}
        waiting = list(uses)
        while waiting:
            use = waiting.pop()
            if use.name in found:
                continue
            role = found[use.name] = self.role(use)
            waiting += [*role.dependencies, *uses_in(role.all_tasks)]
        return found


def _read_role(name: str, folder: Path) -> RoleFiles:
    tasks: dict[str, tuple[Task, ...]] = {}
    for file in _yaml_below(folder / "tasks"):
        tasks[file.relative_to(folder / "tasks").with_suffix("").as_posix()] = tuple(read_tasks(file))
    handlers = [task for file in _yaml_below(folder / "handlers") for task in read_tasks(file)]
    variables = {file: read_yaml(file) for part in ("defaults", "vars") for file in _yaml_below(folder / part)}
    return RoleFiles(name, folder, tasks, tuple(handlers), variables, _dependencies(folder))


def _dependencies(folder: Path) -> tuple[RoleUse, ...]:
    for file in (folder / "meta" / "main.yml", folder / "meta" / "main.yaml"):
        if not file.is_file():
            continue
        meta = read_yaml(file)
        listed = (meta.get("dependencies") or []) if isinstance(meta, Mapping) else []
        if not isinstance(listed, list):
            raise CatalogueError(str(file), "dependencies", "this is no list of roles.", "write a list.")
        return tuple(_role_use(file, f"dependencies.{position}", item) for position, item in enumerate(listed))
    return ()


def _yaml_below(folder: Path) -> list[Path]:
    return [file for file in walk_files(folder) if file.suffix in (".yml", ".yaml")]
