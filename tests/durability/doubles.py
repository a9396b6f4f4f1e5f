"""What a crash test looks at from outside: the ledger of what really ran, and a double of the monitoring."""

from __future__ import annotations

import http.server
import json
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

STARTED_AT = "2026-01-01T00:00:00Z"
ALERTS = {"Auto": ("ledger_auto", "low"), "Ask": ("ledger_ask", "medium")}
"""Alert name → entry and its risk: the first runs by itself, the second asks a person."""

HELD_S = 300.0
"""How long a held caller waits at most; longer than any test, so that nothing goes on by itself."""


class Ledger:
    """What really happened on the hosts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def lines(self) -> list[tuple[str, str, str]]:
        """Return (run id, item, `begin` or `end`) in the order of writing."""
        return [tuple(line.split()) for line in self.path.read_text().splitlines()]  # type: ignore[misc]

    def has(self, item: str, what: str) -> bool:
        """Return whether an item's run has begun, or ended."""
        return any(line[1:] == (item, what) for line in self.lines())

    def twice(self) -> list[tuple[str, str, str]]:
        """Return what stands there more than once: a run, or an item that was repaired more than once."""
        counts = Counter(self.lines()) + Counter(("", item, what) for _, item, what in self.lines())
        return [line for line, count in counts.items() if count > 1]

    def at_once(self, hosts: Mapping[str, str]) -> list[tuple[str, str]]:
        """Return (host, item) of every run that began while another one was under way on its host; `hosts` is item → host."""
        under_way: dict[str, set[str]] = {}
        found = []
        for _, item, what in self.lines():
            on_host = under_way.setdefault(hosts[item], set())
            if what == "end":
                on_host.discard(item)
                continue
            if on_host:
                found.append((hosts[item], item))
            on_host.add(item)
        return found


class Monitoring(http.server.ThreadingHTTPServer):
    """A double of Prometheus' and Alertmanager's interfaces; a path can be held so that its callers wait."""

    daemon_threads = True

    def __init__(self, ledger: Ledger, address: str = "127.0.0.1") -> None:
        super().__init__((address, 0), _Answers)
        self.url = f"http://{address}:{self.server_address[1]}"
        self.ledger = ledger
        self.labels: list[dict[str, str]] = []
        self.held: dict[str, threading.Event] = {}
        self.asked: Counter[str] = Counter()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def hold(self, path: str) -> None:
        """Let callers of a path wait from now on."""
        self.asked[path] = 0
        self.held[path] = threading.Event()

    def release(self, *paths: str) -> None:
        """Answer all who wait, at these paths or everywhere."""
        for path in paths or list(self.held):
            self.held.pop(path).set()

    @property
    def hosts(self) -> dict[str, str]:
        """Item → host of every alert that has ever fired."""
        return {labels["item"]: labels["instance"].partition(":")[0] for labels in self.labels}

    def firing(self) -> list[dict[str, str]]:
        """Return the labels of what fires."""
        ended = {item for _, item, what in self.ledger.lines() if what == "end"}
        return [labels for labels in list(self.labels) if labels["item"] not in ended]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing where a killed server has hung up."""

    def close(self) -> None:
        """End it."""
        self.release()
        self.shutdown()
        self.server_close()


class _Answers(http.server.BaseHTTPRequestHandler):
    server: Monitoring

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        self.server.asked[path] += 1
        if held := self.server.held.get(path):
            held.wait(HELD_S)
        body = json.dumps(self._answer(path)).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.do_GET()

    def _answer(self, path: str) -> Any:
        match path:
            case "/api/v1/alerts":
                alerts = [
                    {"labels": one, "annotations": {}, "state": "firing", "activeAt": STARTED_AT, "value": "1"}
                    for one in self.server.firing()
                ]
                return {"status": "success", "data": {"alerts": alerts}}
            case "/api/v1/rules":
                rules = [
                    {
                        "type": "alerting",
                        "name": name,
                        "query": "up == 0",
                        "duration": 0,
                        "labels": {"severity": "warning"},
                        "annotations": {},
                    }
                    for name in ALERTS
                ]
                return {"status": "success", "data": {"groups": [{"name": "tests", "file": "-", "interval": 1, "rules": rules}]}}
            case "/api/v2/alerts":
                return []
            case _:
                return {"status": "success", "data": {"resultType": "vector", "result": []}}

    def log_message(self, *_: Any) -> None:
        return
