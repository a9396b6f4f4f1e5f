"""Read-only is enforced: what a diagnostic or a verify play may hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from orchestrator.catalogue.files import read_yaml
from orchestrator.catalogue.plays import Play, RoleFiles, Shelf, included_file, uses_in
from orchestrator.catalogue.tasks import INCLUDES, RoleUse, Task, argv_words, has_template, short, strings_in
from orchestrator.errors import CatalogueError

MODULES = frozenset(
    """assert async_status block command debug fail find gather_facts getent import_role import_tasks include_role include_tasks include_vars
    meta mount_facts package_facts ping service_facts set_fact set_stats setup slurp stat uri validate_argument_spec wait_for
    wait_for_connection""".split(),  # noqa: SIM905 - words read better in lines
)
"""The only modules of a read-only play; all of Ansible's own."""

_META = frozenset({"noop", "end_host", "end_play", "end_role", "clear_facts", "clear_host_errors"})
_LOOKUP = re.compile(r"\b(?:lookup|query|q)\s*\(\s*(?:(['\"])(?P<name>[A-Za-z0-9_.]+)\1)?")
_LOOKUPS = frozenset(
    {"vars", "varnames", "dict", "items", "list", "flattened", "sequence", "subelements", "nested", "together", "indexed_items"}
)
_LOOPS = frozenset(f"with_{name}" for name in _LOOKUPS)
_PLUGIN_FOLDERS = re.compile(r"library|module_utils|plugins|[a-z]+_plugins")
_CHANGING_PROGRAMS = frozenset(
    """apt apt-get bash chmod chown cp crontab dash dd dnf dpkg env fuser halt install kill killall ln mkdir mkfs mv nohup passwd perl pkill
    poweroff python python3 reboot rm rmdir rpm ruby sed sh shutdown su sudo tee touch truncate umount useradd userdel usermod xargs yum
    zsh""".split(),  # noqa: SIM905 - words read better in lines
)
_MANAGERS = frozenset(
    {"systemctl", "service", "supervisorctl", "rc-service", "docker", "podman", "pg_ctl", "pg_ctlcluster", "nginx", "apachectl"}
)
_CHANGING_VERBS = frozenset(
    """restart start stop reload try-restart reload-or-restart force-reload kill enable disable mask unmask signal update reread add remove rm
    shutdown reboot poweroff isolate daemon-reload daemon-reexec set-property edit clear promote exec run quit reopen""".split(),  # noqa: SIM905 - words read better in lines
)
_WRAPPERS = frozenset({"timeout", "nice", "ionice", "stdbuf"})
_WRAPPER_OPTION = re.compile(r"-.*|[0-9.]+[smhd]?")
_ROOT = "an admin has to admit it: say read_as_root: true in the catalogue block, or read without root."


def check_read_only(play: Play, shelf: Shelf, *, root: bool) -> list[CatalogueError]:
    """Return every reason why a play is not read-only.

    Args:
        play: a diagnostic's or a verify playbook.
        shelf: where its roles stand.
        root: whether the entry says `read_as_root: true`.

    Raises:
        CatalogueError: a role is missing or cannot be read.
    """
    problems = [*_check_keywords(play.file, "0", play.data, root=root), *_check_lookups(play.file, "0.vars", play.data.get("vars"))]
    problems += _check_plugins(play.file.parent)
    problems += [
        CatalogueError(str(play.file), f"0.{key}", f"{key} is refused in a read-only play.", "leave it out.")
        for key in ("connection", "strategy", "vars_prompt")
        if key in play.data
    ]
    problems += _check_vars_files(play)
    for task in play.tasks:
        problems += _check_task(task, root=root)
    problems += _check_roles(play.roles, shelf, root=root)
    return problems


def _check_vars_files(play: Play) -> list[CatalogueError]:
    """Check that a play's files of variables are named literally, stand in its folder and run no lookup."""
    problems: list[CatalogueError] = []
    listed = play.data.get("vars_files") or []
    for name in listed if isinstance(listed, list) else [listed]:
        if not isinstance(name, str) or has_template(name) or "/" in name:
            problem = f"vars_files: {name!r} is refused in a read-only play."
            problems.append(CatalogueError(str(play.file), "0.vars_files", problem, "name files of the entry's folder."))
        else:
            problems += _check_lookups(play.file.parent / name, "", read_yaml(play.file.parent / name))
    return problems


def is_reading(task: Task) -> bool:
    """Return whether a task by itself only reads, and so may say `check_mode: false`."""
    return not _check_module(task)


def _check_roles(uses: tuple[RoleUse, ...], shelf: Shelf, *, root: bool) -> list[CatalogueError]:
    """Check the tasks that can be reached from where each role starts, and the roles that those use."""
    problems: list[CatalogueError] = []
    seen: set[tuple[str, str]] = set()
    waiting = list(uses)
    while waiting:
        use = waiting.pop()
        if (use.name, use.start) in seen:
            continue
        seen.add((use.name, use.start))
        role = shelf.role(use)
        tasks = list(_reachable(role, use, problems))
        for task in tasks:
            problems += _check_task(task, root=root)
        for file, variables in role.variables.items():
            problems += _check_lookups(file, "", variables)
        problems += _check_plugins(role.folder)
        waiting += [*role.dependencies, *uses_in(tasks)]
    return problems


def _reachable(role: RoleFiles, use: RoleUse, problems: list[CatalogueError]) -> Iterator[Task]:
    """Yield the tasks of a role that run when it starts at `use.start`."""
    waiting, seen = [use.start], set[str]()
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        if name not in role.tasks:
            if name != "main":
                problems.append(
                    CatalogueError(str(use.file), use.field, f"{role.name} has no tasks/{name}.yml.", "add it, or mend its name.")
                )
            continue
        for task in role.tasks[name]:
            yield task
            if task.module not in INCLUDES:
                continue
            target = included_file(task)
            # Where a template names the file, it may be any of the role's.
            waiting += role.tasks if target is None else [_below_tasks(role, task, target)]


def _below_tasks(role: RoleFiles, task: Task, target: str) -> str:
    """Return an included file as a path below `tasks/`, without ending."""
    base = role.folder / "tasks"
    beside = (task.file.parent / target).resolve()
    root = base.resolve()
    found = beside.relative_to(root) if beside.is_relative_to(root) else Path(target)
    return found.with_suffix("").as_posix()


def _check_task(task: Task, *, root: bool) -> list[CatalogueError]:
    problems = _check_module(task)
    problems += _check_keywords(task.file, task.field, task.keywords, root=root)
    problems += _check_lookups(task.file, task.field, task.keywords)
    for key in ("delegate_to", "local_action", "connection", "delegate_facts", "notify", "module_defaults", "remote_user"):
        if key in task.keywords:
            problems.append(
                CatalogueError(str(task.file), f"{task.field}.{key}", f"{key} is refused in a read-only play.", "leave it out.")
            )
    for key in task.keywords:
        if key.startswith("with_") and key not in _LOOPS:
            problems.append(
                CatalogueError(str(task.file), f"{task.field}.{key}", "this lookup is refused in a read-only play.", "use loop.")
            )
    return problems


def _check_module(task: Task) -> list[CatalogueError]:
    def refused(problem: str, mend: str) -> list[CatalogueError]:
        return [CatalogueError(str(task.file), task.field, f"{problem} in a read-only play.", mend)]

    if task.module not in MODULES:
        return refused(f"the module {task.module or '(none)'!r} is refused", f"use one of {', '.join(sorted(MODULES))}.")
    arguments = task.arguments if isinstance(task.arguments, Mapping) else {}
    match task.module:
        case "command":
            return _check_command(task, arguments)
        case "meta":
            word = task.arguments if isinstance(task.arguments, str) else arguments.get("_raw_params", "")
            return [] if word in _META else refused(f"meta: {word} is refused", f"use {', '.join(sorted(_META))}.")
        case "uri":
            writes = arguments.get("method", "GET") not in ("GET", "HEAD") or any(
                key in arguments for key in ("dest", "src", "body", "creates")
            )
            return refused("uri that writes is refused", "use method: GET without dest, src and body.") if writes or not arguments else []
        case "set_fact":
            return refused("set_fact with cacheable is refused", "leave cacheable out.") if arguments.get("cacheable") else []
        case _:
            return []


def _check_command(task: Task, arguments: Mapping[str, Any]) -> list[CatalogueError]:
    """Check that a command is an argv list, of a program and a verb that are not known to change anything."""
    words = argv_words(arguments.get("argv"))
    if not words or "cmd" in arguments or "_raw_params" in arguments:
        problem = "a command of a read-only play has to be an argv list."
        return [CatalogueError(str(task.file), task.field, problem, "write argv: [program, argument].")]
    while len(words) > 1 and (_name(words[0]) in _WRAPPERS or _WRAPPER_OPTION.fullmatch(words[0])):
        words = words[1:]
    # In a list written as a template, which word is the program cannot be told: each counts.
    template = isinstance(arguments.get("argv"), str)
    programs = {_name(word) for word in (words if template else words[:1])}
    managed = template or "{{" in words[0] or not _MANAGERS.isdisjoint(programs)
    verbs = _CHANGING_VERBS.intersection(words if template else words[1:]) if managed else frozenset[str]()
    what = sorted({*_CHANGING_PROGRAMS.intersection(programs), *verbs})
    if what:
        problem = f"a read-only play must not run this: {words[0]} ({', '.join(what)})."
        return [CatalogueError(str(task.file), task.field, problem, "read without changing anything.")]
    return []


def _name(word: str) -> str:
    """Return a program's name without its folder."""
    return word.rsplit("/", 1)[-1]


def _check_keywords(file: Path, where: str, keywords: Mapping[str, Any], *, root: bool) -> list[CatalogueError]:
    """Check become and the variables that steer connections."""
    problems: list[CatalogueError] = []
    become = keywords.get("become", False)
    if not root and (become is not False or any(key.startswith("become_") for key in keywords)):
        problems.append(CatalogueError(str(file), f"{where}.become", "a read-only play becomes another user.", _ROOT))
    variables = keywords.get("vars")
    arguments = keywords.get("set_fact", keywords.get("ansible.builtin.set_fact"))
    steering = [str(name) for values in (variables, arguments) if isinstance(values, Mapping) for name in values]
    problems += [
        CatalogueError(str(file), f"{where}.vars.{name}", "this variable steers Ansible itself.", "leave it to the inventory.")
        for name in steering
        if name.startswith("ansible_")
    ]
    return problems


def _check_lookups(file: Path, where: str, value: Any) -> list[CatalogueError]:
    """Check that no text runs a lookup that leaves Ansible's own variables."""
    for text in strings_in(value):
        for found in _LOOKUP.finditer(text):
            name = short(found["name"] or "")
            if name not in _LOOKUPS:
                problem = f"the lookup {name or '(a template)'!r} is refused in a read-only play."
                return [CatalogueError(str(file), where, problem, f"use {', '.join(sorted(_LOOKUPS))} only.")]
    return []


def _check_plugins(folder: Path) -> list[CatalogueError]:
    """Check that a folder brings no plugins of its own: they could stand in for a module of the list."""
    return [
        CatalogueError(str(place), "", "plugins of one's own are refused in a read-only play.", "remove the folder.")
        for place in sorted(folder.iterdir())
        if place.is_dir() and _PLUGIN_FOLDERS.fullmatch(place.name)
    ]
