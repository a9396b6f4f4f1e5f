"""How people come in: passwords with a throttle, an identity provider's word, the first admin link, and their sessions."""

from __future__ import annotations

import secrets
import threading
import time

from orchestrator import audit
from orchestrator.data_folder import DataFolder
from orchestrator.errors import Conflict, Forbidden, InvalidRequest
from orchestrator.model import Actor, Happening, Role
from orchestrator.settings import Settings
from orchestrator.store import Store

RANK = {Role.WEBHOOK: 0, Role.VIEWER: 1, Role.APPROVER: 2, Role.ADMIN: 3}
THROTTLE_AFTER = 5
"""Wrong passwords for one name after which it is left alone for a while."""
THROTTLE_ADDRESS_AFTER = 20
"""The same for one address: many people may sit behind it."""
THROTTLE_S = 60.0
FIRST_ADMIN = "admin"
"""Who comes in by the first start's link."""


class SigningIn:
    """Who comes in, and how long they stay."""

    settings: Settings
    store: Store
    data: DataFolder
    _failures: dict[str, list[float]]
    _failures_lock: threading.Lock

    # ------------------------------------------------------------ ways in

    def login(self, name: str, password: str, address: str) -> Actor | None:
        """Return the user of a name and password, or None where they are wrong.

        Raises:
            Forbidden: passwords are off, or too many wrong tries for this name or address a moment ago.
        """
        if not self.settings.login.passwords:
            raise Forbidden("signing in with a password is off here (login.passwords)")
        limits = {f"name:{name[:64]}": THROTTLE_AFTER, f"address:{address}": THROTTLE_ADDRESS_AFTER}
        if any(self._recent_failures(key) >= most for key, most in limits.items()):
            raise Forbidden(f"too many wrong passwords; try again in {THROTTLE_S:.0f} seconds")
        actor = self.store.people.login(name, password)
        if actor is None:
            with self._failures_lock:
                for key in limits:
                    self._failures.setdefault(key, []).append(time.monotonic())
        self.note(Happening("user.login" if actor else "user.login_failed", name[:64] or "-", {"address": address, "way": "password"}))
        return actor

    def _recent_failures(self, key: str) -> int:
        with self._failures_lock:
            recent = [at for at in self._failures.get(key, []) if time.monotonic() - at < THROTTLE_S]
            if recent:
                self._failures[key] = recent
            else:
                self._failures.pop(key, None)
            return len(recent)

    def provider_login(self, subject: str, name: str, groups: tuple[str, ...], address: str) -> Actor:
        """Return the user whom the identity provider vouches for, with the role and groups that it gives now.

        Args:
            subject: the provider's issuer and its own name for the person.
            name: what the person is called here.
            groups: the person's groups there.
            address: where the person comes from.

        Raises:
            Forbidden: no group gives a role, the account is off, or the name belongs to somebody else here.
        """
        role = self._role_of(groups)
        given = self.settings.oidc.groups
        ours = tuple(dict.fromkeys(given[one] for one in groups if one in given)) if given else groups
        if role is None:
            self._demote(subject)
            raise self._refused(name, address, "none of your groups gives a role here. Mend: ask an admin to map one in oidc.roles.")
        try:
            actor = self.store.people.from_provider(subject, name, role, ours)
        except (Conflict, InvalidRequest) as error:
            raise self._refused(name, address, f"{error}. Mend: ask an admin to rename one of them.") from error
        if actor is None:
            raise self._refused(name, address, "this account is off. Mend: ask an admin.")
        self.note(Happening("user.login", actor.name, {"address": address, "way": "oidc", "role": role, "groups": list(ours)}))
        return actor

    def _refused(self, name: str, address: str, why: str) -> Forbidden:
        self.note(Happening("user.login_failed", name[:64] or "-", {"address": address, "way": "oidc", "why": why}))
        return Forbidden(why)

    def _demote(self, subject: str) -> None:
        """Take away what a provider gave before and gives no longer: sessions, and what chat acts by."""
        name = self.store.people.name_of(subject)
        if name:
            self.store.people.change(name, role=Role.VIEWER, groups=())
            self.close_sessions(name)

    def _role_of(self, groups: tuple[str, ...]) -> Role | None:
        rules = self.settings.oidc
        found = [Role(rules.roles[one]) for one in groups if one in rules.roles]
        if rules.default_role:
            found.append(Role(rules.default_role))
        return max(found, key=lambda role: RANK[role], default=None)

    def admin_link(self) -> str:
        """Return the code of the first admin link, an empty string once it was used; one that is too old is replaced."""
        code = self.store.people.flag("admin_link")
        if code and self._is_link_old():
            code = secrets.token_urlsafe(24)
            self.store.people.set_flag("admin_link", code)
        return code

    def redeem_link(self, code: str) -> Actor | None:
        """Use the single-use admin link up; None where it is not this one, used or too old."""
        if not code or self._is_link_old() or not self.store.people.take_flag("admin_link", code):
            return None
        self.note(Happening("user.link_redeemed", FIRST_ADMIN))
        return Actor(FIRST_ADMIN, Role.ADMIN)

    def _is_link_old(self) -> bool:
        return self.store.people.flag_age_s("admin_link") > self.settings.login.first_link_s

    # ------------------------------------------------------------ sessions

    def open_session(self, actor: Actor, way: str) -> str:
        """Begin a session of somebody who has just come in by `way` (`password`, `oidc`, `link`); return its secret."""
        return self.store.sessions.open(actor.name, way)

    def session_actor(self, secret: str, *, touch: bool = True) -> Actor | None:
        """Return whose session it is, as the account stands now; None where the session or the account is over.

        Args:
            secret: what the cookie holds.
            touch: whether this is a use by a person.
        """
        rules = self.settings.login
        found = self.store.sessions.user(secret, idle_s=rules.idle_s, life_s=rules.session_s, touch=touch)
        if found is None:
            return None
        name, way = found
        if way == "link":
            return None if self.store.people.known(FIRST_ADMIN) else Actor(FIRST_ADMIN, Role.ADMIN)
        return self.store.people.user(name)

    def close_session(self, secret: str) -> None:
        """End a session."""
        self.store.sessions.close(secret)

    def close_sessions(self, name: str, *, but: str = "") -> int:
        """End every session of a user except the one with the secret `but`; return how many."""
        return self.store.sessions.close_all(name, but=but)

    def use_once(self, name: str) -> bool:
        """Mark something that works once as used; True for the one caller that did."""
        return self.store.people.use_once(f"used:{name}")

    def was_used(self, name: str) -> bool:
        """Whether something that works once has been used."""
        return bool(self.store.people.flag(f"used:{name}"))

    def session_key(self) -> bytes:
        """Return the secret that signs cookies and links; machines that share a database share it."""
        own = self.data.secret("session.key")
        return (own if self.store.db.is_sqlite else self.store.people.first_flag("session_key", own)).encode()

    # ------------------------------------------------------------ record

    def note(self, happening: Happening) -> None:
        """Put something that belongs to no incident on record."""
        with self.store.db.transaction():
            event = self.store.chain.append(audit.SYSTEM, happening)
            self.store.outbox.add(event, "critical")
