"""A lock that lets its takers through in the order they came."""

from __future__ import annotations

import threading
from collections import deque


class Turnstile:
    """For SQLite, which has one writer at a time: left to its own busy handler the writers of a process would poll, and some would starve."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._taken = False

    def __enter__(self) -> None:
        with self._lock:
            if not self._taken:
                self._taken = True
                return
            mine = threading.Event()
            self._waiting.append(mine)
        try:
            mine.wait()
        except BaseException:
            with self._lock:
                passed = mine.is_set()
                if not passed:
                    self._waiting.remove(mine)
            if passed:
                self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()
            else:
                self._taken = False
