"""A model's reply: the JSON Schema it must follow, and a strict reading of what came.

The schema keeps to what grammar compilers take: plain `anyOf`, nothing by reference, every field required, no titles or defaults.

Source: Mistral chat completions, `response_format` of type `json_schema`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Literal, NoReturn

from pydantic import BaseModel, ConfigDict, ValidationError

from orchestrator.decide.choice import ModelChoice, allowed
from orchestrator.decide.plain import one_line
from orchestrator.decide.values import derive
from orchestrator.errors import ModelUnavailable
from orchestrator.model import Alert, Alternative, Choice, Claim, Entry, Host, Parameter

LONGEST_REPLY = 32_768
_MOST_CLAIMS, _MOST_ALTERNATIVES = 6, 6
_TYPES = {"str": "string", "bool": "boolean", "int": "integer", "float": "number"}


def schema(alert: Alert, entries: Sequence[Entry], hosts: Sequence[Host], evidence: Sequence[str]) -> dict[str, Any]:
    """Return the JSON Schema of a reply: one branch per entry, and one for none or a person.

    Args:
        alert: the alert; its labels fix the parameters.
        entries: what may be chosen.
        hosts: what may be touched.
        evidence: the ids that may be cited.

    Returns:
        A schema in which entries, hosts and parameter values are enumerations.
    """
    branches = [_branch(entry, alert, hosts) for entry in entries]
    branches.append(_object(choice={"type": "string", "enum": ["none", "escalate"]}, why=_text(300)))
    cited = {"type": "string", "enum": list(evidence)} if evidence else _text(40)
    claim = _object(text=_text(300), evidence={"type": "array", "items": cited, "maxItems": 5})
    names = [entry.id for entry in entries]
    alternative = _object(entry={"type": "string", "enum": names} if names else _text(64), why_not=_text(200))
    return _object(
        claims={"type": "array", "items": claim, "maxItems": _MOST_CLAIMS},
        decision={"anyOf": branches},
        alternatives={"type": "array", "items": alternative, "maxItems": _MOST_ALTERNATIVES},
        summary=_text(300),
    )


def parse(text: str) -> ModelChoice:
    """Read a reply strictly: one JSON object, no key twice, nothing after it, exactly the known fields.

    Args:
        text: the raw content of the model's message.

    Returns:
        The choice; its texts are one line each and bounded. Whether it may be used is for `faults` to say.

    Raises:
        ModelUnavailable: it is no such reply; the message tells why without repeating it.
    """
    if len(text) > LONGEST_REPLY:
        raise ModelUnavailable(f"the reply has {len(text)} characters, more than {LONGEST_REPLY}")
    try:
        raw = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
        reply = _Reply.model_validate(raw)
    except ValidationError as exc:
        raise ModelUnavailable(f"the reply does not follow the schema: {_places(exc)}") from exc
    except (ValueError, RecursionError) as exc:
        raise ModelUnavailable(f"the reply is not one JSON object: {one_line(str(exc), 120)}") from exc
    return _choice(reply)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class _Claim(_Strict):
    text: str
    evidence: list[str]


class _Run(_Strict):
    choice: Literal["run"]
    entry: str
    hosts: list[str]
    parameters: dict[str, Any]


class _Refusal(_Strict):
    choice: Literal["none", "escalate"]
    why: str


class _Alternative(_Strict):
    entry: str
    why_not: str


class _Reply(_Strict):
    claims: list[_Claim]
    decision: _Run | _Refusal
    alternatives: list[_Alternative]
    summary: str


def _choice(reply: _Reply) -> ModelChoice:
    decision = reply.decision
    claims = tuple(Claim(one_line(claim.text), tuple(claim.evidence[:5])) for claim in reply.claims[:_MOST_CLAIMS])
    alternatives = tuple(Alternative(item.entry, one_line(item.why_not)) for item in reply.alternatives[:_MOST_ALTERNATIVES])
    summary = one_line(reply.summary)
    if isinstance(decision, _Refusal):
        return ModelChoice(Choice(decision.choice), summary=one_line(decision.why) or summary, claims=claims, alternatives=alternatives)
    return ModelChoice(Choice.RUN, decision.entry, tuple(decision.hosts), decision.parameters, summary, claims, alternatives)


def _branch(entry: Entry, alert: Alert, hosts: Sequence[Host]) -> dict[str, Any]:
    names = [host.name for host in hosts]
    values = derive(entry, alert, hosts)
    options = {parameter.name: allowed(parameter, values) for parameter in entry.parameters}
    fixed = {parameter.name: _one_of(parameter, options[parameter.name]) for parameter in entry.parameters if options[parameter.name]}
    chosen = {
        "type": "array",
        "items": {"type": "string", "enum": names},
        "minItems": 1,
        "maxItems": min(len(names), entry.targets.max_hosts),
    }
    return _object(
        choice={"type": "string", "enum": ["run"]},
        entry={"type": "string", "enum": [entry.id]},
        hosts=chosen,
        parameters=_object(**fixed),
    )


def _one_of(parameter: Parameter, values: Sequence[Any]) -> dict[str, Any]:
    if parameter.type == "list":
        lengths = [len(value) for value in values]
        items = list(dict.fromkeys(item for value in values for item in value))
        inner = {"type": "string", "enum": items} if items else {"type": "string"}
        return {"type": "array", "items": inner, "minItems": min(lengths), "maxItems": max(lengths)}
    return {"type": _TYPES[parameter.type], "enum": list(values)}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _text(most: int) -> dict[str, Any]:
    return {"type": "string", "maxLength": most}


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object, refusing a key that comes twice: parsers disagree about which counts."""
    built = dict(pairs)
    if len(built) != len(pairs):
        raise ValueError("a key comes twice")
    return built


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _places(error: ValidationError) -> str:
    lines = [f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}" for item in error.errors(include_input=False)]
    return one_line("; ".join(lines[:5]))
