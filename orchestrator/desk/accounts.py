"""Who may do what: users and tokens."""

from __future__ import annotations

from typing import Any

from orchestrator.desk.chatting import Chatting
from orchestrator.desk.signing_in import RANK
from orchestrator.errors import Forbidden
from orchestrator.model import Actor, Happening, Role


class Accounts(Chatting):
    """Users and tokens, and what a role is enough for."""

    def token_actor(self, secret: str) -> Actor | None:
        """Return whom a bearer token stands for, or None."""
        return self.store.people.token_actor(secret)

    def user_actor(self, name: str) -> Actor | None:
        """Return a user, None where there is none or the account is off."""
        return self.store.people.user(name)

    def create_user(self, name: str, password: str, role: Role, groups: tuple[str, ...] = ()) -> None:
        """Add a user."""
        self.store.people.create_user(name, password, role, groups)
        self.note(Happening("user.created", data={"name": name, "role": role, "groups": list(groups)}))

    def users(self) -> list[Actor]:
        """Return all users, those whose account is off included."""
        return self.store.people.users()

    def disabled_users(self) -> frozenset[str]:
        """Return the names of the accounts that are off."""
        return self.store.people.disabled()

    def set_password(self, name: str, password: str, *, keep: str = "", by: str = "engine") -> int:
        """Change a user's password and end the user's sessions; return how many were ended.

        Args:
            name: the user.
            password: the new one.
            keep: secret of the session that goes on: the one it was changed in.
            by: who changed it.
        """
        with self.store.db.transaction():
            self.store.people.set_password(name, password)
            ended = self.close_sessions(name, but=keep)
            self.note(Happening("user.password_changed", by, {"name": name, "sessions_ended": ended}))
        return ended

    def set_role(self, name: str, role: Role) -> None:
        """Change a user's role, at once."""
        self._change("user.role_changed", name, {"role": role}, role=role)

    def set_groups(self, name: str, groups: tuple[str, ...]) -> None:
        """Change a user's approver groups, at once."""
        self._change("user.groups_changed", name, {"groups": list(groups)}, groups=groups)

    def disable_user(self, name: str) -> int:
        """Switch an account off and end its sessions; return how many were ended."""
        with self.store.db.transaction():
            self._change("user.disabled", name, {}, disabled=True)
            return self.close_sessions(name)

    def enable_user(self, name: str) -> None:
        """Switch an account on again."""
        self._change("user.enabled", name, {}, disabled=False)

    def _change(self, kind: str, name: str, data: dict[str, Any], **values: Any) -> None:
        with self.store.db.transaction():
            self.store.people.change(name, **values)
            self.note(Happening(kind, data={"name": name, **data}))

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

    @staticmethod
    def _require(actor: Actor, role: Role) -> None:
        if RANK[actor.role] < RANK[role]:
            raise Forbidden(f"{actor.name} is {actor.role}; this needs {role}")
