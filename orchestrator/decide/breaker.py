"""Leaves a failing model alone for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Breaker:
    """Opens after failures in a row; when its time is over one call may try, and decides.

    Args:
        failures: how many in a row open it, 1 or more.
        open_s: how long it stays open, in seconds.
        clock: seconds that only grow.
    """

    def __init__(self, failures: int, open_s: float, clock: Callable[[], float]) -> None:
        self._limit, self._open_s, self._clock = failures, open_s, clock
        self._failures = 0
        self._until = float("-inf")
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether calls are refused at this moment."""
        with self._lock:
            return self._failures >= self._limit and self._clock() < self._until

    def admit(self) -> bool:
        """Return whether a call may be made; after the open time exactly one may, until it has succeeded or the time is over again."""
        with self._lock:
            if self._failures < self._limit:
                return True
            now = self._clock()
            if now < self._until:
                return False
            self._until = now + self._open_s
            return True

    def succeeded(self) -> None:
        """Note a usable answer: the breaker closes."""
        with self._lock:
            self._failures = 0

    def failed(self) -> None:
        """Note a failure."""
        with self._lock:
            self._failures += 1
            if self._failures >= self._limit:
                self._until = self._clock() + self._open_s
