"""A supervisor for programs: on a throw-away host, or in a plain user's folder on this machine, where there is no root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import Unavailable

_PATIENCE_S = 60.0


@dataclass(frozen=True)
class Supervised:
    """A plain user's host: a folder, with a supervisor in it where programs were named."""

    folder: Path
    supervisorctl: tuple[str, ...]
    """The command that steers its supervisor."""


def supervisorctl(folder: str) -> tuple[str, ...]:
    """Return the command that steers the supervisor of a folder."""
    return (sys.executable, "-m", "supervisor.supervisorctl", "-c", f"{folder}/supervisord.conf")


def supervisor_configuration(folder: str, programs: Mapping[str, str | Mapping[str, str]]) -> str:
    """Return supervisord's configuration.

    Args:
        folder: where its socket and logs lie.
        programs: name → command, or name → lines of its section.
    """
    lines = f"""[unix_http_server]
file={folder}/s.sock
[supervisord]
logfile={folder}/supervisord.log
pidfile={folder}/supervisord.pid
childlogdir={folder}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{folder}/s.sock
"""
    for name, given in programs.items():
        section = {
            "autorestart": "false",
            "startsecs": "1",
            "stopwaitsecs": "5",
            **({"command": given} if isinstance(given, str) else given),
        }
        lines += f"[program:{name}]\n" + "".join(f"{key}={value}\n" for key, value in section.items())
    return lines


@contextmanager
def supervised_user(programs: Mapping[str, str | Mapping[str, str]], folder: Path | None = None) -> Iterator[Supervised]:
    """Give a plain user's host; it ends with all its programs.

    Args:
        programs: as for `supervisor_configuration`; with none no supervisor is started.
        folder: where it lives; a new one by default, its name short, because a socket's path may not be long.

    Raises:
        Unavailable: the supervisor does not start.
    """
    place = folder or Path(tempfile.mkdtemp(prefix="site-"))
    process = _start(place, programs) if programs else None
    try:
        yield Supervised(place, supervisorctl(str(place)))
    finally:
        if process is not None:
            _stop(place, process)
        shutil.rmtree(place, ignore_errors=True)


def _start(folder: Path, programs: Mapping[str, str | Mapping[str, str]]) -> subprocess.Popen[bytes]:
    config = folder / "supervisord.conf"
    config.write_text(supervisor_configuration(str(folder), programs), encoding="utf-8")
    with (folder / "supervisord.out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", str(config)],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    end = time.monotonic() + _PATIENCE_S
    while not (folder / "s.sock").exists():
        if process.poll() is not None or time.monotonic() > end:
            process.kill()
            process.wait()
            raise Unavailable(f"supervisor did not start: {(folder / 'supervisord.out').read_text().strip()}. Mend: look at its programs.")
        time.sleep(0.05)
    return process


def _stop(folder: Path, process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        # a stopped program would not hear TERM
        subprocess.run([*supervisorctl(str(folder)), "signal", "CONT", "all"], capture_output=True, timeout=60, check=False)
        process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
