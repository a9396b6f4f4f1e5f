"""A host of one's own for plays: a temporary folder, a supervisor run by a plain process, and `ansible-playbook` as people call it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Played:
    """How a play ended."""

    rc: int
    output: str

    def _sum(self, word: str) -> int:
        return sum(int(count) for count in re.findall(rf"ok=\d+.*?\b{word}=(\d+)", self.output))

    @property
    def changed(self) -> int:
        """Changes over all hosts."""
        return self._sum("changed")

    @property
    def hosts(self) -> set[str]:
        """The hosts of the recap."""
        return set(re.findall(r"(?m)^(\S+)\s+: ok=", self.output))

    @property
    def facts(self) -> dict[str, Any]:
        """What the play gave back, by host."""
        return {host: json.loads(text) for host, text in re.findall(r"(?m)^\t(\w+): (\{.*\})\s*$", self.output)}


def wait_until(holds: Callable[[], bool], what: str) -> None:
    """Wait until `holds` is true.

    Raises:
        AssertionError: it never was.
    """
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"still not so: {what}"
        time.sleep(0.1)


def play(folder: Path, inventory: Path, playbook: str, *options: str, limit: str = "web1", **parameters: Any) -> Played:
    """Run `playbooks/<playbook>` with parameters in a file, as the executor does."""
    extra = folder / "extravars.json"
    extra.write_text(json.dumps(parameters))
    environment = {
        "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "local"),
        "ANSIBLE_REMOTE_TMP": str(folder / "remote"),
        "ANSIBLE_SSH_CONTROL_PATH_DIR": str(folder / "cp"),
        "ANSIBLE_SHOW_CUSTOM_STATS": "1",
        "ANSIBLE_NOCOLOR": "1",
    }
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "-i", str(inventory), "--limit", limit, "-e", f"@{extra}", *options, str(REPOSITORY / "playbooks" / playbook)]
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=200, check=False)
    return Played(done.returncode, done.stdout + done.stderr)


@dataclass
class Site:
    """One host: this machine, with a folder and a supervisor of its own."""

    folder: Path
    variables: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    prefix: tuple[str, ...] = ()
    """What stands before supervisor's command: `ip netns exec …` puts it on another host."""

    @property
    def supervisorctl(self) -> list[str]:
        """The command that steers its supervisor."""
        return [sys.executable, "-m", "supervisor.supervisorctl", "-c", str(self.folder / "supervisord.conf")]

    def supervise(self, **programs: str) -> None:
        """Start supervisor with these programs, each given as the lines of its section."""
        base = f"""[unix_http_server]
file={self.folder}/s.sock
[supervisord]
logfile={self.folder}/supervisord.log
pidfile={self.folder}/supervisord.pid
childlogdir={self.folder}
nodaemon=true
[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl=unix://{self.folder}/s.sock
"""
        sections = [f"[program:{name}]\nautorestart=false\nstartsecs=1\nstopwaitsecs=5\n{lines}\n" for name, lines in programs.items()]
        (self.folder / "supervisord.conf").write_text(base + "".join(sections))
        with (self.folder / "supervisord.out").open("wb") as out:
            self.process = subprocess.Popen(
                [*self.prefix, sys.executable, "-m", "supervisor.supervisord", "-c", str(self.folder / "supervisord.conf")],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.variables |= {"service_manager": "supervisor", "supervisorctl_argv": self.supervisorctl}
        wait_until((self.folder / "s.sock").exists, "supervisor listens")

    def steer(self, *words: str) -> str:
        """Return what supervisorctl says."""
        return subprocess.run([*self.supervisorctl, *words], capture_output=True, text=True, timeout=60, check=False).stdout

    def state(self, program: str) -> str:
        """Return supervisor's word for a program: RUNNING or EXITED."""
        return [*self.steer("status", program).split(), "", ""][1]

    def pid(self, program: str) -> int:
        """Return the pid of a running program."""
        wait_until(lambda: self.state(program) == "RUNNING", f"{program} runs")
        return int(self.steer("pid", program))

    def kill(self, program: str) -> None:
        """End a program the hard way and wait until supervisor has seen it."""
        os.kill(self.pid(program), signal.SIGKILL)
        wait_until(lambda: self.state(program) in ("EXITED", "FATAL"), f"supervisor saw {program} end")

    def play(self, playbook: str, *options: str, limit: str = "web1", **parameters: Any) -> Played:
        """Run a playbook of the catalogue on this host."""
        host = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, **self.variables}
        inventory = self.folder / "hosts.json"
        inventory.write_text(json.dumps({"all": {"children": {"recoverable": {"hosts": {"web1": host, "web2": host}}}}}))
        return play(self.folder, inventory, playbook, *options, limit=limit, **parameters)

    def close(self) -> None:
        """End supervisor with all its programs and remove the folder."""
        if self.process is not None and self.process.poll() is None:
            self.steer("signal", "CONT", "all")
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait(30)
        shutil.rmtree(self.folder, ignore_errors=True)


@pytest.fixture
def site_on() -> Iterator[Callable[[tuple[str, ...]], Site]]:
    """Give a maker of hosts; each folder's name is short, because a socket's path may not be long."""
    made: list[Site] = []

    def make(prefix: tuple[str, ...] = ()) -> Site:
        made.append(Site(Path(tempfile.mkdtemp(prefix="site-")), prefix=prefix))
        return made[-1]

    try:
        yield make
    finally:
        for one in made:
            one.close()


@pytest.fixture
def site(site_on: Callable[[], Site]) -> Site:
    """Give one host of one's own."""
    return site_on()


@pytest.fixture(name="play")
def _play() -> Callable[..., Played]:
    """Give the way to run a playbook on any inventory."""
    return play


def answers(port: int) -> bool:
    """Return whether an HTTP service on loopback really answers a request."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
            link.sendall(b"HEAD / HTTP/1.0\r\n\r\n")
            return link.recv(4) == b"HTTP"
    except OSError:
        return False


@pytest.fixture
def web(site: Site, free_port: int) -> Site:
    """Give a host with a small web service `web` under supervisor; `site.variables["port"]` is its port."""
    (site.folder / "pages").mkdir()
    site.variables |= {"port": free_port, "recoverable_services": ["web"], "service_ports": {"web": free_port}}
    site.supervise(
        web=f"command={sys.executable} -m http.server {free_port} --bind 127.0.0.1 --directory {site.folder}/pages",
    )
    wait_until(lambda: answers(free_port), "the service answers")
    wait_until(lambda: site.state("web") == "RUNNING", "supervisor calls it running")
    return site
