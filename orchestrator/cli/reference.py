"""Reference pages written from the code: `python -m orchestrator.cli.reference` writes them, a test compares them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import click
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from orchestrator.cli.vocabulary import catalogue_page, errors_page, metrics_page
from orchestrator.settings import PREFIX, Section, Settings, Window

SETTINGS_HEAD = """\
# Settings

<!-- Written by `make docs` from orchestrator/settings.py; do not edit. -->

One TOML file, by default `orchestrator.toml` in the folder the program runs in; `--config FILE` or `ORCHESTRATOR_CONFIG` names
another. Each value can be set from outside as the environment variable beside it, which wins over the file. Lists are JSON or
comma-separated there, tables are JSON. A secret can be given as the path of a file that holds it: `NAME_file` in TOML,
`…_FILE` as a variable. Unknown keys are refused, and all problems are reported together. The command line alone reads
`ORCHESTRATOR_URL` (the server's address) and `ORCHESTRATOR_TOKEN`.
"""
CLI_HEAD = """\
# Command line

<!-- Written by `make docs` from orchestrator/cli; do not edit. -->

`orchestrator <noun> <verb>`. Every command takes `--json` (output for programs) and `--config FILE`, before or after the noun.
`NO_COLOR` is honoured; nothing is told by colour alone.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | the thing asked about is not so: lint errors, a broken chain, an incident that is not resolved, a refusal |
| 2 | wrong usage or settings |
| 3 | the server could not be reached |

An error is one line on standard error, `error: …`, with its mend; with `--json` it is one object: `error`, `problems`, `exit_code`.
"""


def settings_page() -> str:
    """Return `docs/reference/settings.md`."""
    lines = [SETTINGS_HEAD]
    plain = [(name, field) for name, field in Settings.model_fields.items() if not _is_section(field.annotation)]
    lines += ["## Top level\n", *_table("", plain)]
    for name, section in _sections():
        lines += [f"## `[{name}]`\n", f"{(section.__doc__ or '').strip()}\n", *_table(name, list(section.model_fields.items()))]
    lines += ["## `[[policy.windows]]`\n", "A maintenance window; in the file, or as JSON in `ORCHESTRATOR_POLICY__WINDOWS`.\n"]
    lines += _table("policy.windows", list(Window.model_fields.items()))
    return "\n".join(lines).rstrip() + "\n"


def _sections() -> Iterator[tuple[str, type[Section]]]:
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Section)


def _table(section: str, fields: list[tuple[str, Any]]) -> Iterator[str]:
    yield "| name | type | default | meaning | variable |"
    yield "|---|---|---|---|---|"
    for name, field in fields:
        variable = PREFIX + (f"{section.upper()}__" if section else "") + name.upper()
        shown = "" if "." in section else f"`{variable}`"
        cells = (f"`{name}`", _type(field.annotation), _default(field.default), field.description or "", shown)
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _type(annotation: Any) -> str:
    origin = get_origin(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in get_args(annotation))
    if origin is tuple:
        return f"list of {_type(get_args(annotation)[0])}"
    if origin is dict:
        return "table"
    if annotation is SecretStr:
        return "secret"
    return "table" if _is_section(annotation) else {str: "text", int: "whole number", float: "number", bool: "true or false"}[annotation]


def _default(value: Any) -> str:
    if value is PydanticUndefined:
        return "required"
    if isinstance(value, SecretStr) or value in ("", (), {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{item}`" for item in value)
    return f"`{value}`"


def cli_page() -> str:
    """Return `docs/reference/cli.md`."""
    return CLI_HEAD + "\n" + "\n".join(_command(path, command, context) for path, command, context in commands()).rstrip() + "\n"


def commands() -> Iterator[tuple[str, click.Command, click.Context]]:
    """Yield every command: its words, itself, its context."""
    from orchestrator.cli.main import cli

    root = click.Context(cli, info_name="orchestrator")
    for name in cli.list_commands(root):
        yield from _below(name, cli.get_command(root, name), root)


def _below(path: str, command: click.Command | None, parent: click.Context) -> Iterator[tuple[str, click.Command, click.Context]]:
    if command is None:
        return
    context = click.Context(command, info_name=path.rsplit(" ", 1)[-1], parent=parent)
    yield path, command, context
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from _below(f"{path} {name}", command.get_command(context, name), context)


def _command(path: str, command: click.Command, context: click.Context) -> str:
    if isinstance(command, click.Group):
        return f"## orchestrator {path}\n\n{_prose(command.help)}\n"
    level = "###" if " " in path else "##"
    usage = " ".join(["orchestrator", path, *(piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]")])
    lines = [f"{level} orchestrator {path}", "", _prose(command.help), "", f"    {usage}", ""]
    options = [item for item in command.params if isinstance(item, click.Option) and item.name not in ("json", "config")]
    lines += [f"- `{', '.join(option.opts)}`{_metavar(option, context)}: {option.help or ''}" for option in options]
    return "\n".join(lines).rstrip() + "\n"


def _metavar(parameter: click.Option, context: click.Context) -> str:
    if parameter.is_flag:
        return ""
    return f" `{parameter.make_metavar(context)}`"


def _prose(text: str | None) -> str:
    """Return a command's help as Markdown: blocks that keep their lines become code."""
    blocks = []
    for block in (text or "").strip().split("\n\n"):
        if block.startswith("\b\n"):
            lines = block.removeprefix("\b\n").splitlines()
            blocks.append("\n".join(f"    {line}" for line in lines))
        else:
            blocks.append(block)
    return "\n\n".join(blocks)


EXAMPLE_HEAD = """\
# Settings of the orchestrator, written by `make docs` from orchestrator/settings.py.
# Each line that starts with `#` and a name shows a default: take the `#` away and change the value.
# Each value can also be given as an environment variable: [server] port is ORCHESTRATOR_SERVER__PORT. A secret can be
# given as the path of a file that holds it: webhook_token_file = "/etc/orchestrator/webhook.token".
# Most start with these: prometheus.url, alertmanager.url, inventory.paths, policy.mode.

"""


def example() -> str:
    """Return `orchestrator.example.toml`: every setting with its meaning and its default, commented out."""
    plain = [(name, field) for name, field in Settings.model_fields.items() if not _is_section(field.annotation)]
    lines = [EXAMPLE_HEAD.rstrip(), "", *_commented(plain)]
    for name, section in _sections():
        lines += [f"# {(section.__doc__ or '').strip()}", f"[{name}]", *_commented(list(section.model_fields.items()))]
    lines += ["# [[policy.windows]]", *(f"# {line}" for line in WINDOW_EXAMPLE)]
    return "\n".join(lines).rstrip() + "\n"


WINDOW_EXAMPLE = ('name = "patch night"', 'start = "0 2 * * 6"', "duration_s = 7200.0", 'timezone = "Europe/Berlin"', 'hosts = ["web1"]')


def _commented(fields: list[tuple[str, Any]]) -> Iterator[str]:
    for name, field in fields:
        if name == "windows":
            continue
        yield f"# {field.description}"
        yield f"# {name} = {_toml(field.default)}"
    yield ""


def _toml(value: Any) -> str:
    """Return a default as TOML; strings, numbers, booleans and lists are written as in JSON."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    return json.dumps(list(value) if isinstance(value, tuple) else value)


PAGES = {
    "docs/reference/settings.md": settings_page,
    "docs/reference/cli.md": cli_page,
    "docs/reference/errors.md": errors_page,
    "docs/reference/metrics.md": metrics_page,
    "docs/reference/catalogue.md": catalogue_page,
    "orchestrator.example.toml": example,
}


def main(folder: str = ".") -> None:
    """Write every generated page below the checkout `folder`."""
    for name, page in PAGES.items():
        place = Path(folder) / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(page(), encoding="utf-8")
        print(place)


if __name__ == "__main__":
    main(*sys.argv[1:])
