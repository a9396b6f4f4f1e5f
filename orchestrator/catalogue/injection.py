"""No parameter in `shell`, `raw` or a free-form `command`: a value there is code."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from orchestrator.catalogue.readonly import is_reading
from orchestrator.catalogue.tasks import Task, argv_words, has_template
from orchestrator.errors import CatalogueError

_SHELLS = frozenset({"shell", "raw", "script", "expect", "win_shell", "win_command", "ansible.windows.win_shell", "ansible.builtin.expect"})
_INTERPRETERS = frozenset(
    {"sh", "bash", "dash", "ash", "ksh", "zsh", "fish", "python", "python3", "perl", "ruby", "node", "awk", "gawk", "mawk"}
)
_HARMLESS = frozenset({"chdir", "creates", "removes"})
_MEND = "use command with argv: [program, argument]; each item stays one argument."


def check_injection(tasks: Iterable[Task]) -> list[CatalogueError]:
    """Return a problem for each task where a parameter, or any variable that may hold one, becomes code.

    Any template counts: a role's variable may hold a parameter under another name.
    """
    problems: list[CatalogueError] = []
    for task in tasks:
        reason = _reason(task)
        if reason:
            problems.append(CatalogueError(str(task.file), task.field, reason, _MEND))
        if task.keywords.get("check_mode") is False and not is_reading(task):
            problem = f"check_mode: false on {task.module}, which may change something."
            problems.append(CatalogueError(str(task.file), f"{task.field}.check_mode", problem, "drop check_mode: false."))
    return problems


def _reason(task: Task) -> str:
    """Return why a task turns a value into code, or an empty string."""
    arguments = task.arguments
    if task.module in _SHELLS:
        code = {key: value for key, value in arguments.items() if key not in _HARMLESS} if isinstance(arguments, Mapping) else arguments
        return f"a parameter or variable is used in {task.module}." if has_template(code) else ""
    if task.module != "command":
        return ""
    if isinstance(arguments, str):
        return "a parameter or variable is used in a free-form command." if has_template(arguments) else ""
    if not isinstance(arguments, Mapping):
        return "this command has no argv list."
    if has_template([arguments.get("cmd"), arguments.get("_raw_params")]):
        return "a parameter or variable is used in a free-form command."
    return _reason_argv(arguments["argv"]) if "argv" in arguments else ""


def _reason_argv(argv: Any) -> str:
    """Return why an argv list turns a value into code: a template as a whole list, or as the script of an interpreter."""
    words = argv_words(argv)
    if not words:
        return "argv is no list."
    if isinstance(argv, str):
        # Which word of such a list is a value cannot be told.
        found = next((word for word in words if word.rsplit("/", 1)[-1] in _INTERPRETERS), "")
        return f"a parameter or variable may be used as code of {found}." if found else ""
    for position, word in enumerate(words):
        if word.rsplit("/", 1)[-1] in _INTERPRETERS:
            rest = words[position + 1 :]
            script = next((at for at, text in enumerate(rest) if not text.startswith("-")), len(rest))
            return f"a parameter or variable is used as code of {word}." if has_template(rest[: script + 1]) else ""
    return ""
