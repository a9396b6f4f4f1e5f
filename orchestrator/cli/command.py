"""What every command has: `--json` and `--config` before and after the noun, and a group that loads its verbs late."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import click

from orchestrator.cli.session import Session


def _set_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value:
        context.find_root().ensure_object(Session).json = True


def _set_config(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value:
        context.find_root().ensure_object(Session).config = Path(value)


def _shared_options() -> list[click.Parameter]:
    return [
        click.Option(["--json"], is_flag=True, expose_value=False, is_eager=True, callback=_set_json, help="Print JSON."),
        click.Option(
            ["--config"],
            metavar="FILE",
            expose_value=False,
            is_eager=True,
            callback=_set_config,
            help="Settings file (default: orchestrator.toml, where there is one).",
        ),
    ]


class Verb(click.Command):
    """A command that takes the shared options, too."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params = [*self.params, *_shared_options()]


class Noun(click.Group):
    """A group of verbs that takes the shared options, too."""

    command_class = Verb

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.params = [*self.params, *_shared_options()]


Noun.group_class = Noun


class LateGroup(Noun):
    """A group that imports a command's module only when that command is called.

    Args:
        late: command → (module:attribute, one line of help).
    """

    def __init__(self, *arguments: Any, late: dict[str, tuple[str, str]] | None = None, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.late = late or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they were given."""
        del ctx
        return list(self.late)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command, or None where there is none of that name."""
        del ctx
        if cmd_name not in self.late:
            return None
        module, attribute = self.late[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in self.late.items()])


pass_session = click.make_pass_decorator(Session, ensure=True)
