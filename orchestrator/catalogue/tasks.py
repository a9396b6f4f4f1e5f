"""Tasks of plays and roles as Ansible will read them: which module, with which arguments."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.catalogue.files import read_yaml
from orchestrator.errors import CatalogueError

_KEYWORDS = frozenset(
    """name when register vars tags become become_user become_method become_flags become_exe changed_when failed_when loop loop_control until
    retries delay notify listen args async poll environment no_log check_mode diff delegate_to delegate_facts run_once ignore_errors
    ignore_unreachable any_errors_fatal block rescue always module_defaults collections connection port remote_user throttle timeout debugger
    action local_action first_available_file""".split(),  # noqa: SIM905 - words read better in lines
)
_BLOCKS = ("block", "rescue", "always")
INCLUDES = ("include_tasks", "import_tasks")
ROLE_INCLUDES = ("include_role", "import_role")


@dataclass(frozen=True, slots=True)
class Task:
    """One task, or one block's own keywords (`module` is `block`)."""

    file: Path
    field: str
    module: str
    """Without `ansible.builtin.`; empty where no module stands there."""
    arguments: Any
    """What stands after the module, the task's `args` merged in where both are mappings."""
    keywords: Mapping[str, Any]
    """The whole task."""


@dataclass(frozen=True, slots=True)
class RoleUse:
    """A role that something uses."""

    name: str
    start: str
    """The file below `tasks/` where it starts, without ending: `main`."""
    file: Path
    field: str


def short(module: str) -> str:
    """Return a module's name without Ansible's own prefix."""
    return module.removeprefix("ansible.builtin.").removeprefix("ansible.legacy.")


def read_tasks(file: Path) -> list[Task]:
    """Return every task of a task file, blocks opened.

    Raises:
        CatalogueError: the file cannot be read or is no list of tasks.
    """
    return list(tasks_in(file, read_yaml(file), ""))


def tasks_in(file: Path, listed: Any, field: str) -> Iterator[Task]:
    """Yield every task of a list of tasks, blocks opened.

    Raises:
        CatalogueError: something there is no task.
    """
    if listed is None:
        return
    if not isinstance(listed, list):
        raise CatalogueError(str(file), field, "this is no list of tasks.", "write a list.")
    for position, raw in enumerate(listed):
        where = f"{field}.{position}" if field else str(position)
        if not isinstance(raw, Mapping):
            raise CatalogueError(str(file), where, "this is no task.", "write a mapping with a name and a module.")
        if "block" not in raw:
            yield _task(file, raw, where)
            continue
        yield Task(file, where, "block", None, {key: value for key, value in raw.items() if key not in _BLOCKS})
        for part in _BLOCKS:
            yield from tasks_in(file, raw.get(part), f"{where}.{part}")


def _task(file: Path, raw: Mapping[Any, Any], where: str) -> Task:
    modules = [key for key in raw if isinstance(key, str) and key not in _KEYWORDS and not key.startswith("with_")]
    if len(modules) > 1 or any(not isinstance(key, str) for key in raw):
        raise CatalogueError(str(file), where, f"this task has several modules: {modules}.", "write one module a task; quote keys.")
    name, arguments = (modules[0], raw[modules[0]]) if modules else _action(raw)
    extra = raw.get("args")
    if isinstance(extra, Mapping):
        arguments = {**extra, **arguments} if isinstance(arguments, Mapping) else {"_raw_params": arguments, **extra}
    return Task(file, where, short(name), arguments, raw)


def _action(raw: Mapping[str, Any]) -> tuple[str, Any]:
    """Return module and arguments of the old `action: module a=b` form."""
    given = raw.get("action", raw.get("local_action"))
    if isinstance(given, Mapping):
        return str(given.get("module", "")), {key: value for key, value in given.items() if key != "module"}
    name, _, rest = str(given or "").strip().partition(" ")
    return name, rest


def strings_in(value: Any) -> Iterator[str]:
    """Yield every string inside a YAML value, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from strings_in(key)
            yield from strings_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from strings_in(item)


def has_template(value: Any) -> bool:
    """Return whether a template mark stands anywhere inside a YAML value."""
    return any("{{" in text or "{%" in text for text in strings_in(value))


def free_form(task: Task, key: str) -> str:
    """Return the argument `key` of a task, be it written as a mapping or as a plain string; empty where it is not there."""
    if isinstance(task.arguments, Mapping):
        value = task.arguments.get(key, task.arguments.get("_raw_params", ""))
        return value if isinstance(value, str) else ""
    return task.arguments.strip() if isinstance(task.arguments, str) else ""


def argv_words(argv: Any) -> list[str]:
    """Return the words of a command's `argv`; empty where it is no list.

    A list may also be written as one template that starts with a list: `"{{ ['df', '-P'] + paths }}"`. Of such a one the literal words are
    returned, in order, and `{{` first where the program itself is no literal.
    """
    if isinstance(argv, list):
        return [str(word) for word in argv]
    if not isinstance(argv, str) or not (template := _LIST_TEMPLATE.fullmatch(argv.strip())):
        return []
    words = [first or second for first, second in _LITERAL.findall(template[0])]
    return words if _LITERAL.match(template[1]) else ["{{", *words]


_LIST_TEMPLATE = re.compile(r"\{\{\s*\[\s*((?:(?!\}\}|\{[{%]).)*)\}\}", re.DOTALL)
_LITERAL = re.compile(r"'([^']*)'|\"([^\"]*)\"")
