"""Who calls: a bearer token for programs, a session cookie with a CSRF token for people."""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlsplit

from flask import g, request, session

from orchestrator.errors import Forbidden, NotAuthenticated
from orchestrator.model import Actor, Role
from orchestrator.web.asking import facade

_RANK = {Role.WEBHOOK: 0, Role.VIEWER: 1, Role.APPROVER: 2, Role.ADMIN: 3}


def allows(have: Role, need: Role) -> bool:
    """Return whether the role `have` may do what needs the role `need`; posting alerts is for `webhook` and `admin` only."""
    if need is Role.WEBHOOK:
        return have in (Role.WEBHOOK, Role.ADMIN)
    return _RANK[have] >= _RANK[need]


def token_actor() -> Actor | None:
    """Return the actor of the request's bearer token; None where it carries no such header.

    Raises:
        NotAuthenticated: there is a header, but no valid token in it.
    """
    header = request.headers.get("Authorization", "")
    if not header:
        return None
    scheme, _, secret = header.partition(" ")
    secret = secret.strip()
    actor = facade().token_actor(secret) if scheme.lower() == "bearer" and secret else None
    if actor is None:
        raise NotAuthenticated("The token is unknown or revoked. Mend: send Authorization: Bearer with a valid token.")
    return replace(actor, via=actor.via or "api")


def session_actor() -> Actor | None:
    """Return the person of the session cookie, or None; programs that poll with it do not keep it alive."""
    secret = session.get("sid", "")
    known = facade().session_actor(secret, touch=not request.path.startswith("/api/")) if isinstance(secret, str) and secret else None
    return replace(known, via="page") if known else None


def require(need: Role) -> Actor:
    """Return who calls the API, if they may do what needs the role `need`.

    A session cookie is taken for reading only: what changes something needs a bearer token or a page's form.

    Raises:
        NotAuthenticated: no token or session, or an unknown one.
        Forbidden: known, but the role is too small.
    """
    actor = token_actor()
    if actor is None and request.method in ("GET", "HEAD"):
        actor = session_actor()
    if actor is None:
        raise NotAuthenticated("This needs a token. Mend: send Authorization: Bearer with one (`orchestrator token create`).")
    return remember(actor, need)


def remember(actor: Actor, need: Role) -> Actor:
    """Keep the actor for this request.

    Raises:
        Forbidden: the role is too small for `need`.
    """
    if not allows(actor.role, need):
        raise Forbidden(f"The role {actor.role} of {actor.name} may not do this; it needs {need}.")
    g.actor = actor
    return actor


def me() -> Actor:
    """Return the actor that this request has been let in with."""
    return cast("Actor", g.actor)


def local_caller() -> bool:
    """Return whether the caller sits on this machine and no proxy passed the request on."""
    if "X-Forwarded-For" in request.headers or "Forwarded" in request.headers:
        return False
    try:
        return ipaddress.ip_address(request.remote_addr or "").is_loopback
    except ValueError:
        return False


def csrf_token() -> str:
    """Return this session's CSRF token, made at first use."""
    if "csrf" not in session:
        session["csrf"] = secrets.token_urlsafe(32)
    return str(session["csrf"])


def check_csrf() -> None:
    """Check the form's token against the session's.

    Raises:
        Forbidden: it is missing or differs.
    """
    sent = request.form.get("csrf", "").encode("utf-8", "replace")
    if not hmac.compare_digest(sent, str(session.get("csrf", "")).encode()) or not sent:
        raise Forbidden("The form is too old or does not come from this site. Mend: go back, reload the page and send it again.")


def start_session(actor: Actor, way: str) -> None:
    """Begin a new session for `actor`: nothing of the one before login stays, neither its secret nor its CSRF token.

    Args:
        actor: who has just come in.
        way: `password`, `oidc` or `link`.
    """
    end_session()
    session["sid"] = facade().open_session(actor, way)
    session.permanent = True
    csrf_token()


def end_session() -> None:
    """End the session for good: a copy of its cookie is worth nothing from now on."""
    secret = session.get("sid", "")
    session.clear()
    if isinstance(secret, str) and secret:
        facade().close_session(secret)


def ways() -> dict[str, Any]:
    """Return how people may sign in: `passwords` (bool) and `oidc`, what its button says, empty where it is off."""
    rules = facade().settings
    return {"passwords": rules.login.passwords, "oidc": rules.oidc.label if rules.oidc.issuer else ""}


def local_path(target: str) -> str:
    """Return `target` if it is a path on this site, else `/`."""
    parts = urlsplit(target) if target.isprintable() else None
    if parts is None or parts.scheme or parts.netloc or not target.startswith("/") or target.startswith(("//", "/\\")):
        return "/"
    return target
