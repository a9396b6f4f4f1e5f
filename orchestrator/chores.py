"""What a worker does beside carrying incidents: telling people, comparing with Alertmanager, sealing, tidying up."""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.audit import SYSTEM
from orchestrator.context.http import JsonApi
from orchestrator.engine import Chore
from orchestrator.errors import InventoryError, NotFound, SourceUnavailable, Unavailable
from orchestrator.lifecycle import manual
from orchestrator.model import AlertGroup, Approval, AuditEvent, Happening
from orchestrator.notify.channels import backoff_s, retry_after_s, wanted
from orchestrator.notify.digest import Stage, digest
from orchestrator.notify.heartbeat import beat
from orchestrator.notify.message import Message
from orchestrator.settings import Settings
from orchestrator.store import Letter, Storm
from orchestrator.telling.chat import Chat, shown
from orchestrator.telling.holdback import EVERY_S as HOLD_EVERY_S
from orchestrator.telling.holdback import Holdback
from orchestrator.telling.reminders import Reminders, kept_back
from orchestrator.telling.wording import message_of

if TYPE_CHECKING:
    from orchestrator.app import Orchestrator

log = logging.getLogger(__name__)

MOST_ATTEMPTS = 12
LETTERS = 500
STORM_S = 60.0
"""Messages are counted over this long."""
FIRST_S = 10.0
"""How long the first message about a storm waits for what belongs to it."""
LOOK_S = 5.0
"""How often a storm is looked at."""
FORGET_S = 7 * 86400.0
"""How long what was done in chat, and which links were used, is remembered."""
SETTLED_S = 60.0
"""How long an incident must be open before a missing alert counts as a missed resolve."""


class Chores:
    """The chores of one orchestrator."""

    def __init__(self, orchestrator: Orchestrator) -> None:
        self._o = orchestrator
        self._degraded: set[str] = set()

    def all(self) -> list[Chore]:
        """Return every chore with its rhythm."""
        settings = self._o.settings
        chores = [
            Chore("notify", 0.5, self.notify),
            Chore("chat", 0.5, Chat(self._o).run),
            Chore("remind", 1.0, Reminders(self._o).run),
            Chore("seal", settings.audit.seal_s, self.seal),
            Chore("tidy", settings.worker.tidy_s, self.tidy),
            Chore("probe", 15.0, self.probe, at_once=True),
            Chore("autonomy", 10.0, self._o.wiring.earning.review, at_once=True),
            Chore("catalogue", 2.0, self._o.catalogue_watch().run, at_once=True),
        ]
        if settings.notify.heartbeat_url.get_secret_value():
            chores.append(Chore("watcher", settings.notify.heartbeat_s, self.beat))
        if self._o.alertmanager is not None:
            chores.append(Chore("reconcile", settings.worker.reconcile_s, self.reconcile, at_once=True))
            if settings.alertmanager.hold_pages:
                chores.append(Chore("hold", HOLD_EVERY_S, Holdback(self._o, self._o.alertmanager).run, at_once=True))
        return chores

    @staticmethod
    def route(settings: Settings, channels: tuple[str, ...], kind: str, severity: str) -> tuple[str, ...]:
        """Return the names of the channels that want an event."""
        chosen = settings.notify
        if not wanted(kind, severity, chosen.events, chosen.min_severity):
            return ()
        later = kept_back(chosen, kind)
        return tuple(name for name in channels if name not in later)

    # ------------------------------------------------------------ telling people

    def notify(self) -> None:
        """Send what waits in the outbox; more than people can read becomes one summary."""
        by_channel: dict[str, list[Letter]] = defaultdict(list)
        for letter in self._o.store.outbox.take(LETTERS):
            by_channel[letter.channel].append(letter)
        for channel, letters in by_channel.items():
            if channel not in self._o.channels:
                self._give_up(letters, "the channel is no longer set")
            else:
                self._deliver(channel, letters)
        for storm in self._o.store.storms.due():
            self._tell_storm(storm)

    def _deliver(self, channel: str, letters: list[Letter]) -> None:
        """Send letters one by one, or count them to a storm; what is about this program itself is always sent."""
        incidents = [letter for letter in letters if letter.incident != SYSTEM]
        if incidents and self._is_storm(channel, len(incidents)):
            self._o.store.storms.swallow(channel, incidents, FIRST_S)
            self._o.meters.notifications.labels(channel, "summarised").inc(len(incidents))
            letters = [letter for letter in letters if letter.incident == SYSTEM]
        for letter in letters:
            self._send(letter)

    def _is_storm(self, channel: str, count: int) -> bool:
        """Whether more comes than people can read: sent within a minute, to be sent now, and still to be looked at."""
        if self._o.store.storms.is_open(channel):
            return True
        limit, waiting = self._o.settings.notify.storm_per_minute, self._o.store.incidents.waiting()
        since = self._o.store.db.now_ms() - int(STORM_S * 1000)
        load = self._o.store.outbox.sent_since(channel, since) + count + waiting
        return load > limit and (count > 1 or waiting > limit)

    def _tell_storm(self, storm: Storm) -> None:
        """Tell people that a storm began, goes on or is over; each is tried until it has arrived."""
        chosen, store = self._o.settings.notify, self._o.store
        if storm.channel not in self._o.channels:
            store.storms.over(storm)
            return
        now, waiting = store.db.now_ms(), store.incidents.waiting()
        calm = store.storms.made_since(storm.channel, now - int(STORM_S * 1000)) + waiting <= chosen.storm_per_minute
        if storm.told_at is None:
            stage = Stage.BEGAN
        elif calm and now - storm.told_at > STORM_S * 1000:
            stage = Stage.OVER
        elif now - storm.told_at > chosen.storm_update_s * 1000:
            stage = Stage.GOES_ON
        else:
            store.storms.look_again(storm, LOOK_S)
            return
        try:
            self._o.channels[storm.channel].send(digest(store.storms.tally(storm), stage, waiting, self._o.settings.public_url()))
        except Unavailable as error:
            self._o.troubles.set(f"notify:{storm.channel}", str(error))
            store.storms.look_again(storm, max(backoff_s(storm.attempts + 1), retry_after_s(error)), failed=True)
            return
        self._o.troubles.set(f"notify:{storm.channel}", "")
        self._o.meters.notifications.labels(storm.channel, "storm").inc()
        if stage is Stage.OVER:
            store.storms.over(storm)
        else:
            store.storms.look_again(storm, LOOK_S, told=True)

    def _send(self, letter: Letter) -> None:
        if not self._o.store.outbox.keep(letter):
            log.warning("letter %s was taken over by another worker", letter.id)
            return
        before = self._question(letter)
        try:
            message = self._message(letter)
            place = self._o.channels[letter.channel].send(message)
        except Unavailable as error:
            self._failed(letter, error)
            return
        except Exception as error:
            # One letter that cannot be written must not keep the others back.
            log.exception("letter %s cannot be sent", letter.id)
            self._failed(letter, Unavailable(type(error).__name__))
            return
        with self._o.store.db.transaction():
            self._o.store.outbox.sent(letter)
            if place and before is not None:
                self._o.store.errands.posted(letter.channel, before.id, place, shown(before))
        self._o.meters.notifications.labels(letter.channel, "sent").inc()
        self._o.troubles.set(f"notify:{letter.channel}", "")

    def _failed(self, letter: Letter, error: Unavailable) -> None:
        attempt = letter.attempts + 1
        again_s = max(backoff_s(attempt), retry_after_s(error)) if attempt < MOST_ATTEMPTS else None
        self._o.store.outbox.failed(letter, str(error), again_s)
        self._o.meters.notifications.labels(letter.channel, "failed").inc()
        self._o.troubles.set(f"notify:{letter.channel}", str(error))

    def _give_up(self, letters: list[Letter], why: str) -> None:
        for letter in letters:
            self._o.store.outbox.failed(letter, why, None)

    def _message(self, letter: Letter) -> Message:
        return message_of(self._o, self._event(letter))

    def _question(self, letter: Letter) -> Approval | None:
        """Return the question that a letter asks, as it stood before the message was made of it."""
        if letter.kind not in ("approval.asked", "approval.reminder"):
            return None
        try:
            return self._o.store.runs.approval(str((self._event(letter).data or {}).get("approval")))
        except NotFound:
            return None

    def _event(self, letter: Letter) -> AuditEvent:
        return self._o.store.chain.events(after=letter.event - 1, limit=1)[0]

    # ------------------------------------------------------------ the rest

    def reconcile(self) -> None:
        """Compare with Alertmanager: alerts that never reached us, and resolves that we missed."""
        if self._o.alertmanager is None:
            return
        try:
            active = self._o.alertmanager.alerts()
        except SourceUnavailable as error:
            self._o.troubles.set("alertmanager", str(error))
            return
        self._o.troubles.set("alertmanager", "")
        known = self._o.store.incidents.open_fingerprints()
        missed = tuple(item.alert for item in active if item.state == "active" and not known.get(item.alert.fingerprint, ("", False))[1])
        if missed:
            log.info("reconciliation: %d alerts had not reached us", len(missed))
            self._o.take_in(AlertGroup(missed, receiver="reconciliation"))
        present = {item.alert.fingerprint for item in active}
        for fingerprint, (identity, firing) in known.items():
            if firing and fingerprint not in present:
                self._missed_resolve(identity)

    def _missed_resolve(self, identity: str) -> None:
        incident = self._o.store.incidents.get(identity)
        age = self._o.wiring.now() - (incident.created_at or self._o.wiring.now())
        if age > timedelta(seconds=SETTLED_S) and not manual(incident.alert) and self._o.wiring.firing(incident.alert) is False:
            self._o.store.incidents.resolve(identity, self._o.engine.wake)

    def probe(self) -> None:
        """Note whether monitoring answers and the inventory can be read."""
        prometheus, alertmanager, rules = self._o.prometheus, self._o.alertmanager, self._o.settings.oidc
        questions: dict[str, Callable[[], object]] = {}
        if prometheus is not None:
            questions["prometheus"] = prometheus.active
        if alertmanager is not None:
            questions["alertmanager"] = alertmanager.alerts
        if rules.issuer:
            provider = JsonApi("the sign-in provider", rules.issuer, timeout_s=rules.timeout_s)
            questions["oidc"] = partial(provider.get, "/.well-known/openid-configuration")
        for name, ask in questions.items():
            try:
                ask()
                self._o.troubles.set(name, "")
            except SourceUnavailable as error:
                self._o.troubles.set(name, str(error))
        with contextlib.suppress(InventoryError):  # noted there
            self._o.wiring.inventory()
        self._tell_degraded()

    def _tell_degraded(self) -> None:
        """Tell people once when something degrades, and once when all is well again."""
        now = self._o.degraded_here()
        if set(now) == self._degraded:
            return
        words = "; ".join(f"{what}: {why}" for what, why in sorted(now.items())) or "all is well again"
        self._degraded = set(now)
        self._o.note(Happening("engine.degraded", data={"degraded": sorted(now), "detail": words}))

    def beat(self) -> None:
        """Send the outgoing heartbeat while this program is ready; when it is not, silence is the message."""
        if not self._o.health()["ready"]:
            return
        try:
            beat(self._o.settings.notify.heartbeat_url.get_secret_value())
            self._o.troubles.set("heartbeat", "")
        except Unavailable as error:
            self._o.troubles.set("heartbeat", str(error))

    def seal(self) -> None:
        """Link the heads of the audit log, and put the head outside where a file is named."""
        head = self._o.store.chain.seal()
        path = self._o.settings.audit.head_file
        if head and path:
            with Path(path).open("a", encoding="utf-8") as file:
                file.write(f"{self._o.wiring.now().isoformat()} {head}\n")

    def tidy(self) -> None:
        """Remove what finished runs left on disk, and what is over in the tables of sessions, links and errands."""
        self._o.store.sessions.sweep(self._o.settings.login.session_s)
        self._o.store.errands.sweep(FORGET_S)
        self._o.store.people.forget_flags("used:", max(FORGET_S, 2 * self._o.settings.policy.approval_ttl_s))
        self._o.executor.sweep(lambda: {*self._o.wiring.playing.reading, *self._o.store.runs.unsettled()})
