"""One call of the command line: which settings, which output, and how to reach the program."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import SettingsError, UsageError
from orchestrator.model import Actor, Role

if TYPE_CHECKING:
    from orchestrator.app import Orchestrator
    from orchestrator.cli.client import Client
    from orchestrator.cli.render import Page
    from orchestrator.settings import Settings

DEFAULT_CONFIG = "orchestrator.toml"
OWN_VARIABLES = ("ORCHESTRATOR_URL", "ORCHESTRATOR_TOKEN", "ORCHESTRATOR_CONFIG")
"""Environment variables of the command line itself; they are no settings."""


@dataclass
class Session:
    """What every command shares; the options before and after the noun write into it."""

    config: Path | None = None
    """The file that was asked for by name."""
    json: bool = False
    """Whether output is for programs."""

    def config_path(self) -> Path | None:
        """Return the settings file, or None where the default one is not there.

        Raises:
            SettingsError: a file was named and does not exist.
        """
        named = self.config or (Path(os.environ["ORCHESTRATOR_CONFIG"]) if os.environ.get("ORCHESTRATOR_CONFIG") else None)
        if named is None:
            return Path(DEFAULT_CONFIG) if Path(DEFAULT_CONFIG).is_file() else None
        if not named.is_file():
            raise SettingsError(
                [f"{named}: there is no such file. Mend: name an existing file with --config, or run `orchestrator init DIR`."]
            )
        return named

    def settings(self) -> Settings:
        """Return the settings of the file and the environment.

        Raises:
            SettingsError: with every problem found.
        """
        from orchestrator.settings import load

        return load(self.config_path(), {name: value for name, value in os.environ.items() if name not in OWN_VARIABLES})

    @contextmanager
    def orchestrator(self) -> Iterator[Orchestrator]:
        """Give the program itself, on its files and its database, without a server."""
        from orchestrator.app import build

        program = build(self.settings())
        try:
            yield program
        finally:
            program.stop()

    def client(self) -> Client:
        """Return a client of the running server, with an administrator's token where its files can be read."""
        from orchestrator.cli.client import Client, address, secret

        settings = self.settings()
        return Client(address(settings), secret(settings, "admin"))

    def actor(self) -> Actor:
        """Return who acts where this command works on the database directly."""
        import getpass

        try:
            name = getpass.getuser()
        except (KeyError, OSError):
            name = f"uid-{os.getuid()}"
        return Actor(name=name, role=Role.ADMIN, via="cli")

    # ------------------------------------------------------------ output

    def show(self, value: Any, page: Page | str | None = None) -> None:
        """Print `value` as JSON with `--json`, else `page` for a person."""
        from orchestrator.cli import render

        if self.json:
            print(json.dumps(render.plain_json(value), ensure_ascii=False, indent=2))
        elif page is not None:
            render.show(page)

    def show_lines(self, values: Iterable[tuple[Mapping[str, Any], str]]) -> None:
        """Print a stream: one JSON object per line with `--json`, else one line of words each."""
        from orchestrator.cli import render

        for value, line in values:
            text = json.dumps(render.plain_json(value), ensure_ascii=False) if self.json else render.plain(line)
            print(text, flush=True)

    def done(self, value: Mapping[str, Any], sentence: str) -> None:
        """Say that something was done."""
        self.show(value, sentence)


def read_input(file: str, limit_bytes: int = 64 * 1024 * 1024) -> bytes:
    """Return the content of `file`, or of standard input for `-`.

    Raises:
        UsageError: it cannot be read, or is over `limit_bytes`.
    """
    import sys

    try:
        if file == "-":
            body = sys.stdin.buffer.read(limit_bytes + 1)
        else:
            with Path(file).open("rb") as stream:
                body = stream.read(limit_bytes + 1)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read ({error.strerror}). Mend: name a readable file, or `-` for standard input.") from error
    if len(body) > limit_bytes:
        raise UsageError(f"{file}: is larger than {limit_bytes} bytes. Mend: send it in parts.")
    return body
