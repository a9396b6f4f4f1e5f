"""Users, tokens, admissions and flags in the database. Secrets are stored as hashes only."""

from __future__ import annotations

import hashlib
import json
import secrets
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from orchestrator.errors import Conflict, InvalidRequest, NotFound
from orchestrator.model import Actor, Role
from orchestrator.store.chain import moment
from orchestrator.store.database import Database

MINIMUM_PASSWORD = 8
LONGEST_NAME = 64
USED_EVERY_MS = 60_000
"""How exactly a token's last use is kept."""


class People:
    """Who may do what."""

    def __init__(self, db: Database) -> None:
        self._db, self._t = db, db.tables
        self._hasher = PasswordHasher()
        self._nobody = self._hasher.hash(secrets.token_hex(16))

    # ------------------------------------------------------------ users

    def create_user(self, name: str, password: str, role: Role, groups: tuple[str, ...]) -> None:
        """Add a user.

        Raises:
            InvalidRequest: the name or the password will not do.
            Conflict: the name is taken.
        """
        self._check(name, password)
        with self._db.transaction():
            if self._t.user.get_or_none(self._t.user.name == name):
                raise Conflict(f"there is a user {name!r} already")
            self._t.user.create(
                name=name,
                password=self._hasher.hash(password),
                role=str(role),
                groups=json.dumps(list(groups)),
                created_at=self._db.now_ms(),
            )

    def set_password(self, name: str, password: str) -> None:
        """Change a user's password."""
        self._check(name, password)
        with self._db.transaction():
            if not self._t.user.update(password=self._hasher.hash(password)).where(self._t.user.name == name).execute():
                raise NotFound(f"there is no user {name!r}")

    def login(self, name: str, password: str) -> Actor | None:
        """Return the user of a name and password, or None; takes as long for an unknown name."""
        with self._db.reading():
            row = self._t.user.get_or_none(self._t.user.name == name)
        try:
            self._hasher.verify(row.password if row and row.password else self._nobody, password)
        except (VerificationError, InvalidHashError):
            return None
        return self._user(row) if row and row.password and not row.disabled else None

    def user(self, name: str) -> Actor | None:
        """Return a user by name, None where there is none or the account is off."""
        with self._db.reading():
            row = self._t.user.get_or_none(self._t.user.name == name)
        return self._user(row) if row and not row.disabled else None

    def known(self, name: str) -> bool:
        """Whether there is such an account, on or off."""
        with self._db.reading():
            return bool(self._t.user.select().where(self._t.user.name == name).exists())

    def users(self) -> list[Actor]:
        """Return all users by name, those whose account is off included."""
        with self._db.reading():
            return [self._user(row) for row in list(self._t.user.select().order_by(self._t.user.name))]

    def disabled(self) -> frozenset[str]:
        """Return the names of the accounts that are off."""
        with self._db.reading():
            return frozenset(row.name for row in list(self._t.user.select(self._t.user.name).where(self._t.user.disabled)))

    def change(self, name: str, *, role: Role | None = None, groups: tuple[str, ...] | None = None, disabled: bool | None = None) -> None:
        """Change what a user may do.

        Raises:
            NotFound: there is no such user.
        """
        values: dict[str, Any] = {}
        if role is not None:
            values["role"] = str(role)
        if groups is not None:
            values["groups"] = json.dumps(list(groups))
        if disabled is not None:
            values["disabled"] = disabled
        with self._db.transaction():
            if not self._t.user.update(**values).where(self._t.user.name == name).execute():
                raise NotFound(f"there is no user {name!r}")

    def name_of(self, subject: str) -> str:
        """Return what somebody whom a provider vouches for is called here, an empty string for a stranger."""
        with self._db.reading():
            row = self._t.user.get_or_none(self._t.user.subject == subject) if subject else None
        return row.name if row else ""

    def from_provider(self, subject: str, name: str, role: Role, groups: tuple[str, ...]) -> Actor | None:
        """Return the user whom an identity provider vouches for, made or brought up to date; None where the account is off.

        Args:
            subject: issuer and subject there, which never change; a name may.
            name: what a new user is called here.
            role: what the provider's groups give now.
            groups: the approver groups that they give now.

        Raises:
            InvalidRequest: the name will not do.
            Conflict: the name belongs to another user, whom the provider does not vouch for.
        """
        self._check_name(name)
        table = self._t.user
        with self._db.transaction():
            self._db.lock(f"account:{subject}")
            row = table.get_or_none(table.subject == subject)
            if row is not None:
                table.update(role=str(role), groups=json.dumps(list(groups))).where(table.name == row.name).execute()
                return None if row.disabled else Actor(row.name, role, groups)
            if table.get_or_none(table.name == name):
                raise Conflict(f"the name {name!r} belongs to another account here")
            table.create(
                name=name, password="", role=str(role), groups=json.dumps(list(groups)), subject=subject, created_at=self._db.now_ms()
            )
        return Actor(name, role, groups)

    @staticmethod
    def _user(row: Any) -> Actor:
        return Actor(row.name, Role(row.role), tuple(json.loads(row.groups)))

    @staticmethod
    def _check_name(name: str) -> None:
        if not name or len(name) > LONGEST_NAME or not name.isprintable():
            raise InvalidRequest(f"name: 1 to {LONGEST_NAME} printable characters are needed")

    @classmethod
    def _check(cls, name: str, password: str) -> None:
        cls._check_name(name)
        if len(password) < MINIMUM_PASSWORD:
            raise InvalidRequest(f"password: at least {MINIMUM_PASSWORD} characters are needed")

    # ------------------------------------------------------------ tokens

    def create_token(self, name: str, role: Role, secret: str = "") -> str:
        """Store the hash of a new token and return its secret, which is shown once."""
        secret = secret or f"ro_{secrets.token_urlsafe(32)}"
        with self._db.transaction():
            if self._t.token.get_or_none(self._t.token.name == name):
                raise Conflict(f"there is a token {name!r} already")
            self._t.token.create(name=name, role=str(role), hash=_hash(secret), created_at=self._db.now_ms())
        return secret

    def put_token(self, name: str, role: Role, secret: str) -> None:
        """Make sure that this secret is the token of that name."""
        with self._db.transaction():
            self._db.lock("token")
            row = self._t.token.get_or_none(self._t.token.name == name)
            if row is None:
                self._t.token.create(name=name, role=str(role), hash=_hash(secret), created_at=self._db.now_ms())
            elif row.hash != _hash(secret):
                self._t.token.update(hash=_hash(secret), role=str(role), revoked=False).where(self._t.token.name == name).execute()

    def token_actor(self, secret: str) -> Actor | None:
        """Return whom a token stands for, or None."""
        with self._db.reading():
            row = self._t.token.get_or_none(self._t.token.hash == _hash(secret))
        if row is None or row.revoked:
            return None
        now = self._db.now_ms()
        if now - (row.last_used_at or 0) > USED_EVERY_MS:
            with self._db.transaction():
                self._t.token.update(last_used_at=now).where(self._t.token.name == row.name).execute()
        return Actor(row.name, Role(row.role))

    def tokens(self) -> list[dict[str, Any]]:
        """Return all tokens, without their secrets."""
        with self._db.reading():
            return [
                {
                    "name": row.name,
                    "role": row.role,
                    "created_at": moment(row.created_at),
                    "last_used_at": moment(row.last_used_at) if row.last_used_at else None,
                    "revoked": row.revoked,
                }
                for row in list(self._t.token.select().order_by(self._t.token.name))
            ]

    def revoke_token(self, name: str) -> None:
        """Make a token worthless."""
        with self._db.transaction():
            if not self._t.token.update(revoked=True).where(self._t.token.name == name).execute():
                raise NotFound(f"there is no token {name!r}")

    # ------------------------------------------------------------ admissions and flags

    def admit(self, entry: str, digest: str, by: str) -> None:
        """Let an entry at this digest run without a person, in the caller's transaction."""
        self._t.admission.insert(entry=entry, digest=digest, by=by, at=self._db.now_ms()).on_conflict_ignore().execute()

    def admitted(self, entry: str, digest: str) -> bool:
        """Whether an admin has admitted this digest."""
        table = self._t.admission
        with self._db.reading():
            return bool(table.select().where(table.entry == entry, table.digest == digest).exists())

    def set_flag(self, name: str, value: str) -> None:
        """Set a named value."""
        table = self._t.flag
        with self._db.transaction():
            now = self._db.now_ms()
            table.insert(name=name, value=value, at=now).on_conflict(
                conflict_target=[table.name], update={"value": value, "at": now}
            ).execute()

    def first_flag(self, name: str, value: str) -> str:
        """Set a named value unless it is set; return what it is, the same for every machine that asks."""
        table = self._t.flag
        with self._db.transaction():
            table.insert(name=name, value=value, at=self._db.now_ms()).on_conflict_ignore().execute()
        return self.flag(name)

    def flag(self, name: str) -> str:
        """Return a named value, or an empty string."""
        with self._db.reading():
            row = self._t.flag.get_or_none(self._t.flag.name == name)
        return row.value if row else ""

    def fresh_flags(self, prefix: str, within_s: float) -> dict[str, str]:
        """Return the named values that start with `prefix` and were set within the last seconds."""
        table = self._t.flag
        with self._db.reading():
            since = self._db.now_ms() - int(within_s * 1000)
            return {row.name: row.value for row in list(table.select().where(table.name.startswith(prefix), table.at >= since))}

    def flag_age_s(self, name: str) -> float:
        """Return how many seconds ago a named value was set; 0 where there is none."""
        with self._db.reading():
            row = self._t.flag.get_or_none(self._t.flag.name == name)
        return (self._db.now_ms() - row.at) / 1000 if row else 0.0

    def use_once(self, name: str) -> bool:
        """Mark a name as used; True for the one caller that did."""
        table = self._t.flag
        with self._db.transaction():
            self._db.lock(f"flag:{name}")
            if table.get_or_none(table.name == name):
                return False
            table.insert(name=name, value="used", at=self._db.now_ms()).execute()
        return True

    def forget_flags(self, prefix: str, older_s: float) -> None:
        """Remove the named values whose name begins with `prefix` and that are older."""
        table = self._t.flag
        with self._db.transaction():
            table.delete().where(table.name.startswith(prefix), table.at < self._db.now_ms() - int(older_s * 1000)).execute()

    def take_flag(self, name: str, value: str) -> bool:
        """Remove a named value if it is this one; True for the one caller that did."""
        table = self._t.flag
        with self._db.transaction():
            return bool(table.delete().where(table.name == name, table.value == value).execute())


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
