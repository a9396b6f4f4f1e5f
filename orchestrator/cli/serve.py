"""`orchestrator serve`, `web` and `worker`: the processes that stay."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.command import Verb, pass_session
from orchestrator.cli.session import Session
from orchestrator.errors import SettingsError

if TYPE_CHECKING:
    from orchestrator.app import Orchestrator
    from orchestrator.settings import Settings


@click.command(cls=Verb)
@click.option("--host", help="Address to listen on (default: server.host).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one (default: server.port).")
@pass_session
def serve(session: Session, host: str | None, port: int | None) -> None:
    """Run the pages, the API and a worker in one process: all that one machine needs."""
    _run(session, listening(session.settings(), host, port), pages=True, worker=True)


@click.command(cls=Verb)
@click.option("--host", help="Address to listen on (default: server.host).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes a free one (default: server.port).")
@pass_session
def web(session: Session, host: str | None, port: int | None) -> None:
    """Run the pages and the API only; `orchestrator worker` carries the incidents."""
    _run(session, listening(session.settings(), host, port), pages=True, worker=False)


@click.command(cls=Verb)
@pass_session
def worker(session: Session) -> None:
    """Run a worker only; any number of them may share one PostgreSQL database."""
    _run(session, session.settings(), pages=False, worker=True)


def listening(settings: Settings, host: str | None, port: int | None) -> Settings:
    """Return the settings with the address of the command line in them."""
    changes = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    return settings.model_copy(update={"server": settings.server.model_copy(update=changes)}) if changes else settings


def _run(session: Session, settings: Settings, *, pages: bool, worker: bool) -> None:
    """Build the program, start what was asked for, stay until SIGTERM or Ctrl-C, then drain."""
    from orchestrator.app import build

    signal.signal(signal.SIGTERM, _interrupt)
    program = build(settings)
    try:
        if worker:
            program.start_worker()
        if pages:
            _listen(session, program, settings)
        else:
            session.done({"ready": True, "worker": True}, "ready: this worker carries incidents; end it with Ctrl-C.")
            sys.stdout.flush()
            threading.Event().wait()
    except KeyboardInterrupt:
        print("stopping: what runs is left to end", file=sys.stderr)
    finally:
        program.stop()


def _listen(session: Session, program: Orchestrator, settings: Settings) -> None:
    from orchestrator.web import create_app
    from orchestrator.web.serve import serve as listen

    def ready(url: str) -> None:
        tell_ready(session, Path(settings.data_dir), url, program.admin_link())

    place = settings.server
    try:
        listen(create_app(program), place.host, place.port, place.threads, ready)
    except OSError as error:
        where = f"{place.host}:{place.port}"
        raise SettingsError([f"server: {where} cannot be listened on ({error}). Mend: name a free one with --host and --port."]) from error


def tell_ready(session: Session, data_dir: Path, url: str, code: str) -> None:
    """Say where the pages are and what to do next, and leave the address for the command line.

    Args:
        session: how to say it.
        data_dir: where `server.url` is written.
        url: where the server listens.
        code: of the first login link; empty once it was used.
    """
    (data_dir / "server.url").write_text(url + "\n", encoding="utf-8")
    link = f"{url}/login?code={code}" if code else ""
    if session.json:
        session.show({"ready": True, "url": url, "login": link})
    else:
        print(f"ready: {url}")
        if link:
            print(f"first login (works once, as admin): {link}")
        print("Alertmanager's receiver: orchestrator alert receiver")
    sys.stdout.flush()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt
