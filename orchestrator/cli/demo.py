"""`orchestrator demo`: a real service is really broken, and the real loop repairs it before your eyes."""

from __future__ import annotations

import json
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from orchestrator.cli.client import Client, segment
from orchestrator.cli.command import Verb, pass_session
from orchestrator.cli.session import Session
from orchestrator.cli.stage import HOST, SERVICE, Stage, answers, monitoring_programs
from orchestrator.cli.story import sentence
from orchestrator.errors import OrchestratorError, ServerUnreachable

START_S: Final = 90.0
"""How long everything may take to answer for the first time."""
WHOLE_S: Final = 170
"""How long the story may take, if nothing else is asked for."""
LOOK_S: Final = 0.3
OVER: Final = ("resolved", "cleared", "suppressed", "cancelled", "closed", "escalated")


class DemoFailed(OrchestratorError):
    """The demo could not go on; the message says where."""


@click.command(cls=Verb)
@click.option("--once", is_flag=True, help="End by itself, with exit code 0 only if the incident was resolved.")
@click.option("--own-prober", is_flag=True, help="Leave Prometheus and Alertmanager out, even where they are installed.")
@click.option(
    "--within", type=click.IntRange(10), default=WHOLE_S, show_default=True, metavar="SECONDS", help="How long the story may take."
)
@click.option("--keep", is_flag=True, help="Leave the demo's folder behind, to look at its files.")
@pass_session
def demo(session: Session, once: bool, own_prober: bool, within: int, keep: bool) -> int:
    """Break a real service and watch it being repaired.

    A small web service runs under supervisor as you; Prometheus and Alertmanager watch it where Debian's programs are installed,
    else the demo's own prober does. Its process is killed. What follows is the real thing: alert, context, decision, policy,
    playbook, verification. No root, no key, no network. Ctrl-C ends it and removes everything.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with _stage({} if own_prober else monitoring_programs(), keep=keep) as stage:
        tell = Teller(session)
        try:
            incident = Story(stage, tell, within).play()
        except DemoFailed as error:
            name = stage.ended() or "server"
            tell.say("failed", str(error), failed=True)
            print(stage.last_words(name), file=sys.stderr)
            return 1
        resolved = incident.get("status") == "resolved"
        tell.end(incident, stage.url)
        if not once:
            _stay(stage, tell)
        return 0 if resolved else 1


@contextmanager
def _stage(monitoring: dict[str, str], *, keep: bool) -> Iterator[Stage]:
    folder = Path(tempfile.mkdtemp(prefix="recovery-demo-"))
    stage = Stage(folder, monitoring)
    try:
        stage.write()
        yield stage
    finally:
        stage.stop()
        if keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)


def _stay(stage: Stage, tell: Teller) -> None:
    """Keep everything up until Ctrl-C."""
    tell.say("demo", f"The page stays up at {stage.url} until Ctrl-C. Break it again: kill -9 {stage.service_pid()}")
    login = next((line for line in stage.last_words("server").splitlines() if "/login?" in line), "")
    if login:
        tell.say("demo", login)
    while not stage.ended():
        time.sleep(1)


class Teller:
    """Tells the demo line by line: words for a person, JSON objects with --json."""

    def __init__(self, session: Session) -> None:
        from orchestrator.cli.render import console

        self._json = session.json
        self._console = console()
        self._begin = time.monotonic()

    def say(self, what: str, text: str, *, failed: bool = False) -> None:
        """Print one line with the seconds since the beginning."""
        seconds = time.monotonic() - self._begin
        if self._json:
            print(json.dumps({"at_s": round(seconds, 1), "what": what, "text": text}), flush=True)
            return
        from rich.text import Text

        from orchestrator.cli.render import plain

        style = "bold red" if failed else {"demo": "bold", "incident.status": "cyan", "incident.resolved": "bold green"}.get(what, "")
        line = Text(f"{seconds:6.1f} s  ", style="dim").append(f"{what:<18}", style=style or "bold blue").append(plain(text), style=style)
        self._console.print(line, soft_wrap=True)
        sys.stdout.flush()

    def end(self, incident: dict[str, Any], url: str) -> None:
        """Print how it ended."""
        status = incident.get("status", "no incident")
        detail = f"{status}: {incident.get('detail', '')} See {url}/incidents/{incident.get('id', '')}"
        self.say("incident.resolved" if status == "resolved" else "demo", detail, failed=status != "resolved")


class Story:
    """The demo from the first process to the last event.

    Args:
        stage: what is started.
        tell: where it is told.
        within_s: how long it may take.
    """

    def __init__(self, stage: Stage, tell: Teller, within_s: float = WHOLE_S) -> None:
        self._stage = stage
        self._tell = tell
        self._within_s = within_s
        self._deadline = time.monotonic() + within_s
        self._told = 0

    def play(self) -> dict[str, Any]:
        """Start, break, watch; return the incident as it ended.

        Raises:
            DemoFailed: something did not come up, or did not end in time.
        """
        stage, tell = self._stage, self._tell
        watchers = "Prometheus, Alertmanager and the blackbox exporter" if stage.monitoring else "the demo's own prober"
        tell.say("demo", f"A real web service, {SERVICE}, starts under supervisor; {watchers} will watch it.")
        stage.start()
        self._await(lambda: answers(stage.ports["service"]), START_S, f"{SERVICE} answers")
        client = self._client()
        with client, _prober(stage):
            self._await(self._watched, START_S, "monitoring sees the service")
            tell.say("demo", f"Everything is up: {SERVICE} answers, the orchestrator's page is {stage.url}")
            pid = stage.break_service()
            tell.say("demo", f"Broken for real: kill -9 {pid}; {SERVICE} is gone from {HOST}")
            incident = self._follow(client)
        if incident["status"] == "resolved" and not answers(stage.ports["service"]):
            raise DemoFailed(f"the incident is resolved, and {SERVICE} does not answer")
        return incident

    def _client(self) -> Client:
        token_file = self._stage.folder / "var" / "admin.token"

        def ready() -> str:
            token = token_file.read_text(encoding="utf-8").strip() if token_file.is_file() else ""
            try:
                with Client(self._stage.url, token) as client:
                    return token if token and client.get("/readyz")["ready"] else ""
            except OrchestratorError:
                return ""

        return Client(self._stage.url, str(self._await(ready, START_S, "the orchestrator answers")))

    def _watched(self) -> bool:
        """Return whether monitoring has seen the service up, so that its alert will be about the break."""
        if not self._stage.monitoring:
            return True
        import requests

        url = f"http://127.0.0.1:{self._stage.ports['prometheus']}/api/v1/query"
        try:
            answer = requests.get(url, params={"query": f'probe_success{{job="{SERVICE}"}} == 1'}, timeout=5).json()
        except (requests.RequestException, ValueError):
            return False
        return bool(answer.get("data", {}).get("result"))

    def _follow(self, client: Client) -> dict[str, Any]:
        """Tell every event of the incident until it is over or with a person."""

        def first() -> dict[str, Any] | None:
            return next(iter(_asked(client, "/api/v1/incidents")["items"]), None)

        begun = self._await(first, self._within_s, "the alert arrives")
        path = f"/api/v1/incidents/{segment(begun['id'])}"

        def over() -> dict[str, Any] | None:
            incident: dict[str, Any] = _asked(client, path)
            self._tell_new(_asked(client, f"{path}/timeline")["items"])
            if incident["status"] == "awaiting_approval":
                self._approve(client)
            return incident if incident["status"] in OVER else None

        ended: dict[str, Any] = self._await(over, self._within_s, "the incident ends")
        self._tell_new(_asked(client, f"{path}/timeline")["items"])
        return ended

    def _tell_new(self, events: list[dict[str, Any]]) -> None:
        for event in events[self._told :]:
            if event["kind"] not in ("incident.resolved", "incident.escalated"):
                self._tell.say(event["kind"], sentence(event))
        self._told = max(self._told, len(events))

    def _approve(self, client: Client) -> None:
        """Answer as a person would: without monitoring to ask, the policy wants one."""
        for item in _asked(client, "/api/v1/approvals")["items"]:
            self._tell.say("demo", f"A person is asked ({', '.join(item['verdict']['reasons'])}); the demo says yes in your place.")
            body = {"digest": item["digest"], "reason": "the demo approves its own repair"}
            client.post(f"/api/v1/approvals/{segment(item['id'])}/approve", body)

    def _await(self, condition: Callable[[], Any], within_s: float, what: str) -> Any:
        deadline = min(self._deadline, time.monotonic() + within_s)
        while True:
            found = condition()
            if found:
                return found
            dead = self._stage.ended()
            if dead:
                raise DemoFailed(f"{dead} ended by itself")
            if time.monotonic() > deadline:
                raise DemoFailed(f"not so in time: {what}")
            time.sleep(LOOK_S)


def _asked(client: Client, path: str) -> dict[str, Any]:
    """Return an answer; a server that is too busy to answer once is asked again by the caller's loop."""
    for _ in range(3):
        try:
            found: dict[str, Any] = client.get(path)
        except ServerUnreachable:
            time.sleep(LOOK_S)
        else:
            return found
    raise DemoFailed("the orchestrator does not answer any more")


@contextmanager
def _prober(stage: Stage) -> Iterator[None]:
    """Probe the service and post what Alertmanager would, where there is no Alertmanager."""
    if stage.monitoring:
        yield
        return
    stop = threading.Event()
    thread = threading.Thread(target=_probe, args=(stage, stop), name="prober")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _probe(stage: Stage, stop: threading.Event) -> None:
    firing_since: str = ""
    with Client(stage.url, stage.token) as client:
        while not stop.wait(1.0):
            up = answers(stage.ports["service"])
            if up == (not firing_since):
                continue
            now = datetime.now(UTC).isoformat()
            started = firing_since or now
            try:
                client.post("/alert", json.dumps(payload(stage.instance, started, now if up else "")).encode())
            except OrchestratorError:
                continue  # said again in a second, as Alertmanager does
            firing_since = "" if up else now


def payload(instance: str, started: str, ended: str) -> dict[str, Any]:
    """Return what Alertmanager would send of the demo's rule.

    Args:
        instance: the service's address.
        started: since when it is down, ISO.
        ended: since when it is up again, ISO; empty: it is down.

    Source: Alertmanager webhook, version 4.
    """
    labels = {"alertname": "ServiceDown", "instance": instance, "job": SERVICE, "service": SERVICE, "severity": "critical"}
    status = "resolved" if ended else "firing"
    annotations = {"summary": f"{SERVICE} does not answer on {instance}."}
    alert = {"status": status, "labels": labels, "annotations": annotations, "startsAt": started, "endsAt": ended or "0001-01-01T00:00:00Z"}
    return {
        "version": "4",
        "groupKey": '{}:{alertname="ServiceDown"}',
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "orchestrator",
        "groupLabels": {"alertname": "ServiceDown"},
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [{**alert, "generatorURL": ""}],
    }
