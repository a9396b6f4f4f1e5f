"""The audit log notices every edit that its head covers."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from orchestrator import audit
from orchestrator.model import AuditEvent, Happening

NOW = datetime(2026, 1, 1, tzinfo=UTC)
DATA = st.dictionaries(st.text(max_size=8), st.one_of(st.text(max_size=20), st.integers(), st.none(), st.booleans()), max_size=4)


def chain(bodies, incident="i1") -> list[AuditEvent]:
    events: list[AuditEvent] = []
    for number, data in enumerate(bodies):
        prev = events[-1].hash if events else audit.GENESIS
        happening = Happening("x.y", "ann", data)
        at = NOW + timedelta(seconds=number)
        events.append(audit.place(happening, incident=incident, seq=number + 1, at=at, prev=prev, salt=f"salt{number}"))
    return events


@given(st.lists(DATA, min_size=1, max_size=6))
def test_untouched_chain_holds(bodies):
    """A chain that nobody touched has no problem, whatever its bodies hold."""
    assert audit.chain_problems(chain(bodies)) == []


@given(st.lists(DATA, min_size=2, max_size=6), st.data())
def test_any_edit_is_noticed(bodies, data):
    """Changing any field of any event, taking one out or swapping two is noticed."""
    events = chain(bodies)
    index = data.draw(st.integers(0, len(events) - 1))
    event = events[index]
    edits = {
        "actor": lambda: [replace(event, actor="mallory")],
        "kind": lambda: [replace(event, kind="other")],
        "at": lambda: [replace(event, at=event.at + timedelta(milliseconds=1))],
        "data": lambda: [replace(event, data={**(event.data or {}), "injected": 1})],
        "digest": lambda: [replace(event, digest="0" * 64)],
        "prev": lambda: [replace(event, prev="1" * 64)],
        "delete": list,
    }
    name = data.draw(st.sampled_from(sorted(edits)))
    touched = events[:index] + edits[name]() + events[index + 1 :]
    if name == "delete" and index == len(events) - 1:
        return  # cutting the newest off needs a head outside; the store's test covers it
    assert audit.chain_problems(touched)


def test_redacted_body_keeps_the_chain():
    """A body that was taken out leaves the chain whole."""
    events = chain([{"a": 1}, {"b": 2}])
    events[0] = replace(events[0], data=None, salt="")
    assert audit.chain_problems(events) == []


def test_export_lines_are_json_and_ecs_documents_have_their_fields():
    """Each exported line is JSON that carries the hash; an ECS document has a timestamp, an action and a user."""
    (event,) = chain([{"alertname": "ServiceDown", "text": "line\nbreak"}])
    line = audit.as_json_line(event)
    assert "\n" not in line
    assert json.loads(line)["hash"] == event.hash
    document = audit.as_ecs(event)
    assert document["@timestamp"].endswith("Z")
    assert document["event"]["action"] == "x.y"
    assert document["user"]["name"] == "ann"
    assert document["labels"] == {"incident": "i1", "alertname": "ServiceDown"}
