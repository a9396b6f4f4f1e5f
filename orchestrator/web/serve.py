"""The app behind waitress: threads, body limit, clean end."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from flask import Flask

_SPARE_BYTES = 64 * 1024 * 1024
"""Bodies over the limit are read this far, so that the sender hears the 413 instead of a broken connection."""
_TICK_S = 0.5
_DRAIN_S = 5.0


def serve(app: Flask, host: str, port: int, threads: int, ready: Callable[[str], None]) -> None:
    """Serve `app` until SIGTERM, SIGINT or `stop` of the app's streams.

    Args:
        app: what `create_app` returned.
        host: address to listen on.
        port: 0 takes a free one.
        threads: requests answered at once.
        ready: called once with the address, e.g. `http://127.0.0.1:8080`, when the socket listens.

    Raises:
        OSError: the address cannot be listened on.
    """
    from waitress import wasyncore
    from waitress.server import BaseWSGIServer, create_server

    sockets: dict[int, Any] = {}
    server = create_server(
        app,
        map=sockets,
        host=host,
        port=port,
        threads=threads,
        ident="",
        max_request_body_size=app.config["MAX_CONTENT_LENGTH"] + _SPARE_BYTES,
        channel_request_lookahead=1,  # lets a stream notice that its reader has gone
        clear_untrusted_proxy_headers=False,  # nothing trusts them; that one is there tells that the caller is elsewhere
    )
    listeners = [part for part in sockets.values() if isinstance(part, BaseWSGIServer)]
    channel = _channel()
    for part in listeners:
        part.channel_class = channel
    stop = app.extensions["streams"].stop
    previous = _on_signals(stop)
    try:
        ready(_address(host, listeners[0].effective_port))
        while not stop.is_set():
            wasyncore.loop(timeout=_TICK_S, use_poll=True, map=sockets, count=1)
        _drain(listeners, sockets)
    finally:
        stop.set()
        for number, handler in previous.items():
            signal.signal(number, handler)
        server.task_dispatcher.shutdown()
        for part in listeners:
            part.close()
        wasyncore.close_all(sockets, ignore_all=True)


def _drain(listeners: list[Any], sockets: dict[int, Any]) -> None:
    """Take no more connections; let the requests under way be answered, for a while."""
    from waitress import wasyncore

    for part in listeners:
        part.accepting = False
    end = time.monotonic() + _DRAIN_S
    while time.monotonic() < end and any(_busy(part) for part in listeners):
        wasyncore.loop(timeout=0.05, use_poll=True, map=sockets, count=1)


def _busy(listener: Any) -> bool:
    return any(channel.requests or channel.total_outbufs_len for channel in list(listener.active_channels.values()))


def _address(host: str, port: int) -> str:
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - how this machine reaches it
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _on_signals(stop: threading.Event) -> dict[int, Any]:
    """Let SIGTERM and SIGINT set `stop`; return the handlers before."""
    if threading.current_thread() is not threading.main_thread():
        return {}

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    return {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}


def _channel() -> Any:
    """Return waitress' channel, answering its own refusals as problem documents too."""
    from waitress.channel import HTTPChannel
    from waitress.task import ErrorTask

    class ProblemTask(ErrorTask):  # type: ignore[misc]
        def execute(self) -> None:
            fault = self.request.error
            document = {"type": "about:blank", "title": fault.reason, "status": fault.code, "detail": str(fault.body)[:500]}
            body = json.dumps(document).encode()
            self.status = f"{fault.code} {fault.reason}"
            self.response_headers.append(("Content-Type", "application/problem+json"))
            self.set_close_on_finish()
            self.content_length = len(body)
            self.write(body)

    class ProblemChannel(HTTPChannel):  # type: ignore[misc]
        error_task_class = ProblemTask

    return ProblemChannel
