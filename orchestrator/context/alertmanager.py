"""Alertmanager: what fires, what is silenced, and silences of our own.

Source: Alertmanager HTTP API v2, as 0.25 answers it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from orchestrator.context.http import MAX_BYTES, JsonApi
from orchestrator.context.recent import Recent
from orchestrator.model import Alert, AlertStatus

_LONG_AGO = "1970-01-01T00:00:00Z"
"""A start in the past is taken as "now" by Alertmanager's own clock."""


@dataclass(frozen=True, slots=True)
class ActiveAlert:
    """One alert that Alertmanager holds."""

    alert: Alert
    state: str
    """`active`, `suppressed` (silenced or inhibited) or `unprocessed`."""
    silenced_by: tuple[str, ...] = ()
    """Ids of silences."""
    inhibited_by: tuple[str, ...] = ()
    """Fingerprints of alerts."""


@dataclass(frozen=True, slots=True)
class Silence:
    """One silence that is in force."""

    id: str
    author: str
    comment: str
    ends_at: datetime
    updated_at: datetime


class Alertmanager:
    """An Alertmanager; every method raises SourceUnavailable where it cannot be asked.

    Args:
        url: address, from the settings only.
        token: bearer token; empty: none.
        timeout_s: time for one call.
        max_bytes: longest answer that is read.
        fresh_s: how long the list of what fires may confirm something; 0: each question is asked.
    """

    def __init__(self, url: str, *, token: str = "", timeout_s: float = 5.0, max_bytes: int = MAX_BYTES, fresh_s: float = 0.0) -> None:
        self._known: Recent[dict[frozenset[tuple[str, str]], ActiveAlert]] = Recent(fresh_s)
        self._api = JsonApi("Alertmanager", url, token=token, timeout_s=timeout_s, max_bytes=max_bytes)

    def alerts(self) -> list[ActiveAlert]:
        """Return all alerts that fire now, silenced and inhibited ones included."""
        reply = self._api.get("/api/v2/alerts")
        if not isinstance(reply, list):
            raise self._api.failure("its list of alerts has another shape than expected.")
        try:
            return [_active(item) for item in reply]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._api.failure("an alert has another shape than expected.") from error

    def firing(self, alert: Alert) -> bool:
        """Return whether an alert with exactly these labels fires, silenced or not."""
        return self._one(alert) is not None

    def silenced(self, alert: Alert) -> tuple[str, ...]:
        """Return the ids of the silences that cover exactly this alert now."""
        one = self._one(alert)
        return one.silenced_by if one is not None else ()

    def _one(self, alert: Alert) -> ActiveAlert | None:
        """Return exactly this alert as it stands there, None where it does not fire."""
        labels, asked_at = frozenset(alert.labels.items()), self._known.now()
        if (found := (self._known.get() or {}).get(labels)) is not None:
            return found
        return self._known.note({frozenset(item.alert.labels.items()): item for item in self.alerts()}, asked_at).get(labels)

    def silences(self) -> list[Silence]:
        """Return the silences that are in force now."""
        reply = self._api.get("/api/v2/silences")
        if not isinstance(reply, list):
            raise self._api.failure("its list of silences has another shape than expected.")
        try:
            return [_silence(item) for item in reply if item["status"]["state"] == "active"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._api.failure("a silence has another shape than expected.") from error

    def silence(self, alert: Alert, *, until: datetime, author: str, comment: str, renew: str = "") -> str:
        """Silence alerts that carry all of this alert's labels, and return the silence's id.

        Args:
            alert: whose labels become equality matchers.
            until: aware UTC; when it ends by itself.
            author: who, as Alertmanager shows it.
            comment: why.
            renew: id of a silence to prolong; Alertmanager may answer with a new id.

        Raises:
            SourceUnavailable: also where Alertmanager refuses it.
        """
        if not alert.labels:
            raise self._api.failure("an alert without labels is not silenced: it would cover everything.")
        matchers = [{"name": name, "value": value, "isRegex": False, "isEqual": True} for name, value in sorted(alert.labels.items())]
        body: dict[str, Any] = {
            "matchers": matchers,
            "startsAt": _LONG_AGO,
            "endsAt": until.isoformat(),
            "createdBy": author,
            "comment": comment,
        }
        if renew:
            body["id"] = renew
        reply = self._api.call("POST", "/api/v2/silences", body=body)
        if not isinstance(reply, dict) or not isinstance(reply.get("silenceID"), str):
            raise self._api.failure("its answer to a silence has another shape than expected.")
        return str(reply["silenceID"])

    def unsilence(self, silence: str) -> None:
        """End a silence now."""
        self._api.call("DELETE", f"/api/v2/silence/{quote(silence, safe='')}")


def _active(item: Mapping[str, Any]) -> ActiveAlert:
    status = item["status"]
    return ActiveAlert(
        alert=Alert(
            fingerprint=str(item["fingerprint"]),
            status=AlertStatus.FIRING,
            labels={str(name): str(value) for name, value in item["labels"].items()},
            annotations={str(name): str(value) for name, value in (item.get("annotations") or {}).items()},
            starts_at=_time(item.get("startsAt")),
            ends_at=_time(item.get("endsAt")),
            generator_url=str(item.get("generatorURL") or ""),
        ),
        state=str(status["state"]),
        silenced_by=tuple(str(one) for one in status.get("silencedBy") or ()),
        inhibited_by=tuple(str(one) for one in status.get("inhibitedBy") or ()),
    )


def _silence(item: Mapping[str, Any]) -> Silence:
    ends, updated = _time(item["endsAt"]), _time(item["updatedAt"])
    if ends is None or updated is None:
        raise ValueError("a silence without its times")
    return Silence(str(item["id"]), str(item.get("createdBy") or ""), str(item.get("comment") or ""), ends, updated)


def _time(text: Any) -> datetime | None:
    return datetime.fromisoformat(text).astimezone(UTC) if isinstance(text, str) and text else None
