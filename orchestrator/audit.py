"""The audit log as values: how an event takes its place in a chain, how a chain is checked, how it is exported.

Each incident has a chain of its own; a sealer links the heads of all chains into a global chain. A body is referred to by
a salted digest, so it can be taken out later and the chain still holds. Without a head kept outside, cutting the newest
events off the log, or writing the whole log anew, is not detected; `verify` says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.model import AuditEvent, Happening

GENESIS = "0" * 64
SYSTEM = "system"
"""The chain of events that belong to no incident."""


def canonical(value: Any) -> str:
    """Return `value` as JSON with sorted keys and no spaces: the form that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def body_digest(salt: str, data: Mapping[str, Any]) -> str:
    """Return the SHA-256 (hex) of a salted body."""
    return hashlib.sha256((salt + canonical(data)).encode("utf-8", "surrogatepass")).hexdigest()


def event_hash(incident: str, seq: int, at: datetime, kind: str, actor: str, digest: str, prev: str) -> str:
    """Return the SHA-256 (hex) that the next event of the chain will carry as `prev`."""
    moment = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return hashlib.sha256(canonical([incident, seq, moment, kind, actor, digest, prev]).encode("utf-8", "surrogatepass")).hexdigest()


def place(happening: Happening, *, incident: str, seq: int, at: datetime, prev: str, salt: str) -> AuditEvent:
    """Give a happening its place in the chain of `incident`; `id` is 0 until it is stored."""
    data = json.loads(canonical(dict(happening.data)))
    digest = body_digest(salt, data)
    hashed = event_hash(incident, seq, at, happening.kind, happening.actor, digest, prev)
    return AuditEvent(0, incident, seq, at, happening.kind, happening.actor, data, digest, prev, hashed, salt)


def chain_problems(events: Iterable[AuditEvent]) -> list[str]:
    """Check events of any number of chains, each chain in the order of `seq`; return what does not hold."""
    problems: list[str] = []
    heads: dict[str, tuple[int, str]] = {}
    for event in events:
        seq, prev = heads.get(event.incident, (0, GENESIS))
        where = f"{event.incident} #{event.seq}"
        if event.seq != seq + 1:
            problems.append(f"{where}: {event.seq - seq - 1} events before it are missing")
        elif event.prev != prev:
            problems.append(f"{where}: does not follow the event before it")
        expected = event_hash(event.incident, event.seq, event.at, event.kind, event.actor, event.digest, event.prev)
        if event.hash != expected:
            problems.append(f"{where}: its hash does not belong to it")
        if event.data is not None and body_digest(event.salt, event.data) != event.digest:
            problems.append(f"{where}: its body was changed")
        heads[event.incident] = (event.seq, event.hash)
    return problems


REDACTED, PRUNED = "audit.redacted", "audit.pruned"
"""Tombstones: `{"event": id, …}` of one body, `{"before": ISO time, "upto": id, …}` of many."""


def body_problems(events: Iterable[AuditEvent]) -> list[str]:
    """Return the events whose body is gone with no tombstone that says so: whoever takes one out has to leave word of it."""
    gone: list[tuple[int, datetime, str]] = []
    redacted: set[int] = set()
    pruned: list[tuple[datetime, int]] = []
    for event in events:
        if event.data is None:
            gone.append((event.id, event.at, f"{event.incident} #{event.seq}"))
        elif event.kind == REDACTED:
            redacted.add(int(event.data["event"]))
        elif event.kind == PRUNED:
            pruned.append((datetime.fromisoformat(event.data["before"]), int(event.data["upto"])))
    return [
        f"{where}: its body is gone, and no tombstone says why"
        for number, at, where in gone
        if number not in redacted and not any(at < before and number <= upto for before, upto in pruned)
    ]


def seal_hash(prev: str, upto: int, heads: Mapping[str, str]) -> str:
    """Return the hash of a link of the global chain over the heads (incident → hash) up to event `upto`."""
    return hashlib.sha256(canonical([prev, upto, dict(heads)]).encode()).hexdigest()


def as_json_line(event: AuditEvent) -> str:
    """Return an event as one line of JSON."""
    return canonical(
        {
            "id": event.id,
            "incident": event.incident,
            "seq": event.seq,
            "at": event.at.astimezone(UTC).isoformat(timespec="milliseconds"),
            "kind": event.kind,
            "actor": event.actor,
            "data": event.data,
            "salt": event.salt,
            "digest": event.digest,
            "prev": event.prev,
            "hash": event.hash,
        }
    )


def as_ecs(event: AuditEvent) -> dict[str, Any]:
    """Return an event as a document of the Elastic Common Schema, for Filebeat or Elasticsearch's bulk API.

    Source: Elastic Common Schema 8.11.
    """
    category, _, action = event.kind.partition(".")
    data = dict(event.data or {})
    labels = {"incident": event.incident}
    if isinstance(data.get("alertname"), str):
        labels["alertname"] = data["alertname"]
    return {
        "@timestamp": event.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "ecs": {"version": "8.11.0"},
        "event": {
            "id": event.hash,
            "kind": "event",
            "action": event.kind,
            "category": ["process"] if category == "run" else ["configuration"],
            "type": ["start"] if action in {"started", "received", "asked"} else ["info"],
            "dataset": "orchestrator.audit",
            "module": "orchestrator",
            "sequence": event.seq,
            "original": canonical(data),
        },
        "labels": labels,
        "message": f"{event.kind} {event.incident}",
        "user": {"name": event.actor},
        "related": {"user": [event.actor]},
        "orchestrator": {"audit": {"digest": event.digest, "prev": event.prev, "hash": event.hash, "salt": event.salt}},
    }
