"""Who may do what: users, tokens, the first admin link."""

from __future__ import annotations

import threading
import time
from typing import Any

from orchestrator import audit
from orchestrator.data_folder import DataFolder
from orchestrator.errors import Forbidden
from orchestrator.model import Actor, Happening, Role
from orchestrator.store import Store

RANK = {Role.WEBHOOK: 0, Role.VIEWER: 1, Role.APPROVER: 2, Role.ADMIN: 3}
THROTTLE_AFTER = 5
THROTTLE_S = 60.0


class Accounts:
    """Users and tokens, and what a role is enough for."""

    store: Store
    data: DataFolder
    _failures: dict[str, list[float]]
    _failures_lock: threading.Lock

    def token_actor(self, secret: str) -> Actor | None:
        """Return whom a bearer token stands for, or None."""
        return self.store.people.token_actor(secret)

    def login(self, name: str, password: str, address: str) -> Actor | None:
        """Return the user of a name and password, or None where they are wrong.

        Raises:
            Forbidden: too many wrong tries for this name or address a moment ago.
        """
        keys = (f"name:{name}", f"address:{address}")
        if any(self._recent_failures(key) >= THROTTLE_AFTER for key in keys):
            raise Forbidden(f"too many wrong passwords; try again in {THROTTLE_S:.0f} seconds")
        actor = self.store.people.login(name, password)
        if actor is None:
            with self._failures_lock:
                for key in keys:
                    self._failures.setdefault(key, []).append(time.monotonic())
        self.note(Happening("user.login" if actor else "user.login_failed", name[:64] or "-", {"address": address}))
        return actor

    def _recent_failures(self, key: str) -> int:
        with self._failures_lock:
            recent = [at for at in self._failures.get(key, []) if time.monotonic() - at < THROTTLE_S]
            if recent:
                self._failures[key] = recent
            else:
                self._failures.pop(key, None)
            return len(recent)

    def user_actor(self, name: str) -> Actor | None:
        """Return a user, or None where the name is gone; the admin of the first link counts as one."""
        return Actor("admin", Role.ADMIN) if name == "admin" and not self.store.people.user(name) else self.store.people.user(name)

    def create_user(self, name: str, password: str, role: Role, groups: tuple[str, ...] = ()) -> None:
        """Add a user."""
        self.store.people.create_user(name, password, role, groups)
        self.note(Happening("user.created", data={"name": name, "role": role, "groups": list(groups)}))

    def users(self) -> list[Actor]:
        """Return all users."""
        return self.store.people.users()

    def set_password(self, name: str, password: str) -> None:
        """Change a user's password."""
        self.store.people.set_password(name, password)
        self.note(Happening("user.password_changed", data={"name": name}))

    def create_token(self, name: str, role: Role) -> str:
        """Make a token and return its secret, which is shown once."""
        secret = self.store.people.create_token(name, role)
        self.note(Happening("token.created", data={"name": name, "role": role}))
        return secret

    def tokens(self) -> list[dict[str, Any]]:
        """Return all tokens, without their secrets."""
        return self.store.people.tokens()

    def revoke_token(self, name: str) -> None:
        """Make a token worthless."""
        self.store.people.revoke_token(name)
        self.note(Happening("token.revoked", data={"name": name}))

    def admin_link(self) -> str:
        """Return the code of the first admin link, an empty string once it was used."""
        return self.store.people.flag("admin_link")

    def redeem_link(self, code: str) -> Actor | None:
        """Use the single-use admin link up."""
        if not code or not self.store.people.take_flag("admin_link", code):
            return None
        self.note(Happening("user.link_redeemed", "admin"))
        return Actor("admin", Role.ADMIN)

    def session_key(self) -> bytes:
        """Return the secret that signs sessions."""
        return self.data.secret("session.key").encode()

    def note(self, happening: Happening) -> None:
        """Put something that belongs to no incident on record."""
        with self.store.db.transaction():
            event = self.store.chain.append(audit.SYSTEM, happening)
            self.store.outbox.add(event, "critical")

    @staticmethod
    def _require(actor: Actor, role: Role) -> None:
        if RANK[actor.role] < RANK[role]:
            raise Forbidden(f"{actor.name} is {actor.role}; this needs {role}")
