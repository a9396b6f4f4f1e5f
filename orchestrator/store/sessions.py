"""Sessions of people in the database: a cookie holds a secret, the row its hash, so a session ends everywhere at once."""

from __future__ import annotations

import hashlib
import secrets

from orchestrator.store.database import Database

SEEN_EVERY_MS = 60_000
"""How exactly the last use of a session is kept."""


class Sessions:
    """Who is signed in, since when, and when they were last seen.

    Args:
        db: the database.
    """

    def __init__(self, db: Database) -> None:
        self._db, self._t = db, db.tables

    def open(self, user: str, way: str) -> str:
        """Begin a session and return its secret.

        Args:
            user: whose.
            way: `password`, `oidc` or `link`.
        """
        secret = secrets.token_urlsafe(32)
        with self._db.transaction():
            now = self._db.now_ms()
            self._t.session.create(id=_hash(secret), user=user, way=way, created_at=now, seen_at=now)
        return secret

    def user(self, secret: str, *, idle_s: float, life_s: float, touch: bool = True) -> tuple[str, str] | None:
        """Return whose session it is and how it began; None where there is none, or its time is over.

        Args:
            secret: what the cookie holds.
            idle_s: seconds without use after which it is over.
            life_s: seconds after which it is over in any case.
            touch: whether this is a use by a person.
        """
        with self._db.reading():
            row = self._t.session.get_or_none(self._t.session.id == _hash(secret))
        if row is None:
            return None
        now = self._db.now_ms()
        if now - row.created_at >= life_s * 1000 or now - row.seen_at >= idle_s * 1000:
            self.close(secret)
            return None
        if touch and now - row.seen_at > SEEN_EVERY_MS:
            with self._db.transaction():
                self._t.session.update(seen_at=now).where(self._t.session.id == row.id).execute()
        return row.user, row.way

    def close(self, secret: str) -> None:
        """End one session."""
        with self._db.transaction():
            self._t.session.delete().where(self._t.session.id == _hash(secret)).execute()

    def close_all(self, user: str, *, but: str = "") -> int:
        """End every session of a user except the one with the secret `but`; return how many."""
        table = self._t.session
        with self._db.transaction():
            return int(table.delete().where(table.user == user, table.id != (_hash(but) if but else "")).execute())

    def sweep(self, life_s: float) -> None:
        """Forget the sessions that are over."""
        table = self._t.session
        with self._db.transaction():
            table.delete().where(table.created_at < self._db.now_ms() - int(life_s * 1000)).execute()


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
