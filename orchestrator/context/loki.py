"""Logs from Loki.

Source: Loki HTTP API, `/loki/api/v1/query_range`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from orchestrator.context import promql
from orchestrator.context.http import MAX_BYTES, JsonApi
from orchestrator.errors import SourceUnavailable, UsageError
from orchestrator.model import Alert, Evidence, Host, Rule


class Loki:
    """A Loki server as a source.

    Args:
        url: address, from the settings only.
        selector: LogQL stream selector with `$host` and `$label` inside equality matchers.
        token: bearer token; empty: none.
        timeout_s: time for one query.
        max_bytes: longest answer that is read.
        lines: newest lines kept per host.
        range_s: how far back, in seconds.
        now: Unix time in seconds.
    """

    name = "loki"

    def __init__(
        self,
        url: str,
        selector: str,
        *,
        token: str = "",
        timeout_s: float = 5.0,
        max_bytes: int = MAX_BYTES,
        lines: int = 100,
        range_s: float = 1800.0,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._api = JsonApi("Loki", url, token=token, timeout_s=timeout_s, max_bytes=max_bytes)
        self._selector, self._lines, self._range_s, self._now = selector, lines, range_s, now

    def collect(self, alert: Alert, hosts: tuple[Host, ...], rule: Rule | None) -> list[Evidence]:  # noqa: ARG002 - one door for all sources
        """Return the newest lines, one piece per host; without a host, one for the alert's target.

        Raises:
            SourceUnavailable: where Loki cannot be asked or the selector cannot be filled in.
        """
        return [self._host(alert, name) for name in ([host.name for host in hosts] or [alert.target])]

    def _host(self, alert: Alert, host: str) -> Evidence:
        try:
            query = promql.fill(self._selector, alert.labels, host)
        except UsageError as error:
            raise SourceUnavailable(f"The selector for Loki does not fit this alert: {error}") from error
        end = self._now()
        ask = {
            "query": query,
            "start": _nanoseconds(end - self._range_s),
            "end": _nanoseconds(end),
            "limit": self._lines,
            "direction": "backward",
        }
        entries = self._entries(self._api.get("/loki/api/v1/query_range", ask))
        text = "\n".join(f"{datetime.fromtimestamp(at / 1e9, UTC):%Y-%m-%dT%H:%M:%SZ} {line}" for at, line in entries)
        return Evidence("", self.name, f"Logs of {host}", text or "No lines.", complete=len(entries) < self._lines)

    def _entries(self, reply: Any) -> list[tuple[int, str]]:
        """Return pairs of nanoseconds and line, oldest first."""
        try:
            pairs = [(int(at), str(line)) for stream in reply["data"]["result"] for at, line, *_ in stream["values"]]
        except (KeyError, TypeError, ValueError) as error:
            raise self._api.failure("its answer has another shape than expected.") from error
        return sorted(pairs)[-self._lines :]


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
