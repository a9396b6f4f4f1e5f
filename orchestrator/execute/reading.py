"""From Ansible's events to the redacted stream, the counts, the diffs, the facts and the first failure of a run."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from orchestrator.model import HostDiff, HostStats, RunEvent, RunKind, RunRequest

ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
TEXT_LIMIT = 4096
DIFF_LIMIT = 16_384
"""Characters of one diff."""
MAX_DIFFS = 200
MAX_EVENTS = 20_000
MESSAGE_LIMIT = 1000
RESULTS = frozenset({"runner_on_ok", "runner_on_failed", "runner_on_unreachable", "runner_on_skipped"})
ITEMS = frozenset({"runner_item_on_ok", "runner_item_on_failed"})


class Reading:
    """Reads a run's events in their order; reading them again from the start gives the same stream.

    Args:
        request: what was asked for.
        redact: takes secrets out of a text.
        on_event: is called with every line of the stream.
    """

    def __init__(self, request: RunRequest, redact: Callable[[str], str], on_event: Callable[[RunEvent], None]) -> None:
        self._request, self._redact, self._on_event = request, redact, on_event
        self._seq = 0
        self._output = ""
        self._diffs: list[HostDiff] = []
        self._facts: dict[str, Any] = {}
        self.stats: dict[str, HostStats] | None = None
        """Ansible's counts per host; None until it has given them."""
        self.failure = ""
        """The first failure that the play did not ignore, redacted."""
        self.began = False
        """Whether a task has started: something may have reached a host."""

    @property
    def diffs(self) -> tuple[HostDiff, ...]:
        """What changed, or would."""
        return tuple(self._diffs)

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the play gave back with `set_stats`: host → values by name, redacted."""
        return self._facts

    @property
    def complaint(self) -> str:
        """What Ansible printed outside of any task, in one paragraph: why a play did not even start."""
        return self._paragraph(self._output)

    def take(self, event: Mapping[str, Any]) -> None:
        """Read one event as the worker has kept it."""
        name, data = str(event.get("event", "")), event.get("data") or {}
        given = data.get("res")
        result: dict[str, Any] = given if isinstance(given, dict) else {}
        if "censored" in result:
            # ansible-runner drops the rest of a no_log result; whether it changed is left in the line on the screen only
            result = {**result, "changed": str(event.get("stdout", "")).startswith("changed:")}
        if name == "playbook_on_stats":
            self.stats = _stats(data)
        elif name in RESULTS or name in ITEMS:
            self._take_result(name, data, result)
        elif name in ("playbook_on_task_start", "playbook_on_handler_task_start"):
            self.began = True
        self._tell(event, _kind(name, result), data)

    def _tell(self, event: Mapping[str, Any], kind: str, data: Mapping[str, Any]) -> None:
        text = self._clean(str(event.get("stdout", "")))
        if kind == "output":
            self._output = (self._output + "\n" + text)[-TEXT_LIMIT:]
            if not text.strip():
                return
        if self._seq >= MAX_EVENTS:
            return
        self._seq += 1
        cut = self._seq == MAX_EVENTS
        task = str(data.get("task") or (data.get("name") if kind == "task" else "") or "")
        self._on_event(
            RunEvent(
                seq=self._seq,
                kind="output" if cut else kind,
                at=_time(event.get("created")),
                host="" if cut else str(data.get("host") or ""),
                task="" if cut else self._clean(task)[:TEXT_LIMIT],
                text=f"the stream is cut here, after {MAX_EVENTS} lines" if cut else _cut(text),
            )
        )

    def _take_result(self, name: str, data: Mapping[str, Any], result: Mapping[str, Any]) -> None:
        host, task = str(data.get("host", "")), str(data.get("task", ""))
        failed = name in ("runner_on_failed", "runner_on_unreachable")
        if failed and not data.get("ignore_errors") and not self.failure:
            self.failure = self._paragraph(f"{task} ({host}): {_words(result)}")
        given = result.get("ansible_stats")
        if isinstance(given, dict) and isinstance(given.get("data"), dict):
            self._facts.setdefault(host, {}).update(self._redacted(given["data"]))
        # a loop's items have told their own changes; its sum would tell them again
        if "results" not in result or name in ITEMS:
            self._take_diff(host, task, result)

    def _take_diff(self, host: str, task: str, result: Mapping[str, Any]) -> None:
        if len(self._diffs) >= MAX_DIFFS:
            return
        hidden = bool(result.get("_ansible_no_log") or "censored" in result)
        text = "" if hidden else _diff(result.get("diff"))
        if not text and result.get("changed") and self._request.kind in (RunKind.CHECK, RunKind.APPLY, RunKind.UNDO):
            text = ("would change" if self._request.kind is RunKind.CHECK else "changed") + (", hidden by no_log" if hidden else "")
        if text:
            self._diffs.append(HostDiff(host, self._clean(task), _cut(self._clean(text), DIFF_LIMIT)))

    def _clean(self, text: str) -> str:
        # in this order: a colour inside a secret would hide it, and a cut would leave its first half
        return self._redact(ANSI.sub("", text))

    def shown(self, text: str) -> str:
        """Return a text as it may be shown: redacted, one paragraph."""
        return self._paragraph(text)

    def _paragraph(self, text: str) -> str:
        return _cut(" ".join(self._clean(text).split()), MESSAGE_LIMIT)

    def _redacted(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._clean(value)
        if isinstance(value, list):
            return [self._redacted(item) for item in value]
        if isinstance(value, dict):
            return {key: self._redacted(item) for key, item in value.items()}
        return value


def _kind(name: str, result: Mapping[str, Any]) -> str:
    match name:
        case "playbook_on_play_start":
            return "play"
        case "playbook_on_task_start" | "playbook_on_handler_task_start":
            return "task"
        case "runner_on_ok":
            return "changed" if result.get("changed") else "ok"
        case "runner_on_failed" | "runner_on_unreachable" | "runner_on_skipped":
            return name.removeprefix("runner_on_")
        case "playbook_on_stats":
            return "stats"
    return "output"


def _time(text: Any) -> datetime:
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return datetime.now(UTC)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def _cut(text: str, limit: int = TEXT_LIMIT) -> str:
    data = text.encode()
    return text if len(data) <= limit else data[: limit - 8].decode(errors="ignore") + " …"


def _stats(data: Mapping[str, Any]) -> dict[str, HostStats]:
    def count(name: str, host: str) -> int:
        counts = data.get(name)
        return int(counts.get(host, 0)) if isinstance(counts, dict) else 0

    hosts = {host for name in ("processed", "ok", "changed", "failures", "dark", "skipped") for host in data.get(name) or {}}
    return {
        host: HostStats(
            ok=count("ok", host),
            changed=count("changed", host),
            failures=count("failures", host),
            unreachable=count("dark", host),
            skipped=count("skipped", host),
        )
        for host in sorted(hosts)
    }


def _words(result: Mapping[str, Any]) -> str:
    """Return what a failed result says for itself."""
    if "censored" in result:
        return "hidden by no_log"
    for item in result.get("results") or ():
        if isinstance(item, dict) and (item.get("failed") or item.get("unreachable")):
            return _words(item)
    said = [str(result[name]) for name in ("msg", "stderr", "module_stderr") if result.get(name)]
    return " ".join(dict.fromkeys(said)) or str(result.get("stdout") or result.get("module_stdout") or "failed without a message")


def _diff(found: Any) -> str:
    """Return a unified diff of Ansible's `diff`, which is a dictionary or a list of them, or an empty string."""
    parts = []
    for one in found if isinstance(found, list) else [found]:
        if not isinstance(one, dict):
            continue
        if one.get("prepared"):
            parts.append(str(one["prepared"]))
        before, after = _lines(one.get("before")), _lines(one.get("after"))
        names = str(one.get("before_header") or "before"), str(one.get("after_header") or "after")
        parts += difflib.unified_diff(before, after, *names, lineterm="")
    return "\n".join(parts)


def _lines(value: Any) -> list[str]:
    if value is None or value == "":
        return []
    return (value if isinstance(value, str) else json.dumps(value, indent=2, sort_keys=True, default=str)).splitlines()
