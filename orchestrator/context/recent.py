"""What was answered a moment ago: in a storm thousands of incidents ask for one and the same list."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Recent(Generic[Value]):
    """The last answer, for as long as it is fresh.

    Only what it holds may be taken from it: that something is missing may just mean that it came since, so that is asked anew.

    Args:
        fresh_s: how long an answer holds; 0: never.
        clock: seconds that only go up.
    """

    def __init__(self, fresh_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._fresh_s, self._clock = fresh_s, clock
        self._last: tuple[float, Value] | None = None

    def get(self) -> Value | None:
        """Return the last answer, None where it is too old."""
        last = self._last
        return last[1] if last is not None and self._clock() - last[0] < self._fresh_s else None

    def note(self, value: Value, asked_at: float) -> Value:
        """Keep an answer; its age counts from when it was asked for."""
        if self._fresh_s:
            self._last = (asked_at, value)
        return value

    def now(self) -> float:
        """Return the time to count an answer's age from."""
        return self._clock()
