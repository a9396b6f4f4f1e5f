"""Server-sent events: a run's output and the news that something changed.

A stream holds a thread of the server as long as it lives, so there are few at once; who gets none is told to poll.

Source: WHATWG HTML, server-sent events.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import cast

from flask import Response, current_app, request

from orchestrator.errors import OrchestratorError
from orchestrator.model import RunEvent, RunState
from orchestrator.web.asking import facade, plain
from orchestrator.web.problems import problem

BEAT_S = 10.0
"""A comment is sent at least this often, so that a dead connection is noticed."""
LIFE_S = 300.0
"""Longest life of a stream; the browser opens the next one by itself."""
BATCH = 500
"""Events read at once."""


class Streams:
    """How many streams may live at once, and the end of all of them.

    Args:
        most: streams at once; 0: none.
        pause_s: time between looks for news.
    """

    def __init__(self, most: int, pause_s: float = 0.5) -> None:
        self.pause_s = pause_s
        self.stop = threading.Event()
        self._free = threading.BoundedSemaphore(most) if most > 0 else None

    def enter(self) -> bool:
        """Take a place; False where all are taken."""
        return self._free is not None and not self.stop.is_set() and self._free.acquire(blocking=False)

    def leave(self) -> None:
        """Give the place back."""
        if self._free is not None:
            self._free.release()


def streams() -> Streams:
    """Return the app's streams."""
    return cast("Streams", current_app.extensions["streams"])


def wanted() -> bool:
    """Return whether the caller asks for server-sent events."""
    return "text/event-stream" in request.headers.get("Accept", "")


def last_event(default: int) -> int:
    """Return the number in Last-Event-ID, or `default` where there is none."""
    value = request.headers.get("Last-Event-ID", "")
    return int(value) if value.isascii() and value.isdigit() and len(value) < 19 else default  # noqa: PLR2004 - fits 64 bits


def run_stream(id: str, after: int) -> Response:
    """Return the stream of a run's events; it ends with `event: end` once the run has ended."""
    orchestrator = facade()
    seen = last_event(after)

    def news() -> Iterator[str]:
        nonlocal seen
        ended = orchestrator.run(id).state in (RunState.DONE, RunState.UNKNOWN)
        found = orchestrator.run_events(id, seen, BATCH)
        for event in found:
            seen = event.seq
            yield _frame("line", plain(RunEvent, event), event.seq)
        if ended and len(found) < BATCH:
            yield _frame("end", {"id": id}, seen)
            raise _Ended

    return _stream(news)


def change_stream() -> Response:
    """Return a stream that tells the newest audit number, now and whenever it grows."""
    orchestrator = facade()
    seen = last_event(-1)

    def news() -> Iterator[str]:
        nonlocal seen
        newest = orchestrator.changes(max(seen, 0))
        if newest > seen:
            seen = newest
            yield _frame("change", {"id": newest}, newest)

    return _stream(news)


class _Ended(Exception):
    """The stream has nothing more to tell."""


def _frame(kind: str, value: object, number: int) -> str:
    # One line of JSON: no line break from outside can end the frame.
    return f"id: {number}\nevent: {kind}\ndata: {json.dumps(value)}\n\n"


def _stream(news: Callable[[], Iterator[str]]) -> Response:
    places = streams()
    if not places.enter():
        return problem(503, "All live streams are taken. Mend: ask again without text/event-stream, or later.")
    gone: Callable[[], bool] = request.environ.get("waitress.client_disconnected", lambda: False)
    answer = Response(_told(news, places, gone), mimetype="text/event-stream", headers={"X-Accel-Buffering": "no"})
    # Runs even where the body was never begun, which a generator's `finally` would not.
    answer.call_on_close(places.leave)
    return answer


def _told(news: Callable[[], Iterator[str]], places: Streams, gone: Callable[[], bool]) -> Iterator[str]:
    end = time.monotonic() + LIFE_S
    beat = time.monotonic() + BEAT_S
    yield "retry: 3000\n\n"
    while time.monotonic() < end and not gone():
        try:
            for frame in news():
                beat = time.monotonic() + BEAT_S
                yield frame
        except (_Ended, OrchestratorError):
            return
        if time.monotonic() >= beat:
            beat = time.monotonic() + BEAT_S
            yield ": still here\n\n"
        if places.stop.wait(places.pause_s):
            return
