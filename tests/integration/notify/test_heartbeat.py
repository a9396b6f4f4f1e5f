"""The outgoing heartbeat arrives while all is ready, and stays away when it is not."""

from __future__ import annotations

import http.server
import threading

import pytest

from orchestrator.app import build
from orchestrator.chores import Chores
from orchestrator.errors import Unavailable
from orchestrator.notify.heartbeat import beat
from orchestrator.settings import load


class Watcher(http.server.ThreadingHTTPServer):
    """A dead man's switch."""

    daemon_threads = True

    def __init__(self):
        self.beats, self.status = [], 200
        super().__init__(("127.0.0.1", 0), _Beat)
        self.url = f"http://127.0.0.1:{self.server_address[1]}/ping/secret-uuid"


class _Beat(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.beats.append(self.path)
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        return


@pytest.fixture
def watcher():
    """A watcher that listens."""
    server = Watcher()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def program(tmp_path, watcher):
    """A program that is watched."""
    built = build(load(None, {"ORCHESTRATOR_DATA_DIR": str(tmp_path / "var"), "ORCHESTRATOR_NOTIFY__HEARTBEAT_URL": watcher.url}))
    yield built
    built.stop()


def test_heartbeat_is_sent_while_ready_only(program, watcher):
    """A program that is not ready says nothing, so that the watcher raises the alarm."""
    chores = Chores(program)
    assert any(chore.name == "watcher" for chore in chores.all())
    chores.beat()
    assert watcher.beats == ["/ping/secret-uuid"]
    program._working, program.engine.last_sweep = True, -1000.0
    chores.beat()
    program._working = False
    assert len(watcher.beats) == 1


def test_watcher_that_is_down_is_told(program, watcher):
    """Where the watcher does not take it that is degraded, its address never in the words, until it does again."""
    chores = Chores(program)
    watcher.status = 500
    chores.beat()
    (trouble,) = [item for item in program.troubles.all() if item["what"] == "heartbeat"]
    assert "500" in trouble["why"]
    assert "secret-uuid" not in trouble["why"]
    watcher.status = 200
    chores.beat()
    assert not [item for item in program.troubles.all() if item["what"] == "heartbeat"]


def test_watcher_that_does_not_answer_is_unavailable():
    """No listener is an error of ours without the address."""
    with pytest.raises(Unavailable) as raised:
        beat("http://127.0.0.1:1/secret-uuid")
    assert "secret-uuid" not in str(raised.value)


def test_no_watcher_no_chore(tmp_path):
    """Without an address nothing is sent."""
    built = build(load(None, {"ORCHESTRATOR_DATA_DIR": str(tmp_path / "var")}))
    assert not any(chore.name == "watcher" for chore in Chores(built).all())
    built.stop()
