"""Earned autonomy in the running program: proposes promotions, demotes by itself, answers the policy, takes an admin's answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator import autonomy
from orchestrator.autonomy import Level, Line, Outcome, Standing
from orchestrator.errors import Conflict, ExecutionError, InventoryError, NotFound
from orchestrator.model import Actor, Catalogue, Entry, Happening, Host, Risk
from orchestrator.playing import Plays
from orchestrator.store import Store

EVERYWHERE = "all"
"""The group of an entry that asks for none."""


@dataclass(frozen=True, slots=True)
class Earning:
    """What has been earned.

    Args:
        store: runs, standings and the log.
        catalogue: returns the catalogue as it stands.
        hosts: returns the inventory's hosts by name.
        plays: tells the digest of a play.
        earnable: the risks whose entries may earn autonomy, by the settings.
        wanted: the lower bound at which a promotion is proposed.
    """

    store: Store
    catalogue: Callable[[], Catalogue]
    hosts: Callable[[], Mapping[str, Host]]
    plays: Plays
    earnable: frozenset[Risk]
    wanted: float

    def may_run(self, entry: Entry, hosts: Sequence[Host], alertname: str) -> tuple[bool, str]:
        """Return whether an entry has earned to run for an alert on these hosts, and why; an ineffective run counts at once."""
        standings = self.store.earning.standings()
        groups = {host.name: groups_of(entry, host) for host in hosts}
        lines = {Line(alertname, entry.id, group) for names in groups.values() for group in names} & standings.keys()
        if not lines:
            return autonomy.earned(groups, alertname, entry.id, {}, {})
        digest, runs = self._digest(entry), self._by_line(entry, alertname)
        lost = {line: autonomy.lost_by(standings[line], runs.get(line, ()), digest) for line in lines}
        return autonomy.earned(groups, alertname, entry.id, standings, lost)

    def review(self) -> None:
        """Propose what has been earned and demote what was lost; each is on record."""
        known = self.store.earning.standings()
        now = self.store.db.now()
        for entry in self.catalogue().entries.values():
            if entry.risk not in self.earnable:
                continue
            runs = self._by_line(entry)
            for line in sorted(runs.keys() | {line for line in known if line.entry == entry.id}):
                after = autonomy.next_standing(line, known.get(line), runs.get(line, ()), self._digest(entry), now, self.wanted)
                if after is not None:
                    self._write(known.get(line), after)

    def answer(self, line: Line, level: Level, actor: Actor, reason: str = "") -> Standing:
        """Take an admin's answer to a proposal, or take a promotion back.

        Raises:
            NotFound: the line stands nowhere.
            Conflict: it stands elsewhere by now, or what it had earned is lost.
        """
        entry = self.catalogue().entries.get(line.entry)
        with self.store.db.transaction():
            self.store.db.lock("autonomy")
            known = self.store.earning.standings().get(line)
            if known is None:
                raise NotFound(f"nothing is proposed or promoted for {line}")
            from_here = {Level.PROMOTED: Level.PROPOSED, Level.DECLINED: Level.PROPOSED, Level.DEMOTED: Level.PROMOTED}[level]
            if known.level is not from_here:
                raise Conflict(f"{line} is {known.level}, by {known.by}: {known.why}")
            lost = autonomy.lost_by(known, self._by_line(entry).get(line, ()), self._digest(entry)) if entry else "the entry is gone"
            if level is Level.PROMOTED and lost:
                raise Conflict(f"{line} has lost what it had earned: {lost}")
            why = reason or (known.why if level is Level.PROMOTED else level)
            after = Standing(line, level, known.digest, self.store.db.now(), actor.name, why)
            self._put(known, after)
        return after

    def table(self) -> list[dict[str, Any]]:
        """Return every line with its record now, the best first."""
        known, found = self.store.earning.standings(), []
        for entry in self.catalogue().entries.values():
            runs = self._by_line(entry)
            for line in runs.keys() | {line for line in known if line.entry == entry.id}:
                standing = known.get(line)
                since = standing.since if standing and standing.level in (Level.DECLINED, Level.DEMOTED) else None
                record = autonomy.tally(runs.get(line, ()), self._digest(entry), since)
                found.append(
                    {
                        "alertname": line.alertname,
                        "entry": line.entry,
                        "group": line.group,
                        "level": standing.level if standing else "",
                        "successes": record.successes,
                        "trials": record.trials,
                        "bound": round(record.bound, 4),
                        "wanted": self.wanted,
                        "earnable": entry.risk in self.earnable,
                        "since": standing.since if standing else None,
                        "by": standing.by if standing else "",
                        "why": standing.why if standing else "",
                    }
                )
        return sorted(found, key=lambda row: (-row["bound"], row["entry"], row["alertname"], row["group"]))

    # ------------------------------------------------------------ inside

    def _by_line(self, entry: Entry, alertname: str = "") -> dict[Line, list[Outcome]]:
        try:
            groups = {name: groups_of(entry, host) for name, host in self.hosts().items()}
        except InventoryError:
            return {}  # told elsewhere; nothing is proposed, and nothing that is promoted holds
        found: dict[Line, list[Outcome]] = {}
        for outcome in self.store.earning.outcomes(entry.id, alertname):
            for line in autonomy.lines_of(outcome, groups):
                found.setdefault(line, []).append(outcome)
        return found

    def _digest(self, entry: Entry) -> str:
        try:
            return str(self.plays.snapshot(entry).digest)
        except ExecutionError:
            return ""  # no play has this digest

    def _write(self, before: Standing | None, after: Standing) -> None:
        with self.store.db.transaction():
            self.store.db.lock("autonomy")
            if self.store.earning.standings().get(after.line) == before:  # else somebody was faster
                self._put(before, after)

    def _put(self, before: Standing | None, after: Standing) -> None:
        line = after.line
        told = {"alertname": line.alertname, "entry": line.entry, "group": line.group, "digest": after.digest}
        told |= {"from": str(before.level) if before else "", "why": after.why}
        self.store.earning.put(after)
        self.store.chain.append("system", Happening(f"autonomy.{after.level}", after.by, told))


def groups_of(entry: Entry, host: Host) -> tuple[str, ...]:
    """Return the groups of a host that an entry asks for; `all` where it asks for none."""
    if not entry.targets.groups:
        return (EVERYWHERE,)
    return tuple(group for group in entry.targets.groups if group in host.groups)
