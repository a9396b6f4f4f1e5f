"""Plays of one incident: read-only ones, and the changing one that is begun once or found again."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from orchestrator.errors import ExecutionError, HostBusy, LeaseLost, StoreUnavailable
from orchestrator.model import Entry, Happening, Host, Incident, Outcome, Run, RunEvent, RunKind, RunRequest, RunState
from orchestrator.store import Store

log = logging.getLogger(__name__)

READS_PER_HOST = 3
"""Incidents that read one host at once, over all workers."""
SEAT_S = 15.0
"""How long the seat of a worker that died stays taken."""
TAKEOVER_MARGIN_S = 45.0
"""How long after its time-out another machine still takes a play for alive; starting and ending it has to fit in."""
START_S = 20.0
"""How long after it was written as begun a play may still start: a machine that was suspended in between starts nothing."""
FRESH_MS = 30_000
"""Age at which a written intent is no longer begun: the world it was judged in may have changed."""
BATCH = 50
BATCH_MS = 300


class Plays(Protocol):
    """The door of `execute`."""

    def snapshot(self, entry: Entry) -> Any: ...  # noqa: D102 - told there
    def hosts_digest(self, hosts: Sequence[Host], key: bytes) -> str: ...  # noqa: D102
    def run(self, request: RunRequest, on_event: Callable[[RunEvent], None], cancelled: Callable[[], bool]) -> Run: ...  # noqa: D102
    def recover(self, request: RunRequest, on_event: Callable[[RunEvent], None], cancelled: Callable[[], bool]) -> Run: ...  # noqa: D102
    def settle(self, run_id: str) -> None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Playing:
    """Runs plays for the corridor and keeps what they tell."""

    store: Store
    plays: Plays
    entry: Callable[[str], Entry | None]
    node: str
    paused: Callable[[], str]
    stopping: Callable[[], bool]
    holds: Callable[[str], str] = lambda _: ""
    """(incident) → the token by which this process carries it, empty where it does not."""
    cut: set[str] = field(default_factory=set)
    """Incidents whose read-only play was cut short by the end of this process."""
    reading: set[str] = field(default_factory=set)
    """Read-only runs that this process follows now."""
    busy: dict[str, str] = field(default_factory=dict)
    """Incident → the host whose seats were all taken: its step does not count."""
    seated: Counter[str] = field(default_factory=Counter)
    """Incident → its read-only plays that run now; the last one gives its seats back."""
    guard: Any = field(default_factory=threading.Lock)

    def play(self, incident: Incident, request: RunRequest) -> Run:
        """Run a read-only play; it needs no grant and may be repeated.

        Raises:
            ExecutionError: the entry is in quarantine, or reads as root and no admin has admitted it.
            LeaseLost: another worker has taken the incident over; nothing was started.
            HostBusy: as many plays read the host as may; nothing was started.
        """
        self._may_read(request)
        if (owner := self.holds(incident.id)) and not self.store.incidents.is_held(incident.id, owner):
            raise LeaseLost(incident.id)
        self._sit_down(incident.id, request.hosts)
        keep, seat = _Stream(self.store, request.id), _Keeping(self.store, incident.id)
        self.reading.add(request.id)

        def cancelled() -> bool:
            seat.renew()
            keep.tell()
            return self.stopping() or self.store.incidents.has_signal(incident.id, "cancel")

        try:
            run = self.plays.run(request, keep, cancelled)
            if self.stopping() and run.outcome is Outcome.CANCELLED:
                self.cut.add(incident.id)
        finally:
            self.reading.discard(request.id)
            self._stand_up(incident.id)
            keep.flush()
        with self.store.db.transaction():
            self.store.runs.save(run, incident.id)
            if run.changed and request.kind in (RunKind.CONTEXT, RunKind.DIAGNOSE, RunKind.VERIFY):
                self._quarantine(incident, request.entry)
        self.plays.settle(request.id)
        return run

    def _may_read(self, request: RunRequest) -> None:
        entry = self.entry(request.entry)
        if entry is None or request.kind not in (RunKind.CONTEXT, RunKind.DIAGNOSE, RunKind.VERIFY):
            return
        if self.store.people.flag(f"quarantine:{entry.id}:{entry.digest}"):
            raise ExecutionError(f"{entry.id} is in quarantine: one of its read-only plays changed something")
        if entry.read_as_root and not self.store.people.admitted(entry.id, entry.digest):
            raise ExecutionError(f"{entry.id} reads as root, and no admin has admitted it as it is now")

    def _sit_down(self, incident: str, hosts: Sequence[str]) -> None:
        """Take a seat on every host, or none: no thread waits for one, so that a busy host keeps no worker from the others."""
        with self.guard:
            full = self.store.seats.take(incident, hosts, READS_PER_HOST, SEAT_S)
            if full:
                self.busy[incident] = full
                raise HostBusy(full)
            self.seated[incident] += 1

    def _stand_up(self, incident: str) -> None:
        with self.guard:
            self.seated[incident] -= 1
            if self.seated[incident] > 0:
                return
            del self.seated[incident]
            try:
                self.store.seats.give_back(incident)
            except StoreUnavailable as error:
                log.warning("the seats of incident %s become free by themselves: %s", incident, error)

    def _quarantine(self, incident: Incident, entry_id: str) -> None:
        entry = self.entry(entry_id)
        if entry is not None:
            self.store.people.set_flag(f"quarantine:{entry.id}:{entry.digest}", "a read-only play changed something")
            self.store.chain.append(incident.id, Happening("catalogue.quarantined", data={"entry": entry.id, "digest": entry.digest}))

    def carry_out(self, incident: Incident, run_id: str, owner: str) -> Run | None:
        """Begin the changing run whose intent is written, once, or find out what became of it; None: not now."""
        row, request = self.store.runs.row(run_id), self.store.runs.request(run_id)
        keep = _Stream(self.store, run_id)

        def cancelled() -> bool:
            keep.tell()
            return self.store.incidents.has_signal(incident.id, "cancel", "cancel_run")

        try:
            if row.state == RunState.INTENT:
                if cancelled():
                    message = "It was stopped by a person before it began."
                    return Run(run_id, request.kind, request.entry, RunState.DONE, Outcome.CANCELLED, message=message, node=self.node)
                if self.paused() or self.stopping():
                    return None
                if message := self._too_late(incident, request, row):
                    return Run(run_id, request.kind, request.entry, RunState.DONE, Outcome.NOT_BEGUN, message=message, node=self.node)
                start_by = time.clock_gettime(time.CLOCK_BOOTTIME) + START_S
                self._begin(incident, request, owner)
                return self._with_node(self.plays.run(replace(request, start_by=start_by), keep, cancelled))
            if row.node != self.node:
                return self._of_another_node(row, request)
            return self._with_node(self.plays.recover(request, keep, cancelled))
        except ExecutionError as error:
            return Run(run_id, request.kind, request.entry, RunState.DONE, Outcome.FAILED, message=str(error), node=self.node)
        finally:
            keep.flush()

    def _too_late(self, incident: Incident, request: RunRequest, row: Any) -> str:
        """Return why a written intent is no longer begun, an empty string where it may be."""
        if incident.resolved_at is not None or self.store.db.now_ms() - row.created_at > FRESH_MS:
            return "It was not begun at once, so nothing ran."
        standing = incident.grant.standing if incident.grant and request.kind is RunKind.APPLY else ""
        if standing and not self.store.standing.holds(standing):
            return "The standing grant was taken back before it began, so nothing ran."
        return ""

    def _begin(self, incident: Incident, request: RunRequest, owner: str) -> None:
        with self.store.db.transaction():
            if not self.store.runs.begin(request.id, incident.id, owner, self.node):
                raise LeaseLost(incident.id)
            data = {"run": request.id, "node": self.node, "hosts": list(request.hosts)}
            self.store.chain.append(incident.id, Happening("run.started", data=data))

    def _of_another_node(self, row: Any, request: RunRequest) -> Run | None:
        """A run begun on another machine: its time has to be over before anyone may say that it is unknown."""
        over_ms = (row.started_at or 0) + (request.timeout_s + TAKEOVER_MARGIN_S) * 1000
        if self.store.db.now_ms() < over_ms:
            return None
        message = f"It was begun on {row.node}, which went silent; how far it came is not known."
        return Run(request.id, request.kind, request.entry, RunState.UNKNOWN, message=message, node=row.node)

    def _with_node(self, run: Run) -> Run:
        return replace(run, node=self.node)


class _Keeping:
    """Keeps the seats of a play while it runs."""

    def __init__(self, store: Store, incident: str) -> None:
        self._store, self._incident = store, incident
        self._since = time.monotonic()

    def renew(self) -> None:
        """Keep them for longer, when a third of their time is over; a database that is gone for a while costs no play."""
        if time.monotonic() - self._since > SEAT_S / 3:
            self._since = time.monotonic()
            with contextlib.suppress(StoreUnavailable):
                self._store.seats.keep(self._incident, SEAT_S)


class _Stream:
    """Stores a run's stream in small batches."""

    def __init__(self, store: Store, run: str) -> None:
        self._store, self._run = store, run
        self._waiting: list[RunEvent] = []
        self._since = 0

    def __call__(self, event: RunEvent) -> None:
        self._waiting.append(event)
        self.tell()

    def tell(self) -> None:
        """Store what has waited long enough; called between events too, or a long task would keep back what came before it."""
        if not self._waiting:
            return
        now = self._store.db.now_ms()
        if len(self._waiting) >= BATCH or now - self._since > BATCH_MS:
            self.flush()
            self._since = now

    def flush(self) -> None:
        """Store what waits."""
        if self._waiting:
            self._store.runs.add_events(self._run, self._waiting)
            self._waiting = []
