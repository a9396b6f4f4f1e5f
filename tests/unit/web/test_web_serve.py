"""The app behind a real waitress on a free loopback port."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fake_orchestrator import FakeOrchestrator, make_run

from orchestrator import model as m
from orchestrator.settings import Settings
from orchestrator.web import create_app
from orchestrator.web.serve import serve

DEADLINE_S = 60
RUN = "/api/v1/runs/inc0000000000001:1:check:1/events"


@contextmanager
def running(fake):
    """Serve the stand-in in a thread; give host and port; end it."""
    app = create_app(fake)
    heard: list[str] = []
    listening = threading.Event()

    def ready(address: str) -> None:
        heard.append(address)
        listening.set()

    thread = threading.Thread(target=serve, args=(app, "127.0.0.1", 0, fake.settings.server.threads, ready))
    thread.start()
    try:
        assert listening.wait(DEADLINE_S)
        parts = urlsplit(heard[0])
        yield parts.hostname, parts.port
    finally:
        app.extensions["streams"].stop.set()
        thread.join(DEADLINE_S)
    assert not thread.is_alive()


@pytest.fixture
def small():
    """Return a stand-in with a small body limit and few threads."""
    return FakeOrchestrator(Settings.model_validate({"server": {"max_body_bytes": 4096, "threads": 2}}))


def ask(where, method, path, body=None, **headers):
    """Return status, headers and body of one request."""
    connection = http.client.HTTPConnection(*where, timeout=DEADLINE_S)
    try:
        connection.request(
            method, path, body, {"Authorization": "Bearer admin-token", **headers}, encode_chunked="Transfer-Encoding" in headers
        )
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def test_limit_holds_with_and_without_content_length(small):
    """A body over the limit is 413 whether its length is announced or it comes in chunks."""
    with running(small) as where:
        assert ask(where, "POST", "/alert", b"x" * 5000)[0] == 413
        status, headers, body = ask(where, "POST", "/alert", iter([b"x" * 2500] * 2), **{"Transfer-Encoding": "chunked"})
        assert status == 413
        assert headers["Content-Type"] == "application/problem+json"
        assert "4096" in json.loads(body)["detail"]
        assert ask(where, "POST", "/alert", b'{"alerts": []}')[0] == 202


def test_broken_http_is_a_problem_document(small):
    """What the server itself refuses is a problem document too."""
    with running(small) as where:
        connection = http.client.HTTPConnection(*where, timeout=DEADLINE_S)
        connection.putrequest("POST", "/alert")
        connection.putheader("Content-Length", "nonsense")
        connection.endheaders()
        answer = connection.getresponse()
        assert answer.status == 400
        assert answer.getheader("Content-Type") == "application/problem+json"
        assert json.loads(answer.read())["status"] == 400
        connection.close()


def test_streams_leave_room_for_alerts(small):
    """With all streams taken an alert is still answered, one more stream is 503, and a reader who leaves frees a place."""
    small.run_map["inc0000000000001:1:check:1"] = make_run(state=m.RunState.RUNNING, outcome=None)
    with running(small) as where:
        stream = http.client.HTTPConnection(*where, timeout=DEADLINE_S)
        stream.request("GET", RUN, headers={"Authorization": "Bearer viewer-token", "Accept": "text/event-stream"})
        answer = stream.getresponse()
        assert answer.status == 200
        assert answer.readline().startswith(b"retry")
        assert ask(where, "GET", RUN, Accept="text/event-stream")[0] == 503
        assert ask(where, "POST", "/alert", b'{"alerts": []}')[0] == 202
        answer.close()
        stream.close()
        # The next reader's stream ends by itself.
        small.run_map["inc0000000000001:1:check:1"] = make_run()
        end = time.monotonic() + DEADLINE_S
        while ask(where, "GET", RUN, Accept="text/event-stream")[0] != 200:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_sigterm_ends_cleanly(tmp_path):
    """SIGTERM ends the server with exit code 0, an open stream notwithstanding."""
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\n"
        f"sys.path[:0] = {[str(Path(__file__).parents[2]), str(Path(__file__).parents[3])]!r}\n"
        "from fake_orchestrator import FakeOrchestrator, make_run\n"
        "from orchestrator import model as m\n"
        "from orchestrator.web import create_app\n"
        "from orchestrator.web.serve import serve\n"
        "fake = FakeOrchestrator()\n"
        "fake.run_map['inc0000000000001:1:check:1'] = make_run(state=m.RunState.RUNNING)\n"
        "serve(create_app(fake), '127.0.0.1', 0, 4, lambda address: print(address, flush=True))\n"
        "print('ended', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(program)], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    )
    try:
        parts = urlsplit(process.stdout.readline().strip())
        stream = http.client.HTTPConnection(parts.hostname, parts.port, timeout=DEADLINE_S)
        stream.request("GET", RUN, headers={"Authorization": "Bearer viewer-token", "Accept": "text/event-stream"})
        answer = stream.getresponse()
        assert answer.status == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
        assert process.stdout.read().strip() == "ended"
        answer.close()
        stream.close()
    finally:
        process.kill()
        process.wait(DEADLINE_S)
        process.stdout.close()
