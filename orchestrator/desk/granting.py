"""Standing grants: given by people who may approve the entry, confirmed by a second one for high risk, taken back by anyone of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from orchestrator import audit
from orchestrator.binding import people_needed
from orchestrator.desk.cards import Cards
from orchestrator.errors import Conflict, Forbidden, InvalidRequest
from orchestrator.model import Actor, Entry, EntryKind, Happening, Role, StandingGrant, StandingState
from orchestrator.settings import Settings
from orchestrator.store import new_id

MOST_RUNS = 100
OPEN = (StandingState.ACTIVE, StandingState.WAITING)


class Granting(Cards):
    """A standing grant answers for people, within limits and never over a guard."""

    settings: Settings

    def grants(
        self, *, entry: str = "", state: Sequence[StandingState] = (), limit: int = 100, cursor: str = ""
    ) -> tuple[list[StandingGrant], str]:
        """Return a page of standing grants, newest first; those whose entry has changed are void by then."""
        found, _ = self.store.standing.find(entry=entry, state=OPEN, limit=1000)
        self.wiring.binding.refresh(found)
        return self.store.standing.find(entry=entry, state=state, limit=limit, cursor=cursor)

    def grant(self, id: str) -> StandingGrant:
        """Return a standing grant as it stands now.

        Raises:
            NotFound: there is none of that id.
        """
        found = self.store.standing.get(id)
        if found.state in OPEN:
            self.wiring.binding.refresh([found])
        return self.store.standing.get(id)

    def create_grant(
        self,
        entry: str,
        actor: Actor,
        *,
        until: datetime,
        max_runs: int,
        reason: str,
        hosts: tuple[str, ...] = (),
        group: str = "",
        alertnames: tuple[str, ...] = (),
    ) -> StandingGrant:
        """Let an entry run on these hosts without asking again, until a time and at most so often.

        Args:
            entry: a remediation of the catalogue.
            actor: who gives it; must be one who may approve the entry.
            until: when it ends; within `policy.standing_max_s` from now.
            max_runs: how many runs it may mint, 1–100.
            reason: why, in the giver's own words.
            hosts: inventory hosts; or else
            group: an inventory group, resolved to its hosts now.
            alertnames: only for these alerts; empty: any.

        Returns:
            The grant: `active`, or `waiting` where a second person has to confirm it.

        Raises:
            Forbidden: the actor may not approve this entry.
            InvalidRequest: a limit, a host or the reason is missing or wrong.
        """
        chosen, now = self.entry(entry), self.wiring.now()
        self._require_giver(actor, chosen)
        resolved = self._resolved(chosen, hosts, group)
        self._require_limits(until, max_runs, reason, now)
        need = people_needed(chosen)
        given = StandingGrant(
            id=new_id(),
            entry=chosen.id,
            digest=str(self.wiring.playing.plays.snapshot(chosen).digest),
            hosts=resolved,
            until=until,
            max_runs=max_runs,
            created_at=now,
            need=need,
            by=(actor.name,),
            state=StandingState.ACTIVE if need == 1 else StandingState.WAITING,
            group=group,
            alertnames=tuple(dict.fromkeys(name.strip() for name in alertnames if name.strip())),
            reason=reason.strip(),
            variables=self.wiring.binding.host_hashes(resolved),
        )
        with self.store.db.transaction():
            self.store.chain.lock(audit.SYSTEM)
            self.store.standing.add(given)
            self.note(Happening("standing.given", actor.name, {**_told(given), "reason": given.reason, "via": actor.via}))
        return given

    def confirm_grant(self, id: str, actor: Actor, digest: str, reason: str = "") -> StandingGrant:
        """Give a standing grant as the second person; it mints from now on.

        Raises:
            Forbidden: the actor may not approve this entry, or gave it already.
            Conflict: it does not wait for anyone, or the entry is not what was shown.
        """
        found = self.grant(id)
        self._require_giver(actor, self.entry(found.entry))
        with self.store.db.transaction():
            self.store.chain.lock(audit.SYSTEM)

            def confirm(before: StandingGrant) -> StandingGrant:
                if before.state is not StandingState.WAITING:
                    raise Conflict(f"the standing grant waits for nobody: {_how(before)}.", decided={"state": str(before.state)})
                if digest != before.digest:
                    raise Conflict(f"changed since: {before.entry} is not what you confirm. Mend: look at the grant again.")
                if actor.name in before.by:
                    raise Forbidden(f"{actor.name} gave it already; it needs another person.")
                by = (*before.by, actor.name)
                return replace(before, by=by, state=StandingState.ACTIVE if len(set(by)) >= before.need else StandingState.WAITING)

            after = self.store.standing.change(id, confirm)
            self.note(Happening("standing.confirmed", actor.name, {**_told(after), "reason": reason.strip(), "via": actor.via}))
        return after

    def revoke_grant(self, id: str, actor: Actor, reason: str = "") -> StandingGrant:
        """Take a standing grant back; what it minted and has not begun is asked again.

        Raises:
            Forbidden: not an approver.
            Conflict: it has ended already.
        """
        self._require(actor, Role.APPROVER)
        with self.store.db.transaction():
            self.store.chain.lock(audit.SYSTEM)
            now = self.wiring.now()

            def revoke(before: StandingGrant) -> StandingGrant:
                if before.state in (StandingState.REVOKED, StandingState.VOID):
                    raise Conflict(f"the standing grant has ended: {_how(before)}.", decided={"state": str(before.state)})
                return replace(before, state=StandingState.REVOKED, ended_by=actor.name, ended_at=now, ended_why=reason.strip())

            after = self.store.standing.change(id, revoke)
            self.note(Happening("standing.revoked", actor.name, {**_told(after), "reason": reason.strip(), "via": actor.via}))
        return after

    # ------------------------------------------------------------ what a grant has to be

    def _require_giver(self, actor: Actor, entry: Entry) -> None:
        self._require(actor, Role.APPROVER)
        if not self._may_approve(actor, entry.approvers):
            raise Forbidden(f"only {', '.join(entry.approvers)} may give a standing grant for {entry.id}")
        if entry.kind is not EntryKind.REMEDIATION:
            raise InvalidRequest(f"entry: {entry.id} only reads; it needs no grant")

    def _resolved(self, entry: Entry, hosts: tuple[str, ...], group: str) -> tuple[str, ...]:
        """Return the hosts that are meant, each once.

        Raises:
            InvalidRequest: none, both hosts and a group, an unknown name, or a host that the entry may not touch.
        """
        inventory = self._inventory.get()
        if bool(hosts) == bool(group):
            raise InvalidRequest("hosts: name either hosts or a group. Mend: give one of the two.")
        if group and group not in inventory.groups:
            raise InvalidRequest(f"group: {group!r} is not in the inventory. Mend: use one of {', '.join(sorted(inventory.groups))}.")
        names = tuple(dict.fromkeys(hosts or inventory.groups[group]))
        unknown = [name for name in names if name not in inventory.hosts]
        if unknown or not names:
            raise InvalidRequest(f"hosts: {', '.join(unknown) or 'none'} is not in the inventory.")
        wanted = set(entry.targets.groups)
        outside = [name for name in names if wanted and not wanted & set(inventory.hosts[name].groups)]
        if outside:
            raise InvalidRequest(
                f"hosts: {', '.join(outside)} is in none of the groups {', '.join(sorted(wanted))} that {entry.id} may touch."
            )
        return names

    def _require_limits(self, until: datetime, max_runs: int, reason: str, now: datetime) -> None:
        longest = timedelta(seconds=self.settings.policy.standing_max_s)
        if not now < until <= now + longest:
            raise InvalidRequest(
                f"until: must lie between now and {longest} from now (policy.standing_max_s). Mend: name an earlier end, and give it again then."
            )
        if not 1 <= max_runs <= MOST_RUNS:
            raise InvalidRequest(f"max_runs: must lie between 1 and {MOST_RUNS}.")
        if not reason.strip():
            raise InvalidRequest("reason: is empty. Mend: say in a few words why it may run without being asked.")


def _told(grant: StandingGrant) -> dict[str, object]:
    return {
        "grant": grant.id,
        "entry": grant.entry,
        "digest": grant.digest,
        "hosts": list(grant.hosts),
        "group": grant.group,
        "alertnames": list(grant.alertnames),
        "until": grant.until.isoformat(),
        "used": grant.used,
        "most": grant.max_runs,
        "by": list(grant.by),
        "need": grant.need,
        "state": str(grant.state),
    }


def _how(grant: StandingGrant) -> str:
    who = f" by {grant.ended_by}" if grant.ended_by else ""
    when = f" at {grant.ended_at:%Y-%m-%d %H:%M:%S} UTC" if grant.ended_at else ""
    return f"{grant.state.replace('_', ' ')}{who}{when}{': ' + grant.ended_why if grant.ended_why else ''}"
