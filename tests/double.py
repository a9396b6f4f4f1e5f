"""A small HTTP server for tests that answers as it is told, misbehaves as it is told, and records what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request that came in."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def form(self) -> dict[str, str]:
        """Return the body of a form."""
        return {name: values[0] for name, values in parse_qs(self.body.decode()).items()}

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


@dataclass
class Reply:
    """What is answered."""

    status: int = 200
    body: Any = None
    """Bytes as they are; anything else as JSON."""
    headers: tuple[tuple[str, str], ...] = ()
    hang: bool = False
    """Whether nothing is answered until the server is stopped."""
    drip: bool = False
    """Whether the body comes byte by byte, without end, until the server is stopped."""


class HttpDouble:
    """The server, as a context manager; `answer` may be replaced at any time."""

    def __init__(self, answer: Callable[[Asked], Reply] | Any = None) -> None:
        self.answer = answer if callable(answer) else lambda _: answer if isinstance(answer, Reply) else Reply(body=answer)
        self.asked: list[Asked] = []
        self._over = threading.Event()
        double = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.0"

            def handle_one_request(self) -> None:
                try:
                    super().handle_one_request()
                except (ConnectionError, TimeoutError):
                    self.close_connection = True

            def serve(self) -> None:
                parts = urlsplit(self.path)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                asked = Asked(self.command, parts.path, query, {name.lower(): value for name, value in self.headers.items()}, body)
                double.asked.append(asked)
                double.write(self, double.answer(asked))

            do_GET = do_POST = do_DELETE = do_PUT = serve

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def write(self, handler: BaseHTTPRequestHandler, reply: Reply) -> None:
        """Send a reply, well or badly."""
        if reply.hang:
            self._over.wait()
            return
        handler.send_response(reply.status)
        for name, value in reply.headers:
            handler.send_header(name, value)
        handler.end_headers()
        while reply.drip and not self._over.wait(0.02):
            handler.wfile.write(b" ")
        handler.wfile.write(reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
