"""A webhook body becomes an `AlertGroup`, or is refused with a reason; nothing else can happen.

What Alertmanager, Grafana and others leave out or add is tolerated; one malformed alert never takes the others of its group down.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NoReturn

from orchestrator.errors import NotAWebhook, NotJson
from orchestrator.model import Alert, AlertGroup, AlertStatus, RejectedAlert

MAX_ALERTS = 50_000
"""Alerts in one delivery; a real one of 8 MB holds about 700."""
MAX_LABELS = 512
MAX_NAME = 1024
"""Characters of a label's name."""
MAX_VALUE = 65_536
"""Characters of a label's value; an annotation is cut there."""
MAX_RAW = 65_536
"""Bytes kept of a malformed alert."""

_FNV_OFFSET = 0xCBF29CE484222325
_FNV_PRIME = 0x100000001B3
_MASK = 0xFFFFFFFFFFFFFFFF
_FINGERPRINT = re.compile(r"[0-9a-f]{16}", re.IGNORECASE)
# PostgreSQL stores no NUL, and UTF-8 knows no lone surrogates.
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class _Malformed(ValueError):
    """One alert cannot be used; the message is the reason."""


def parse(body: bytes) -> AlertGroup:
    """Read one webhook delivery.

    Args:
        body: the request's body, UTF-8.

    Returns:
        The usable alerts, at least one, and the malformed ones with their reasons, both in the order of the body.

    Raises:
        NotJson: the body is not JSON.
        NotAWebhook: it is JSON, but holds no usable alert; the message names field and mend.

    Source: Alertmanager webhook, version 4; Grafana's contact points send the same shape with more fields.
    """
    payload = _load(body)
    if not isinstance(payload, dict):
        raise NotAWebhook(
            f"the body is {_kind(payload)}, not an object. Mend: send Alertmanager's webhook, an object with a list `alerts`."
        )
    items = payload.get("alerts")
    if not isinstance(items, list):
        found = "is missing" if "alerts" not in payload else f"is {_kind(items)}, not a list"
        raise NotAWebhook(f"alerts: {found}. Mend: send Alertmanager's webhook (version 4), an object with a list `alerts`.")
    if not items:
        raise NotAWebhook("alerts: is empty. Mend: send at least one alert.")
    if len(items) > MAX_ALERTS:
        raise NotAWebhook(f"alerts: holds {len(items)} alerts, at most {MAX_ALERTS} are taken. Mend: group by more labels.")
    return _group(payload, items)


def fingerprint(labels: Mapping[str, str]) -> str:
    """Return the fingerprint of a label set, 16 lower-case hex digits.

    Source: `LabelSet.Fingerprint` of prometheus/common: FNV-1a, 64 bits, over the sorted names and values, each followed by 0xff.
    """
    total = _FNV_OFFSET
    for name in sorted(labels, key=_encode):
        for byte in _encode(name) + b"\xff" + _encode(labels[name]) + b"\xff":
            total = ((total ^ byte) * _FNV_PRIME) & _MASK
    return f"{total:016x}"


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _load(body: bytes) -> Any:
    try:
        return json.loads(body.decode("utf-8-sig"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise NotJson(f"the body is not UTF-8 (byte {error.start}). Mend: send JSON in UTF-8.") from error
    except RecursionError as error:
        raise NotJson("the body is nested too deeply. Mend: send Alertmanager's webhook as it is.") from error
    except ValueError as error:
        raise NotJson(f"the body is not JSON: {_clean(str(error))[:200]}. Mend: send a JSON object.") from error


def _refuse_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no JSON value")


def _group(payload: Mapping[str, Any], items: list[Any]) -> AlertGroup:
    status = _text(payload.get("status"))
    alerts: list[Alert] = []
    rejected: list[RejectedAlert] = []
    for index, item in enumerate(items):
        try:
            alerts.append(_alert(item, status))
        except _Malformed as reason:
            rejected.append(RejectedAlert(index, str(reason), _raw(item)))
    if not alerts:
        reasons = "; ".join(f"alerts[{one.index}]: {one.reason}" for one in rejected[:3])
        raise NotAWebhook(f"no usable alert: {reasons}. Mend: each alert needs an object `labels` and a `status` firing or resolved.")
    truncated = payload.get("truncatedAlerts")
    return AlertGroup(
        alerts=_distinct(alerts),
        rejected=tuple(rejected),
        receiver=_text(payload.get("receiver")),
        status=status,
        group_key=_text(payload.get("groupKey")),
        group_labels=_texts(payload.get("groupLabels")),
        external_url=_text(payload.get("externalURL")),
        truncated_alerts=truncated if type(truncated) is int and 0 < truncated < 2**31 else 0,
    )


def _distinct(alerts: list[Alert]) -> tuple[Alert, ...]:
    """Compute fingerprints anew where a sender gave one to different label sets: else one alert's resolve would end another's incident."""
    first: dict[str, Mapping[str, str]] = {}
    shared = {one.fingerprint for one in alerts if first.setdefault(one.fingerprint, one.labels) != one.labels}
    return tuple(replace(one, fingerprint=fingerprint(one.labels)) if one.fingerprint in shared else one for one in alerts)


def _alert(item: Any, group_status: str) -> Alert:
    if not isinstance(item, dict):
        raise _Malformed(f"is {_kind(item)}, not an object")
    labels = _labels(item.get("labels"))
    given = item.get("fingerprint")
    # Others send names of their own here; identity is what Prometheus computes.
    usable = isinstance(given, str) and _FINGERPRINT.fullmatch(given)
    return Alert(
        fingerprint=given.lower() if isinstance(given, str) and usable else fingerprint(labels),
        status=_status(item.get("status"), group_status),
        labels=labels,
        annotations=_texts(item.get("annotations")),
        starts_at=_time(item.get("startsAt")),
        ends_at=_time(item.get("endsAt")),
        generator_url=_outside(_text(item.get("generatorURL"))),
    )


def _outside(url: str) -> str:
    """Return an address, empty where it poses as one that only this program makes."""
    return "" if url.strip().lower().startswith("orchestrator:") else url


def _labels(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _Malformed("labels: is missing" if value is None else f"labels: is {_kind(value)}, not an object")
    if len(value) > MAX_LABELS:
        raise _Malformed(f"labels: holds {len(value)} labels, at most {MAX_LABELS} are taken")
    labels: dict[str, str] = {}
    for name, content in value.items():
        shown = _clean(name[:80])
        if not name or len(name) > MAX_NAME:
            raise _Malformed(f"labels: the name {shown!r} has {len(name)} characters; 1 to {MAX_NAME} are taken")
        if isinstance(content, dict | list):
            raise _Malformed(f"labels.{shown}: is {_kind(content)}, not text")
        text = _scalar(content)
        if len(text) > MAX_VALUE:
            raise _Malformed(f"labels.{shown}: has {len(text)} characters, at most {MAX_VALUE} are taken")
        # To Prometheus a label without a value is no label.
        if content is not None:
            labels[_clean(name)] = text
    if not labels:
        raise _Malformed("labels: is empty")
    return labels


def _status(value: Any, group_status: str) -> AlertStatus:
    if value is not None and not isinstance(value, str):
        raise _Malformed(f"status: is {_kind(value)}, neither firing nor resolved")
    # Rather look at an alert that is over than lose one: whether it fires is confirmed before anything runs.
    word = (value or group_status or AlertStatus.FIRING).strip().lower()
    try:
        return AlertStatus(word)
    except ValueError as error:
        raise _Malformed(f"status: is {_clean(word[:80])!r}, neither firing nor resolved") from error


def _time(value: Any) -> datetime | None:
    """Return an aware UTC time, or None where there is none or it cannot be read; Go's zero time stands for none."""
    if not isinstance(value, str) or len(value) > 64:  # noqa: PLR2004 # no time is that long
        return None
    try:
        moment = datetime.fromisoformat(value.strip())
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year > 1 else None


def _texts(value: Any) -> dict[str, str]:
    """Return an object's members as text; what is no object holds none."""
    if not isinstance(value, dict):
        return {}
    return {_clean(name[:MAX_NAME]): _text(content) for name, content in value.items() if content is not None}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return (_json(value) if isinstance(value, dict | list) else _scalar(value))[:MAX_VALUE]


def _scalar(value: Any) -> str:
    if value is None:
        return ""
    return _clean(value) if isinstance(value, str) else json.dumps(value)


def _raw(item: Any) -> str:
    return _json(item)[:MAX_RAW]


def _json(value: Any) -> str:
    try:
        return json.dumps(value)
    except RecursionError:
        return "(nested too deeply to be kept)"


def _clean(text: str) -> str:
    return _UNSTORABLE.sub("\ufffd", text)


def _kind(value: Any) -> str:
    """Return what a JSON value is, in JSON's own words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"
