"""A local server that speaks Mistral's chat completions protocol, and misbehaves on purpose.

Source: https://docs.mistral.ai/api/#operation-chatCompletion
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Misbehaviour(StrEnum):
    """One way in which an answer goes wrong."""

    DRIP = "drip"
    """A byte now and then, so that no single read runs out of time."""
    SILENT = "silent"
    """The connection is taken and nothing is ever sent."""
    TOO_MANY = "429"
    SERVER_ERROR = "500"
    NOT_JSON_BODY = "not json body"
    """HTTP 200 with a page."""
    NO_CHOICES = "no choices"
    EMPTY_BODY = "empty body"
    RESET = "reset"
    """The connection breaks in the middle of the body."""
    HUGE = "huge"
    """A body without end."""
    COMPRESSED = "compressed"
    """A body in an encoding nobody asked for."""
    CUT_LENGTH = "finish_reason length"
    """A complete reply that is said to have been cut."""


@dataclass
class MistralServer:
    """Answers each request with the next of `replies`; the last one is repeated."""

    replies: Sequence[str | Misbehaviour | Mapping[str, Any]]
    requests: list[dict[str, Any]] = field(default_factory=list)
    authorizations: list[str] = field(default_factory=list)
    url: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, body: dict[str, Any], authorization: str) -> str | Misbehaviour | Mapping[str, Any]:
        """Note a request and return what to answer."""
        with self.lock:
            self.requests.append(body)
            self.authorizations.append(authorization)
            return self.replies[min(len(self.requests), len(self.replies)) - 1]


def completion(content: str, finish_reason: str = "stop") -> bytes:
    """Return the body of an answer as Mistral writes it."""
    message = {"role": "assistant", "content": content, "tool_calls": None}
    usage = {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 20}
    choices = [{"index": 0, "finish_reason": finish_reason, "message": message}]
    return json.dumps({"id": "1", "object": "chat.completion", "created": 1, "model": "m", "usage": usage, "choices": choices}).encode()


@contextmanager
def serving(*replies: str | Misbehaviour | Mapping[str, Any]) -> Iterator[MistralServer]:
    """Run the server on a free loopback port.

    Args:
        replies: the content of each message in turn (text, or a mapping sent as JSON), or a misbehaviour.

    Yields:
        The server; `url` ends in `/v1`.
    """
    state = MistralServer(replies)
    server = _Server(("127.0.0.1", 0), _Handler, state)
    state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.stopping.set()
        server.shutdown()
        server.server_close()
        thread.join(30)


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler], state: MistralServer) -> None:
        super().__init__(address, handler)
        self.state = state

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that give up are the point."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *args: Any) -> None:
        """Say nothing."""

    def do_POST(self) -> None:
        state = self.server.state
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", "0"))))
        self.close_connection = True
        reply = state.take(body, self.headers.get("authorization", ""))
        if not isinstance(reply, Misbehaviour):
            return self._send(200, completion(reply if isinstance(reply, str) else json.dumps(reply)))
        return self._misbehave(reply, state)

    def _misbehave(self, how: Misbehaviour, state: MistralServer) -> None:
        match how:
            case Misbehaviour.TOO_MANY:
                self._send(429, b'{"message": "Requests rate limit exceeded"}')
            case Misbehaviour.SERVER_ERROR:
                self._send(500, b'{"message": "Internal server error"}')
            case Misbehaviour.NOT_JSON_BODY:
                self._send(200, b"<html>Sign in to the network</html>")
            case Misbehaviour.NO_CHOICES:
                self._send(200, b'{"id": "1", "choices": [], "usage": null}')
            case Misbehaviour.EMPTY_BODY:
                self._send(200, b"")
            case Misbehaviour.CUT_LENGTH:
                self._send(200, completion(json.dumps(refusal()), "length"))
            case Misbehaviour.COMPRESSED:
                self._send(200, completion(json.dumps(refusal())), {"content-encoding": "gzip"})
            case Misbehaviour.SILENT:
                state.stopping.wait(60)
            case Misbehaviour.DRIP:
                self._drip(state)
            case Misbehaviour.RESET:
                self._reset()
            case Misbehaviour.HUGE:
                self._flood(state)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self._head(status, len(body), headers)
        self.wfile.write(body)

    def _head(self, status: int, length: int, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "content-type": "application/json",
            "content-length": str(length),
            "connection": "close",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()

    def _drip(self, state: MistralServer) -> None:
        self._head(200, 100_000)
        for _ in range(600):
            self.wfile.write(b" ")
            self.wfile.flush()
            if state.stopping.wait(0.1):
                return

    def _reset(self) -> None:
        self._head(200, 100_000)
        self.wfile.write(b'{"id": "1", "choi')
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _flood(self, state: MistralServer) -> None:
        self._head(200, 1 << 40)
        while not state.stopping.is_set():
            self.wfile.write(b" " * 65536)


def refusal(why: str = "Nothing here repairs it.") -> dict[str, Any]:
    """Return a well-formed reply that names no entry."""
    return {"claims": [], "decision": {"choice": "none", "why": why}, "alternatives": [], "summary": why}


def running(entry: str, hosts: Sequence[str], parameters: Mapping[str, Any], summary: str = "It is down.") -> dict[str, Any]:
    """Return a well-formed reply that names an entry."""
    decision = {"choice": "run", "entry": entry, "hosts": list(hosts), "parameters": dict(parameters)}
    return {"claims": [{"text": "The probe fails.", "evidence": ["prom-1"]}], "decision": decision, "alternatives": [], "summary": summary}
