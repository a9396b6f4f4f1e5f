"""What an answer is bound to: the pieces that a digest covers, whether they still hold, and which standing grant answers."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from orchestrator import approval, policy
from orchestrator.inventory import Inventory
from orchestrator.model import (
    Catalogue,
    Covered,
    Effect,
    Entry,
    Happening,
    Host,
    Incident,
    Risk,
    StandingGrant,
    StandingState,
    Verdict,
)
from orchestrator.store import Store

DIGITS = 16
"""Hex digits of the hash of one piece; the digest itself is whole."""
SYSTEM = "system"


class Snapshots(Protocol):
    """The part of `execute` that this needs."""

    def snapshot(self, entry: Entry) -> Any: ...  # noqa: D102 - told there
    def hosts_digest(self, hosts: Sequence[Host], key: bytes) -> str: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Binding:
    """Looks at the world as an answer covers it.

    Args are the parts that `app.build` made; `key` is the secret of the hashes over hosts' variables.
    """

    store: Store
    plays: Snapshots
    catalogue: Callable[[], Catalogue]
    inventory: Callable[[], Inventory]
    key: bytes

    def covered(self, incident: Incident) -> Covered:
        """Return what the digest of an incident's proposal covers, piece by piece; empty where there is nothing to run.

        Raises:
            ExecutionError: the entry's files cannot be read.
            InventoryError: the inventory cannot be read.
        """
        proposal = incident.proposal
        entry = self.catalogue().entries.get(proposal.entry) if proposal else None
        if proposal is None or entry is None:
            return Covered()
        return Covered(
            files=_hashes(Path(self.plays.snapshot(entry).path)),
            variables={host.name: self._variables(host) for host in self._hosts(proposal.hosts)},
            labels=dict(incident.alert.labels),
            parameters=dict(proposal.parameters),
        )

    def differences(self, incident: Incident, shown: Covered) -> list[str]:
        """Return what differs between what was shown and what is there now, in plain words."""
        return approval.changes(shown, self.covered(incident)) if shown != Covered() else []

    def host_hashes(self, names: Iterable[str]) -> dict[str, str]:
        """Return host → keyed hash of its resolved variables; hosts that are not in the inventory are left out."""
        return {host.name: self.plays.hosts_digest([host], self.key) for host in self._hosts(names)}

    def _hosts(self, names: Iterable[str]) -> list[Host]:
        known = self.inventory().hosts
        return [known[name] for name in names if name in known]

    def _variables(self, host: Host) -> Mapping[str, str]:
        return {name: self._keyed(host.name, name, value) for name, value in host.variables.items()}

    def _keyed(self, *pieces: object) -> str:
        text = json.dumps(pieces, sort_keys=True, default=repr)
        return hmac.new(self.key, text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:DIGITS]

    # ------------------------------------------------------------ the check run

    def stale(self, incident: Incident) -> bool | None:
        """Return whether another run changed a host of the check run while it ran or since; None: it is being changed now."""
        check, proposal = incident.check, incident.proposal
        if check is None or proposal is None or check.started_at is None:
            return False
        if any(owner != incident.id for owner in self.store.track.locks(proposal.hosts).values()):
            return None
        return bool(self.store.track.touched_since(proposal.hosts, int(check.started_at.timestamp() * 1000), incident.id))

    # ------------------------------------------------------------ standing grants

    def standing(self, incident: Incident, verdict: Verdict) -> StandingGrant | None:
        """Return the standing grant that answers for people, None where a person has to; one whose entry changed becomes void."""
        proposal = incident.proposal
        entry = self.catalogue().entries.get(proposal.entry) if proposal else None
        if proposal is None or entry is None:
            return None
        in_force = self.refresh(self.store.standing.active(entry.id))
        if not policy.may_mint(verdict):
            return None
        return next((one for one in in_force if not self._not_covered(one, incident, entry)), None)

    def standing_holds(self, incident: Incident, verdict: Verdict) -> bool:
        """Return whether the standing grant that an incident's grant came from still answers, with the world as it is now."""
        proposal, grant = incident.proposal, incident.grant
        entry = self.catalogue().entries.get(proposal.entry) if proposal else None
        if proposal is None or grant is None or entry is None or not (verdict.effect is Effect.ALLOW or policy.may_mint(verdict)):
            return False
        found = self.store.standing.get(grant.standing)
        if found.state is StandingState.USED_UP:
            found = replace(found, state=StandingState.ACTIVE, used=found.max_runs - 1)  # this run is the one that used it up
        return not self._not_covered(found, incident, entry)

    def refresh(self, grants: Sequence[StandingGrant]) -> list[StandingGrant]:
        """Return the grants that still hold, and make void those whose entry is not what it was."""
        entries = self.catalogue().entries
        digests = {name: str(self.plays.snapshot(entries[name]).digest) for name in {one.entry for one in grants} if name in entries}
        for grant in grants:
            if digests.get(grant.entry) != grant.digest:
                gone = grant.entry not in digests
                self._make_void(grant, "gone from the catalogue, or broken" if gone else "not what it was when the grant was given")
        return [grant for grant in grants if digests.get(grant.entry) == grant.digest]

    def _not_covered(self, grant: StandingGrant, incident: Incident, entry: Entry) -> str:
        proposal = incident.proposal
        if proposal is None:
            return "there is no proposal"
        return policy.not_covered(
            grant,
            proposal,
            incident.alert,
            str(self.plays.snapshot(entry).digest),
            self.host_hashes(proposal.hosts),
            people_needed(entry),
            self.store.db.now(),
        )

    def _make_void(self, grant: StandingGrant, why: str) -> None:
        words = f"{grant.entry} is {why}."
        with self.store.db.transaction():
            now = self.store.db.now()

            def end(before: StandingGrant) -> StandingGrant:
                if before.state not in (StandingState.ACTIVE, StandingState.WAITING):
                    return before
                return replace(before, state=StandingState.VOID, ended_at=now, ended_why=words)

            self.store.chain.lock(SYSTEM)
            if self.store.standing.change(grant.id, end).ended_at == now:
                data = {"grant": grant.id, "entry": grant.entry, "why": words, "used": grant.used, "most": grant.max_runs}
                self.store.chain.append(SYSTEM, Happening("standing.void", data=data))


def people_needed(entry: Entry) -> int:
    """Return how many different people an entry's risk asks for."""
    return 2 if entry.risk is Risk.HIGH else 1


def _hashes(folder: Path) -> dict[str, str]:
    """Return file below a snapshot → hash of its content."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()[:DIGITS] for path in files}
