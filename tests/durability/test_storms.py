"""A storm as Alertmanager would send it: everything is answered, stored and correlated, and people get a handful of messages.

1,500 alerts over 100 hosts; 10,000 over 500 with ORCHESTRATOR_LONG=1.
"""

from __future__ import annotations

import http.server
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
import requests
from server import Server, until

LONG = bool(os.environ.get("ORCHESTRATOR_LONG"))
HOSTS, KINDS = (500, 20) if LONG else (100, 15)
SENDERS = 8
IN_A_GROUP = 50


class Inbox(http.server.ThreadingHTTPServer):
    """Where messages arrive."""

    daemon_threads = True

    def __init__(self):
        self.messages = []
        super().__init__(("127.0.0.1", 0), _Take)
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self.shutdown()
        self.server_close()


class _Take(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        return


def deliveries():
    """Return the bodies that a receiver gets: groups by alert name, sent first with half of their alerts, then with all of them."""
    bodies = []
    for kind in range(KINDS):
        name = "HostDown" if kind == 0 else f"Odd{kind}"
        alerts = [
            {
                "status": "firing",
                "labels": {"alertname": name, "instance": f"web{n}:9100", "severity": ("critical", "warning", "info")[kind % 3]},
                "annotations": {"summary": f"{name} on web{n}"},
                "startsAt": "2026-01-01T00:00:00Z",
                "endsAt": "0001-01-01T00:00:00Z",
            }
            for n in range(HOSTS)
        ]
        for start in range(0, HOSTS, IN_A_GROUP):
            part = alerts[start : start + IN_A_GROUP]
            bodies += [(name, start, part[: IN_A_GROUP // 2]), (name, start, part)]
    return [
        json.dumps({"version": "4", "status": "firing", "receiver": "orchestrator", "groupKey": f"{name}{start}", "alerts": part})
        for name, start, part in bodies
    ]


def gauge(server, name):
    """Return the value of one of our own metrics."""
    text = server.call("GET", "/metrics").text
    return next((float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name + " ")), 0.0)


def by_status(server):
    """Return status → incidents, as our own metrics tell it."""
    lines = server.call("GET", "/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("orchestrator_incidents{")]
    return {line.split('"')[1]: int(float(line.rsplit(" ", 1)[1])) for line in found}


@pytest.mark.timeout(1800 if LONG else 400)
def test_storm_is_stored_correlated_and_told_in_a_few_words(tmp_path, capsys):
    """Every delivery is acknowledged, every alert is an incident once, the queue is seen, few messages are sent, memory stays bounded."""
    inbox = Inbox()
    environment = {
        "ORCHESTRATOR_CONTEXT__FROM_HOSTS": "false",
        "ORCHESTRATOR_LOGS__FROM_HOSTS": "false",
        "ORCHESTRATOR_NOTIFY__APPRISE_URLS": f"json://127.0.0.1:{inbox.server_address[1]}/",
        "ORCHESTRATOR_POLICY__CORRELATE_S": "600",
    }
    folder = tmp_path / "server"
    folder.mkdir()
    try:
        with Server(folder, environment) as server:
            process = psutil.Process(server.process.pid)
            before_mb, begun = process.memory_info().rss / 1e6, time.monotonic()
            peaks, queues, stop = [before_mb], [], threading.Event()

            def watch():
                while not stop.wait(0.5):
                    peaks.append(process.memory_info().rss / 1e6)
                    queues.append(gauge(server, "orchestrator_queue"))

            def send(body):
                headers = {"Authorization": "Bearer webhook-secret", "Content-Type": "application/json"}
                return requests.post(f"{server.url}/alert", data=body, headers=headers, timeout=300).status_code

            watching = threading.Thread(target=watch)
            watching.start()
            try:
                with ThreadPoolExecutor(SENDERS) as pool:
                    codes = list(pool.map(send, deliveries()))
                took_s = time.monotonic() - begun

                def told():
                    return [message for message in inbox.messages if "storm" in message["title"].lower()]

                until(told, "people are told of the storm", 240)
                until(lambda: not gauge(server, "orchestrator_queue"), "everything was looked at", 1500 if LONG else 240)
            finally:
                stop.set()
                watching.join()
            assert set(codes) == {202}
            counts = by_status(server)
            assert sum(counts.values()) == HOSTS * KINDS
            parents = server.get("/api/v1/incidents?host=web7&limit=1000")["items"]
            root = next(item for item in parents if item["alertname"] == "HostDown")
            assert {item["parent"] for item in parents if item["id"] != root["id"]} <= {root["id"], *(i["id"] for i in parents)}
            assert sum(bool(item["parent"]) for item in parents) >= KINDS - 2, "one host's incidents hang together"
            assert len(inbox.messages) <= 25, [message["title"] for message in inbox.messages]
            assert len(told()) <= 3
            assert server.command("audit", "verify", check=0)
        assert max(queues) > 0, "the queue was seen while it was there"
        assert max(peaks) < before_mb + 400
    finally:
        inbox.close()
    with capsys.disabled():
        words = f"{HOSTS * KINDS} alerts in {took_s:.1f} s, all at rest after {time.monotonic() - begun:.0f} s"
        print(f"\n  {words}; {len(inbox.messages)} messages; {before_mb:.0f} → {max(peaks):.0f} MB; {counts}")
