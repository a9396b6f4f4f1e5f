"""Context: what is known about an alert, gathered from several sources at once within a fixed time."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from orchestrator.context.redact import Redactor
from orchestrator.errors import OrchestratorError
from orchestrator.model import Alert, Context, Evidence, Host, Missing, Rule

_RAW_CHARACTERS = 1 << 20
"""Longest text that is looked at for secrets; the rest is cut off before."""
_DATA_FACTOR = 8
"""Data for charts may be this many times as long as text."""


class Source(Protocol):
    """Something that can be asked about an alert. Real ones: metrics, active alerts, Loki, hosts, history."""

    @property
    def name(self) -> str:
        """Prefix of its evidence's ids: `prom`, `alerts`, `loki`, `logs`, `infra`, `hist`."""

    def collect(self, alert: Alert, hosts: tuple[Host, ...], rule: Rule | None) -> list[Evidence]:
        """Return what is known; ids are set by `gather`.

        Raises:
            SourceUnavailable: where it knows nothing because it could not be asked.
        """


def gather(
    alert: Alert,
    hosts: tuple[Host, ...],
    sources: Sequence[Source],
    *,
    rule: Callable[[Alert], Rule | None] | None,
    deadline_s: float,
    max_bytes: int,
    redact: Redactor,
    clock: Callable[[], float] = time.monotonic,
) -> Context:
    """Ask all sources at once and return what has come in time; what has not is named in `missing`.

    A source that hangs never holds the caller: its thread is left behind and what it says later is dropped. Text and data are
    redacted, then cut to their bounds. The same answers give the same ids, whichever source was faster.

    Args:
        alert: what it is about.
        hosts: its hosts in the inventory, possibly none.
        sources: in the order in which their evidence shall stand.
        rule: finds the alert's rule; None: there is no Prometheus to ask. It may take half of the time.
        deadline_s: time for everything.
        max_bytes: size of one piece of evidence's text, as UTF-8.
        redact: takes secrets out.
        clock: seconds, monotonic.
    """
    started = clock()
    found: Rule | None = None
    missing: list[Missing] = []
    if rule:
        (answer,) = _ask([lambda: rule(alert)], lambda: started + deadline_s / 2 - clock())
        if isinstance(answer, str):
            missing.append(Missing("rule", redact(answer)))
        elif answer is None:
            missing.append(Missing("rule", "Prometheus has no single rule that fits this alert."))
        else:
            found = answer
    calls = [_call(source, alert, hosts, found) for source in sources]
    answers = _ask(calls, lambda: started + deadline_s - clock())
    evidence: list[Evidence] = []
    numbers: Counter[str] = Counter()
    for source, answer in zip(sources, answers, strict=True):
        if isinstance(answer, str):
            missing.append(Missing(source.name, redact(answer)))
            continue
        for piece in answer:
            numbers[source.name] += 1
            evidence.append(_bounded(replace(piece, id=f"{source.name}-{numbers[source.name]}", source=source.name), max_bytes, redact))
    return Context(tuple(evidence), tuple(missing), found, round(clock() - started, 3))


def cut(text: str, max_bytes: int) -> str:
    """Return `text` with its middle left out where it is longer than `max_bytes` as UTF-8: a third of the head, the rest from the tail."""
    raw = text.encode("utf-8", errors="replace")
    if len(raw) <= max_bytes:
        return text
    mark = f"\n[… {len(raw)} bytes, cut to {max_bytes} …]\n".encode()
    room = max(max_bytes - len(mark), 0)
    head = raw[: room // 3].decode(errors="ignore")
    tail = raw[len(raw) - (room - room // 3) :].decode(errors="ignore")
    return head + mark.decode() + tail


def _call(source: Source, alert: Alert, hosts: tuple[Host, ...], rule: Rule | None) -> Callable[[], list[Evidence]]:
    return lambda: source.collect(alert, hosts, rule)


def _ask(calls: Sequence[Callable[[], Any]], left_s: Callable[[], float]) -> list[Any]:
    """Return each call's answer, or a sentence on why there is none, within the time that is left."""
    answers: list[Any] = ["did not answer in time."] * len(calls)
    done: queue.SimpleQueue[tuple[int, Any]] = queue.SimpleQueue()
    for index, call in enumerate(calls):
        # A daemon thread: one that hangs must not keep the program from ending either.
        threading.Thread(target=_answer, args=(done, index, call), name=f"context-{index}", daemon=True).start()
    for _ in calls:
        try:
            index, answer = done.get(timeout=max(left_s(), 0.001))
        except queue.Empty:
            break
        answers[index] = answer
    return answers


def _answer(done: queue.SimpleQueue[tuple[int, Any]], index: int, call: Callable[[], Any]) -> None:
    try:
        answer = call()
    except OrchestratorError as error:
        answer = str(error)
    except Exception as error:  # noqa: BLE001 - one source's bug must not cost the others' evidence; it is named in `missing`
        answer = f"failed: {type(error).__name__}: {error}"
    done.put((index, answer))


def _bounded(piece: Evidence, max_bytes: int, redact: Redactor) -> Evidence:
    whole = redact(piece.text[:_RAW_CHARACTERS])
    text = cut(whole, max_bytes)
    data = _bounded_data(piece.data, max_bytes * _DATA_FACTOR, redact)
    complete = piece.complete and text == whole and len(piece.text) <= _RAW_CHARACTERS and (data is not None or piece.data is None)
    return replace(piece, title=cut(redact(piece.title[:1000]), 200), text=text, data=data, complete=complete)


def _bounded_data(data: Any, max_bytes: int, redact: Redactor) -> Any:
    """Return redacted JSON data, None where it is too long or no JSON."""
    if data is None:
        return None
    try:
        if len(json.dumps(data, allow_nan=False)) > max_bytes:
            return None
    except (TypeError, ValueError, RecursionError):
        return None
    return redact.mapping(data)
