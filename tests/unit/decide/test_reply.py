"""The schema of a reply and its strict reading."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest
from deciding import OTHER, WEB, alert, disk_entry, entry
from mistral_server import refusal, running

from orchestrator.decide.choice import faults
from orchestrator.decide.reply import parse, schema
from orchestrator.errors import ModelUnavailable
from orchestrator.model import Choice, Parameter, Targets

GOOD = running("restart_service", ["web-01"], {"restart_service_name": "nginx", "restart_service_port": 0})
KNOWN = {"type", "enum", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "maxLength", "anyOf"}


def _schemas(node: Any) -> Iterator[dict[str, Any]]:
    yield node
    below = [*node.get("properties", {}).values(), *node.get("anyOf", []), *([node["items"]] if "items" in node else [])]
    for item in below:
        yield from _schemas(item)


def _schema(**more: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"alert": alert(mountpoint="/var"), "entries": [entry(), disk_entry()], "hosts": [WEB], "evidence": ["prom-1"]}
    return schema(**{**given, **more})


def test_schema_keeps_to_what_grammars_take() -> None:
    """Only plain keywords, every field required, nothing unknown allowed, no reference, title or default."""
    for node in _schemas(_schema()):
        assert set(node) <= KNOWN
        if node.get("type") == "object":
            assert node["required"] == list(node["properties"])
            assert node["additionalProperties"] is False


def test_schema_closes_every_choice() -> None:
    """Entries, hosts and values that the labels fix are enumerations; free values have no place."""
    restart, disk, refuse = _schema()["properties"]["decision"]["anyOf"]
    assert restart["properties"]["hosts"]["items"]["enum"] == ["web-01"]
    assert restart["properties"]["parameters"]["properties"] == {
        "restart_service_name": {"type": "string", "enum": ["nginx"]},
        "restart_service_port": {"type": "integer", "enum": [0]},
    }
    assert disk["properties"]["parameters"]["properties"]["clear_disk_what"]["enum"] == ["logs", "cache"]
    assert refuse["properties"]["choice"]["enum"] == ["none", "escalate"]


def test_schema_stays_small() -> None:
    """Eight entries make a schema of a few kilobytes."""
    assert len(json.dumps(_schema(entries=[entry(f"entry_{n}") for n in range(8)]))) < 8000


@pytest.mark.parametrize("reply", [GOOD, refusal()])
def test_schema_and_reader_agree(reply: dict[str, Any]) -> None:
    """What the schema accepts the reader takes."""
    jsonschema.validate(reply, _schema())
    assert faults(parse(json.dumps(reply)), alert(), [entry()], [WEB]) == []


def test_list_parameter_is_closed_too() -> None:
    """A list takes a label's value, one of its choices, or its default."""
    many = Parameter("one_x", "list", choices=("a", "b"), default=("a",), required=True)
    fixed = schema(alert(), [entry("one", parameters=(many,))], [WEB], [])["properties"]["decision"]["anyOf"][0]
    shape = fixed["properties"]["parameters"]["properties"]["one_x"]
    assert shape == {"type": "array", "items": {"type": "string", "enum": ["a", "b"]}, "minItems": 1, "maxItems": 1}
    for value, wrong in ((["b"], 0), (["a", "b"], 1), (["c"], 1)):
        said = parse(json.dumps(running("one", ["web-01"], {"one_x": value})))
        assert bool(faults(said, alert(), [entry("one", parameters=(many,))], [WEB])) == bool(wrong)


def test_wide_entry_takes_several_hosts() -> None:
    """No more hosts than the entry takes, each from the alert."""
    wide = entry(targets=Targets(max_hosts=5))
    hosts = schema(alert(), [wide], [WEB, OTHER], [])["properties"]["decision"]["anyOf"][0]["properties"]["hosts"]
    assert (hosts["items"]["enum"], hosts["minItems"], hosts["maxItems"]) == (["web-01", "web-02"], 1, 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "prose",
        json.dumps(GOOD)[:-5],
        json.dumps(GOOD) + "{}",
        json.dumps(GOOD).replace('"hosts":', '"hosts": ["web-02"], "hosts":'),
        json.dumps(GOOD).replace(": 0}", ": Infinity}"),
        json.dumps({**GOOD, "risk": "low"}),
        json.dumps({**GOOD, "decision": {**GOOD["decision"], "become": True}}),
        json.dumps({**GOOD, "decision": {**GOOD["decision"], "choice": "RUN"}}),
        json.dumps({**GOOD, "decision": {"choice": "none", "why": "x", "hosts": ["web-01"]}}),
        json.dumps({**GOOD, "decision": {**GOOD["decision"], "hosts": "web-01"}}),
        json.dumps({**GOOD, "summary": 3}),
        "[" * 100_000,
        json.dumps(GOOD) + " " * 40_000,
    ],
    ids=range(16),
)
def test_reader_is_strict(text: str) -> None:
    """Anything but exactly one known object is refused, and the refusal does not repeat it."""
    with pytest.raises(ModelUnavailable) as caught:
        parse(text)
    assert len(str(caught.value)) < 500


def test_texts_become_one_clean_line() -> None:
    """Control characters and length of a model's texts end at the reader."""
    reply = {**refusal("no\x1b[31m\nway\u202e" + "x" * 5000), "claims": [{"text": "a\tb", "evidence": ["prom-1"]}]}
    said = parse(json.dumps(reply))
    assert said.choice is Choice.NONE
    assert said.summary.startswith("no [31m way xxx")
    assert len(said.summary) == 300
    assert said.claims[0].text == "a b"
