"""The durable engine: carries every incident from step to step, and survives being killed at any line.

The incident row is the truth. huey wakes workers; a sweeper sends again what was lost with one. Each worker holds an
incident by a lease that a heartbeat renews; a worker that loses it writes nothing more.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from huey.consumer import Consumer
from huey.contrib.sql_huey import SqlHuey

from orchestrator.errors import HostBusy, LeaseLost, Stopping, StoreUnavailable
from orchestrator.lifecycle import Signal, Step
from orchestrator.model import Incident
from orchestrator.store import Claim, Store

log = logging.getLogger(__name__)

SWEPT_AT_ONCE = 64
"""Tasks in the carrier's queue above which the sweeper adds none: they would be doubles."""

BUSY_S = 1.0
"""How long an incident waits whose host is being read by as many plays as may at once."""

Advance = Callable[[Incident, Sequence[Signal], str], Step]
"""(incident, signals, owner) → the next step."""


@dataclass(frozen=True, slots=True)
class Chore:
    """Something done again and again by one worker thread."""

    name: str
    every_s: float
    do: Callable[[], None]
    at_once: bool = False
    """Whether it is done at start already."""


class _QuietConsumer(Consumer):  # type: ignore[misc]
    """huey's consumer without its signal handlers: the process is ours."""

    def _set_signal_handlers(self) -> None:
        return


class Engine:
    """Wakes, claims and advances incidents.

    Args:
        store: the database.
        advance: the corridor.
        limits: (incident) → the slots a changing run of it needs beside its hosts.
        threads: incidents worked on at once.
        lease_s: a worker that is silent this long loses its incidents.
        sweep_s: seconds between looks for due or abandoned incidents.
    """

    def __init__(
        self,
        store: Store,
        advance: Advance,
        limits: Callable[[Incident], Sequence[tuple[str, int]]],
        *,
        threads: int,
        lease_s: float,
        sweep_s: float,
    ) -> None:
        self._store, self._advance, self._limits = store, advance, limits
        self._threads, self._lease_s, self._sweep_s = threads, lease_s, sweep_s
        self._held: dict[str, str] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._drained = threading.Event()
        self._consumer: Any = None
        self._others: list[threading.Thread] = []
        self.last_sweep = 0.0
        self._queued = 0
        self._huey: Any = None
        self._task: Any = None

    def open(self) -> None:
        """Connect the carrier to the store's database; its tables are made here."""
        with self._store.db.transaction():
            self._store.db.lock("schema")
            self._huey = SqlHuey(name="incidents", database=self._store.db.raw, results=False, utc=True, create_tables=False)
            storage = self._huey.storage
            self._store.db.raw.create_tables([storage.KV, storage.Schedule, storage.Task, storage.Counter])
        self._huey.on_shutdown(name="close")(self._store.db.close)
        self._task = self._huey.task(name="advance")(self._take_turns)

    # ------------------------------------------------------------ the door

    def wake(self, incident: str) -> None:
        """Send an incident to a worker, in the caller's transaction: rolled back with it.

        Where many tasks wait already, none is added: whoever takes one of them goes on until nothing is due.
        """
        if self._queued < SWEPT_AT_ONCE:
            self._task(incident)

    def signal(self, incident: str, kind: str, data: dict[str, Any]) -> int:
        """Tell an incident something and wake it; return the signal's number."""
        return self._store.incidents.signal(incident, kind, data, self.wake)

    def start(self, chores: Sequence[Chore] = ()) -> None:
        """Start working: the carrier's threads, the heartbeat, the sweeper and the chores."""
        logging.getLogger("huey").setLevel(logging.WARNING)
        self._consumer = _QuietConsumer(self._huey, workers=self._threads, periodic=False, initial_delay=0.05, max_delay=0.2, backoff=1.3)
        self._consumer.start()
        self._spawn("heartbeat", self._lease_s / 4, self._beat, self._drained)
        self._spawn("sweeper", self._sweep_s, self.sweep)
        for chore in chores:
            self._spawn(chore.name, chore.every_s, chore.do, at_once=chore.at_once)

    def stop(self, wait_s: float = 20.0) -> None:
        """Start nothing more, let what runs come to the end of its step, and hand over what does not within `wait_s`."""
        self._stop.set()
        if self._consumer is not None:
            self._consumer.stop_flag.set()
        deadline = time.monotonic() + wait_s
        while self._held and time.monotonic() < deadline:
            time.sleep(0.02)
        self._drained.set()
        with self._lock:
            left = dict(self._held)
        for incident, owner in left.items():
            log.info("incident %s is handed over in the middle of a step", incident)
            self._release(incident, owner)
        workers = [thread for _, thread in self._consumer.worker_threads] if self._consumer is not None and not left else []
        for thread in [*workers, *self._others]:
            thread.join(timeout=5.0)

    def _release(self, incident: str, owner: str) -> None:
        try:
            self._store.incidents.release(incident, owner)
        except StoreUnavailable as error:
            log.warning("incident %s: its lease runs out by itself: %s", incident, error)

    @property
    def stopping(self) -> bool:
        """Whether nothing new may start."""
        return self._stop.is_set()

    def holds(self, incident: str) -> str:
        """Return the token by which this process holds an incident, or an empty string."""
        return self._held.get(incident, "")

    # ------------------------------------------------------------ one incident

    def _take_turns(self, _incident: str) -> None:
        """Advance whatever is due, by age and severity, until nothing is: a task only says that there is work."""
        try:
            while not self.stopping:
                due = [one for one in self._store.incidents.due(self._threads + len(self._held)) if not self._held.get(one)]
                if not any(self.work(one) for one in due):
                    return
        except StoreUnavailable as error:
            log.warning("what is due waits: %s", error)

    def work(self, incident: str) -> bool:
        """Advance an incident until it waits or ends.

        Returns:
            Whether this worker had it; False where another one has, or where it is not due.
        """
        owner = secrets.token_hex(8)
        try:
            claim = None if self.stopping else self._store.incidents.claim(incident, owner, self._lease_s)
            if claim is None:
                return False
            with self._lock:
                self._held[incident] = owner
            self._go_on(claim)
        except LeaseLost:
            log.warning("incident %s was taken over by another worker", incident)
        except Stopping:
            self._release(incident, owner)
        except HostBusy as busy:
            self._store.incidents.hold_off(incident, owner, f"read:{busy.host}", BUSY_S)
        except StoreUnavailable as error:
            log.warning("incident %s waits: %s", incident, error)
            return False
        finally:
            with self._lock:
                if self._held.get(incident) == owner:  # it may have been taken over within this process
                    del self._held[incident]
        return True

    def _go_on(self, claim: Claim) -> None:
        while self._step(claim):
            if self.stopping:
                raise Stopping(claim.incident.id)
            claim = self._store.incidents.look(claim.incident.id, claim.owner)

    def _step(self, claim: Claim) -> bool:
        """Make one step and write it; return whether the next one follows at once."""
        try:
            step = self._advance(claim.incident, [signal for _, signal in claim.signals], claim.owner)
            return self._store.incidents.commit(claim, step, self._limits, self.wake)
        except (HostBusy, LeaseLost, Stopping, StoreUnavailable):
            raise
        except Exception as error:
            log.exception("a step of incident %s failed", claim.incident.id)
            self._store.incidents.fail(claim, f"{type(error).__name__}: {error}")
            return False

    # ------------------------------------------------------------ beside it

    def _beat(self) -> None:
        with self._lock:
            held = dict(self._held)
        for incident, owner in held.items():
            if not self._store.incidents.renew(incident, owner, self._lease_s) and self._held.get(incident) == owner:
                log.warning("incident %s could not be kept", incident)

    def sweep(self) -> None:
        """Send every incident that is due and held by nobody."""
        self._queued = self._huey.storage.queue_size()
        room = SWEPT_AT_ONCE - self._queued
        due = [incident for incident in self._store.incidents.due(SWEPT_AT_ONCE) if not self._held.get(incident)]
        with self._store.db.transaction():
            for incident in due[: max(0, room)]:
                self.wake(incident)
        self.last_sweep = time.monotonic()

    def _spawn(
        self, name: str, every_s: float, do: Callable[[], None], until: threading.Event | None = None, *, at_once: bool = False
    ) -> None:
        end = until or self._stop

        def loop() -> None:
            wait_s = 0.0 if at_once else every_s
            while not end.wait(wait_s):
                wait_s = every_s
                try:
                    do()
                except StoreUnavailable as error:
                    log.warning("%s: %s", name, error)
                except Exception:
                    log.exception("%s failed", name)
            self._store.db.close()

        thread = threading.Thread(target=loop, name=name, daemon=True)
        thread.start()
        self._others.append(thread)
