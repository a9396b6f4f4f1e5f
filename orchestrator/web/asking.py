"""What a request asks for: the orchestrator behind it, its query parameters and its body, checked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

from flask import current_app, request
from pydantic import BaseModel, TypeAdapter, ValidationError

from orchestrator.errors import InvalidRequest, NotJson, UsageError

if TYPE_CHECKING:
    from orchestrator.app import Orchestrator

MAX_LIMIT = 1000
_LARGEST = 2**63 - 1
_Word = TypeVar("_Word", bound=StrEnum)
_Body = TypeVar("_Body", bound=BaseModel)
_Listed = TypeVar("_Listed")


def facade() -> Orchestrator:
    """Return the orchestrator that this app shows."""
    return cast("Orchestrator", current_app.extensions["orchestrator"])


def text(name: str) -> str:
    """Return a query parameter, empty where it is not given.

    Raises:
        UsageError: it holds a NUL character.
    """
    value = request.args.get(name, "")
    if "\0" in value:
        raise UsageError(f"{name}: holds a NUL character. Mend: remove it.")
    return value


def number(name: str, default: int = 0, *, least: int = 0, most: int = _LARGEST) -> int:
    """Return a whole number from the query.

    Raises:
        UsageError: it is no number, or outside `least`–`most`.
    """
    value = text(name)
    if not value:
        return default
    digits = value.isascii() and value.isdigit() and len(value) <= len(str(_LARGEST))
    if not digits or not least <= int(value) <= most:
        raise UsageError(f"{name}: {value[:80]!r} is not a whole number from {least} to {most}. Mend: give one, or leave {name} out.")
    return int(value)


def limit(default: int = 100) -> int:
    """Return how many items are asked for, 1–1000."""
    return number("limit", default, least=1, most=MAX_LIMIT)


def paged(ask: Callable[[str], _Listed]) -> _Listed:
    """Return the page of a list that the request's cursor names.

    Args:
        ask: cursor → page.

    Raises:
        UsageError: the cursor is none of ours.
    """
    cursor = text("cursor")
    try:
        return ask(cursor)
    except (ValueError, OverflowError):
        if not cursor:
            raise
        raise UsageError(f"cursor: {cursor[:80]!r} is not one of ours. Mend: take `next` of the page before, or leave it out.") from None


def words(name: str, kind: type[_Word]) -> tuple[_Word, ...]:
    """Return a filter of closed words, given several times or separated by commas.

    Raises:
        UsageError: one of them is not of `kind`.
    """
    found = []
    for value in (part.strip() for item in request.args.getlist(name) for part in item.split(",")):
        if not value:
            continue
        try:
            found.append(kind(value))
        except ValueError:
            raise UsageError(f"{name}: {value[:80]!r} is not known. Mend: use one of {', '.join(kind)}.") from None
    return tuple(dict.fromkeys(found))


def names(name: str) -> tuple[str, ...]:
    """Return the names in a query parameter, given several times or separated by commas, each once.

    Raises:
        UsageError: it holds a NUL character.
    """
    text(name)
    found = (part.strip() for item in request.args.getlist(name) for part in item.split(","))
    return tuple(dict.fromkeys(part for part in found if part))


def values(name: str) -> dict[str, Any]:
    """Return a query parameter that is a JSON object; empty where it is not given.

    Raises:
        UsageError: it is no JSON object, or holds a NUL character.
    """
    given = text(name)
    try:
        found = json.loads(given) if given else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict) or _holds_nul(found):
        raise UsageError(f'{name}: is no JSON object. Mend: write it like {{"restart_service_port": 443}}.')
    return found


def moment(name: str) -> datetime | None:
    """Return a time from the query as aware UTC; without an offset it is taken as UTC.

    Raises:
        UsageError: it is not an ISO 8601 time.
    """
    value = text(name)
    if not value:
        return None
    try:
        # An unescaped "+" of an offset arrives as a space.
        parsed = datetime.fromisoformat(value.strip().replace(" ", "+") if "T" in value else value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise UsageError(f"{name}: {value[:80]!r} is not an ISO 8601 time. Mend: write it like 2026-01-31T12:00:00Z.") from None


def body(kind: type[_Body]) -> _Body:
    """Return the JSON body as `kind`; an empty body is an empty object.

    Raises:
        NotJson: it is not JSON.
        InvalidRequest: it is not what `kind` takes; names each field.
    """
    raw = request.get_data() or b"{}"
    try:
        value = kind.model_validate_json(raw)
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False)
        if faults[0]["type"] == "json_invalid":
            raise NotJson(f"The body is not JSON: {faults[0]['msg']}.") from None
        raise InvalidRequest("; ".join(f"{_place(fault['loc'])}: {fault['msg']}" for fault in faults[:20])) from None
    if _holds_nul(value.model_dump()):
        raise InvalidRequest("The body holds a NUL character. Mend: remove it.")
    return value


def _place(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part)[:80] for part in location) or "body"


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, dict):
        return any(_holds_nul(key) or _holds_nul(item) for key, item in value.items())
    return isinstance(value, list | tuple) and any(_holds_nul(item) for item in value)


def plain(kind: Any, value: Any) -> Any:
    """Return `value` of type `kind` as JSON values: times in ISO 8601, no NaN, no half characters."""
    adapter = adapter_of(kind)
    try:
        return json.loads(adapter.dump_json(value))
    except ValueError:
        # A lone surrogate from outside cannot be written as UTF-8.
        return _writable(adapter.dump_python(value))


@cache
def adapter_of(kind: Any) -> TypeAdapter[Any]:
    """Return pydantic's adapter of `kind`, built once."""
    return TypeAdapter(kind)


def _writable(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case dict():
            return {_writable(key): _writable(item) for key, item in value.items()}
        case list() | tuple():
            return [_writable(item) for item in value]
        case float():
            return value if math.isfinite(value) else None
        case _:
            return value
