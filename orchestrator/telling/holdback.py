"""Holding pages back: a short silence on exactly the alert that is being repaired, kept up only while the repair advances.

Alertmanager itself is the record: which silences are ours stands in their comments, so nothing has to be remembered here, and a
process that dies leaves silences that end by themselves, after which the pager rings.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from orchestrator.context.alertmanager import ActiveAlert, Alertmanager
from orchestrator.context.holding import AUTHOR, Held, comment, held
from orchestrator.errors import SourceUnavailable
from orchestrator.lifecycle import manual
from orchestrator.model import Happening, Incident

if TYPE_CHECKING:
    from orchestrator.app import Orchestrator

log = logging.getLogger(__name__)

EVERY_S = 2.0
GRACE_S = 20.0
"""How long after its time an incident that no worker holds still counts as advancing."""


class Holdback:
    """Makes, renews and ends our silences, so that they fit the incidents as they stand.

    Args:
        program: whose incidents.
        alertmanager: where the pages come from.
    """

    def __init__(self, program: Orchestrator, alertmanager: Alertmanager) -> None:
        self._o, self._alertmanager = program, alertmanager
        self._rules = program.settings.alertmanager
        self._quiet = False
        """Whether there was nothing to hold and nothing held at the last look."""

    def run(self) -> None:
        """Look once."""
        wanted = {} if self._o.paused() else {one.id: one for one in self._o.store.incidents.advancing(GRACE_S) if not manual(one.alert)}
        if not wanted and self._quiet:
            return
        try:
            self._fit(wanted)
        except SourceUnavailable as error:
            self._quiet = False
            self._o.troubles.set("alertmanager", str(error))

    def _fit(self, wanted: dict[str, Incident]) -> None:
        mine: dict[str, list[Held]] = defaultdict(list)
        key = self._o.wiring.key
        for silence in self._alertmanager.silences():
            if ours := held(silence, key, self._rules.hold_s):
                mine[ours.incident].append(ours)
        now = self._o.store.db.now()
        alerts = self._alertmanager.alerts() if wanted else []
        for identity, incident in wanted.items():
            self._keep(incident, mine.pop(identity, []), alerts, now)
        for identity, left in mine.items():
            self._end(identity, left, "the repair advances no longer")
        self._quiet = not wanted and not mine

    def _keep(self, incident: Incident, mine: Sequence[Held], alerts: Sequence[ActiveAlert], now: datetime) -> None:
        """Have one silence on the incident's alert that lasts for a while; none where it may not be held any more."""
        if self._o.store.people.flag(_enough(incident.id)):
            self._end(incident.id, mine, "it was held back for as long as it may be")
            return
        newest = max(mine, key=lambda one: one.silence.ends_at, default=None)
        since = newest.since if newest else now
        if (now - since).total_seconds() > self._rules.hold_longest_s:
            self._o.store.people.set_flag(_enough(incident.id), "held")
            self._end(incident.id, mine, "it was held back for as long as it may be")
            return
        if covered := _others(incident, alerts):
            self._end(incident.id, mine, f"it would silence other alerts too: {covered} carry all of its labels")
            return
        for extra in mine:
            if extra is not newest:
                self._alertmanager.unsilence(extra.silence.id)
        if newest and (newest.silence.ends_at - now).total_seconds() > self._rules.hold_s / 2:
            return
        self._alertmanager.silence(
            incident.alert,
            until=now + timedelta(seconds=self._rules.hold_s),
            author=AUTHOR,
            comment=comment(self._o.wiring.key, incident.id, since),
            renew=newest.silence.id if newest else "",
        )
        if newest is None:
            self._note(incident.id, "page.held", {"hold_s": self._rules.hold_s})

    def _end(self, identity: str, mine: Sequence[Held], why: str) -> None:
        for one in mine:
            self._alertmanager.unsilence(one.silence.id)
        if mine:
            self._note(identity, "page.released", {"why": why})

    def _note(self, identity: str, kind: str, data: dict[str, object]) -> None:
        if self._o.store.incidents.summary(identity) is None:
            return
        with self._o.store.db.transaction():
            self._o.store.chain.append(identity, Happening(kind, data=data))


def _enough(identity: str) -> str:
    return f"used:held:{identity}"


def _others(incident: Incident, alerts: Sequence[ActiveAlert]) -> int:
    """Return how many other alerts carry all labels of this one and more: equality matchers would silence them with it."""
    own = set(incident.alert.labels.items())
    return sum(own < set(item.alert.labels.items()) for item in alerts)
