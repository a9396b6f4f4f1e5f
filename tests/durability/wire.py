"""A cable that can be bad: a TCP port that passes everything on to a server, says nothing, talks nonsense, or hangs up."""

from __future__ import annotations

import contextlib
import socket
import threading
from enum import StrEnum
from typing import Self


class Cable(StrEnum):
    """How the cable is."""

    GOOD = "good"
    """Everything is passed on."""
    SILENT = "silent"
    """Connections are taken and nothing is ever said."""
    NONSENSE = "nonsense"
    """Each connection gets bytes that mean nothing, then the end."""
    CUT = "cut"
    """Connections are closed at once."""


class Wire:
    """A listening port in front of a server; use it as a context manager and set `state`."""

    def __init__(self, port: int = 0, state: Cable = Cable.GOOD) -> None:
        self.state = state
        self.target = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self._listener.settimeout(0.1)
        self.port = int(self._listener.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = 0
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        while self._threads:
            self._threads.pop().join(30)
        self._listener.close()

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._over.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                self.connections += 1
                self._start(self._serve, client, self.state)

    def _serve(self, client: socket.socket, state: Cable) -> None:
        with client, contextlib.suppress(OSError):
            match state:
                case Cable.GOOD:
                    self._pass_on(client)
                case Cable.SILENT:
                    self._wait_for_end(client)
                case Cable.NONSENSE:
                    client.sendall(b"\x00\xffnonsense\r\n" * 10)
                    client.settimeout(2.0)
                    client.recv(65536)
                case Cable.CUT:
                    return

    def _wait_for_end(self, client: socket.socket) -> None:
        client.settimeout(0.1)
        while not self._over.is_set() and self.state is Cable.SILENT:
            with contextlib.suppress(TimeoutError):
                if not client.recv(65536):
                    return

    def _pass_on(self, client: socket.socket) -> None:
        with socket.create_connection(("127.0.0.1", self.target), timeout=10) as server:
            back = threading.Thread(target=_copy, args=(server, client, self._over), daemon=True)
            back.start()
            _copy(client, server, self._over)
            back.join(30)


def _copy(source: socket.socket, sink: socket.socket, over: threading.Event) -> None:
    source.settimeout(0.1)
    with contextlib.suppress(OSError):
        while not over.is_set():
            try:
                data = source.recv(65536)
            except TimeoutError:
                continue
            if not data:
                break
            sink.sendall(data)
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_WR)
