"""Standing grants in the database: given, confirmed, counted down, taken back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter

from orchestrator.errors import NotFound
from orchestrator.model import StandingGrant, StandingState
from orchestrator.store.database import Database

STANDING: TypeAdapter[StandingGrant] = TypeAdapter(StandingGrant)


class Standing:
    """Grants that mint grants; the counter is a column, so that two workers can never mint more than there are."""

    def __init__(self, db: Database) -> None:
        self._db, self._t = db, db.tables

    def add(self, grant: StandingGrant) -> None:
        """Store a new one, in the caller's transaction."""
        self._t.standing_grant.create(id=grant.id, created_at=_ms(grant.created_at), **_columns(grant))

    def get(self, identity: str) -> StandingGrant:
        """Return one, as it stands now.

        Raises:
            NotFound: there is none of that id.
        """
        with self._db.reading():
            row = self._t.standing_grant.get_or_none(self._t.standing_grant.id == identity)
            if row is None:
                raise NotFound(f"there is no standing grant {identity!r}")
            return _grant(row, self._db.now_ms())

    def find(
        self, *, entry: str = "", state: Sequence[StandingState] = (), limit: int = 100, cursor: str = ""
    ) -> tuple[list[StandingGrant], str]:
        """Return a page of them, newest first, and the cursor of the next page."""
        table = self._t.standing_grant
        query = table.select()
        if entry:
            query = query.where(table.entry == entry)
        if cursor:
            query = query.where(table.id < cursor)
        with self._db.reading():
            now = self._db.now_ms()
            if state:
                query = query.where(self._in_state(state, now))
            rows = list(query.order_by(table.id.desc()).limit(limit + 1))
        return [_grant(row, now) for row in rows[:limit]], rows[limit - 1].id if len(rows) > limit else ""

    def _in_state(self, state: Sequence[StandingState], now: int) -> Any:
        """Return the condition that a grant is in one of these states now; time and counter decide about the open ones."""
        table = self._t.standing_grant
        open_row = table.state.in_([str(StandingState.ACTIVE), str(StandingState.WAITING)])
        left = table.used < table.max_runs
        found = table.state.in_([str(one) for one in state if one in (StandingState.REVOKED, StandingState.VOID)])
        for one in state:
            match one:
                case StandingState.ACTIVE | StandingState.WAITING:
                    found |= (table.state == str(one)) & (table.until > now) & left
                case StandingState.USED_UP:
                    found |= open_row & ~left
                case StandingState.EXPIRED:
                    found |= open_row & (table.until <= now) & left
                case StandingState.REVOKED | StandingState.VOID:
                    pass
        return found

    def active(self, entry: str) -> list[StandingGrant]:
        """Return those of an entry that may mint now, the one that ends first before the others."""
        found, _ = self.find(entry=entry, state=(StandingState.ACTIVE,), limit=1000)
        return sorted(found, key=lambda grant: (grant.until, grant.id))

    def change(self, identity: str, change: Callable[[StandingGrant], StandingGrant]) -> StandingGrant:
        """Change one under a lock, in the caller's transaction; the counter is not written.

        Raises:
            NotFound: there is none of that id.
        """
        table = self._t.standing_grant
        query = table.select().where(table.id == identity)
        row = (query if self._db.is_sqlite else query.for_update()).first()
        if row is None:
            raise NotFound(f"there is no standing grant {identity!r}")
        after = change(_grant(row, self._db.now_ms()))
        values = _columns(after)
        values.pop("used")
        table.update(**values).where(table.id == identity).execute()
        return after

    def mint(self, identity: str) -> bool:
        """Count one run down, in the caller's transaction; False where the grant is used up, over or taken back."""
        table = self._t.standing_grant
        query = table.update(used=table.used + 1).where(
            table.id == identity,
            table.state == str(StandingState.ACTIVE),
            table.used < table.max_runs,
            table.until > self._db.now_ms(),
        )
        return bool(query.execute())

    def holds(self, identity: str) -> bool:
        """Whether what it minted may still begin: not taken back, not void, not over; asked in the caller's transaction."""
        table = self._t.standing_grant
        query = table.select(table.id).where(
            table.id == identity, table.state == str(StandingState.ACTIVE), table.until > self._db.now_ms()
        )
        return (query if self._db.is_sqlite else query.for_update()).first() is not None


def _columns(grant: StandingGrant) -> dict[str, Any]:
    return {
        "entry": grant.entry,
        "state": str(grant.state),
        "used": grant.used,
        "max_runs": grant.max_runs,
        "until": _ms(grant.until),
        "data": STANDING.dump_json(grant).decode(),
    }


def _grant(row: Any, now: int) -> StandingGrant:
    """Return a row as it stands at `now`: the counter and the time end a grant by themselves."""
    state = StandingState(row.state)
    if state in (StandingState.ACTIVE, StandingState.WAITING):
        if row.used >= row.max_runs:
            state = StandingState.USED_UP
        elif row.until <= now:
            state = StandingState.EXPIRED
    return replace(STANDING.validate_json(row.data), state=state, used=row.used)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
