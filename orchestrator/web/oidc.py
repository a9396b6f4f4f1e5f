"""Sign-in at an OpenID Connect provider: authorization code with PKCE, by Authlib.

The provider is asked only when somebody signs in: while it is down, passwords, tokens and everything else go on.

Source: OpenID Connect Core 1.0, Discovery 1.0; RFC 7636 (PKCE), RFC 9207 (issuer in the answer).
"""

from __future__ import annotations

import hashlib
import logging
from typing import Any
from urllib.parse import urlsplit

from authlib.common.errors import AuthlibBaseError  # type: ignore[import-untyped]
from authlib.integrations.flask_client import OAuth  # type: ignore[import-untyped]
from flask import Blueprint, Flask, current_app, redirect, request, session
from joserfc.errors import JoseError
from requests import RequestException

from orchestrator.errors import Forbidden, NotFound, OrchestratorError, SettingsError, Unavailable
from orchestrator.settings import OidcSettings
from orchestrator.web import auth
from orchestrator.web.asking import facade, text
from orchestrator.web.frame import render
from orchestrator.web.problems import status_of

log = logging.getLogger(__name__)

routes = Blueprint("oidc", __name__)

CALLBACK = "/login/oidc/callback"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures that only the provider can make; `none` and those by a shared secret are no proof."""
LEEWAY_S = 60
_STATE = "_state_oidc_"
_STATES = 2
"""Sign-ins under way that a cookie has room for."""
_LONGEST_GROUPS = 1000


def register(app: Flask, rules: OidcSettings) -> None:
    """Hang the client of the provider on `app`; nothing is asked yet.

    Raises:
        SettingsError: issuer or client id will not do.
    """
    if not rules.issuer:
        return
    _check(rules)
    client_kwargs: dict[str, Any] = {
        "scope": " ".join(dict.fromkeys(("openid", *rules.scopes))),
        "code_challenge_method": "S256",
        "default_timeout": rules.timeout_s,
    }
    secret = rules.client_secret.get_secret_value()
    if not secret:
        client_kwargs["token_endpoint_auth_method"] = "none"  # noqa: S105 - a way, no secret
    app.extensions["oidc"] = OAuth(app).register(
        "oidc",
        client_id=rules.client_id,
        client_secret=secret or None,
        server_metadata_url=rules.issuer.rstrip("/") + "/.well-known/openid-configuration",
        client_kwargs=client_kwargs,
    )


def _check(rules: OidcSettings) -> None:
    parts = urlsplit(rules.issuer)
    problems = []
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost", "::1")):
        problems.append(f"oidc.issuer: {rules.issuer!r} is no https:// address. Mend: write the provider's issuer as it names itself.")
    if not rules.client_id:
        problems.append("oidc.client_id: is empty. Mend: register this program at the provider and write the id that it gives.")
    if problems:
        raise SettingsError(problems)


@routes.get("/login/oidc")
def start() -> Any:
    """Send the browser to the provider."""
    client, target = _client(), auth.local_path(text("next") or "/")
    with _asking("start"):
        _metadata(client)
        address = facade().settings.public_url() + CALLBACK
        hint = {"login_hint": text("hint")[:200]} if text("hint") else {}
        made = client.create_authorization_url(address, **hint)
        _make_room()
        client.save_authorize_data(redirect_uri=address, next=target, **made)
    return redirect(made["url"], 303)


@routes.get(CALLBACK)
def callback() -> Any:
    """Take the provider's answer: only what it signed for us, now, in answer to this browser's own question counts."""
    client, rules = _client(), facade().settings.oidc
    state = text("state")
    known = client.framework.get_state_data(session, state) if state else None
    if known is None:
        raise Forbidden("This answer belongs to no sign-in that was begun here. Mend: sign in again.")
    if not facade().use_once("oidc:" + hashlib.sha256(state.encode("utf-8", "replace")).hexdigest()):
        raise Forbidden("This answer has been used. Mend: sign in again.")
    if text("iss") and text("iss") != rules.issuer:
        raise Forbidden("This answer comes from another provider. Mend: sign in again.")
    with _asking("callback"):
        _metadata(client)
        token = client.authorize_access_token(claims_options=_expected(rules), leeway=LEEWAY_S)
        claims = _claims(client, token)
    name = str(claims.get(rules.name_claim) or claims.get("email") or claims["sub"])
    subject = f"{rules.issuer} {claims['sub']}"
    actor = facade().provider_login(subject, name, _groups(claims.get(rules.groups_claim)), request.remote_addr or "")
    auth.start_session(actor, "oidc")
    return redirect(auth.local_path(str(known.get("next") or "/")), 303)


@routes.errorhandler(Forbidden)
@routes.errorhandler(Unavailable)
def _refused(error: OrchestratorError) -> Any:
    """Say on the login page what went wrong: another way in may be open."""
    page = render("login.html", next="/", fault=str(error), ways=auth.ways(), hint="")
    page.status_code = status_of(error)
    return page


def _client() -> Any:
    client = current_app.extensions.get("oidc")
    if client is None:
        raise NotFound("Single sign-on is off. Mend: set oidc.issuer.")
    return client


def _expected(rules: OidcSettings) -> dict[str, Any]:
    return {"iss": {"essential": True, "value": rules.issuer}, "aud": {"essential": True, "value": rules.client_id}}


def _metadata(client: Any) -> None:
    """Have the provider's description loaded, and hold it to what the settings say.

    Raises:
        Forbidden: it speaks for another issuer, or signs in no way that we take.
    """
    found = client.load_server_metadata()
    if found.get("issuer") != facade().settings.oidc.issuer:
        said = str(found.get("issuer"))[:200]
        found.clear()  # asked anew next time
        raise Forbidden(f"The provider calls itself {said!r}, not what oidc.issuer says. Mend: correct the setting.")
    offered = found.get("id_token_signing_alg_values_supported") or ["RS256"]
    found["id_token_signing_alg_values_supported"] = [name for name in offered if name in ALGORITHMS]
    if not found["id_token_signing_alg_values_supported"]:
        raise Forbidden("The provider signs in no way that proves who signed. Mend: let it sign with RS256 or ES256.")
    ways = found.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    if client.client_secret and "client_secret_basic" not in ways and "client_secret_post" in ways:
        client.client_kwargs["token_endpoint_auth_method"] = "client_secret_post"  # noqa: S105


def _claims(client: Any, token: dict[str, Any]) -> dict[str, Any]:
    """Return the claims of a checked id token, completed by the provider's user information where the groups are not in it.

    Raises:
        Forbidden: there was no id token, or the information is about somebody else.
    """
    claims = token.get("userinfo")
    if not claims or not isinstance(claims.get("sub"), str) or not claims["sub"]:
        raise Forbidden("The provider gave no identity. Mend: check the scopes of this client there.")
    wanted = facade().settings.oidc.groups_claim
    if wanted in claims or "userinfo_endpoint" not in client.server_metadata or "access_token" not in token:
        return dict(claims)
    more = client.userinfo(token=token)
    if more.get("sub") != claims["sub"]:
        raise Forbidden("The provider gave information about somebody else. Mend: sign in again.")
    return {**more, **claims}


def _groups(value: Any) -> tuple[str, ...]:
    found = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(one for one in found[:_LONGEST_GROUPS] if isinstance(one, str) and one))


def _make_room() -> None:
    """Forget the oldest sign-ins under way: a cookie holds four kilobytes."""
    begun = sorted((key for key in session if key.startswith(_STATE)), key=lambda key: float(session[key].get("exp", 0)))
    for key in begun[: max(0, len(begun) - _STATES + 1)]:
        session.pop(key)


class _asking:  # noqa: N801 - used as a word
    """Turns what can go wrong between us and the provider into our own errors, and notes whether it answers."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        match error:
            case None:
                facade().troubles.set("oidc", "")
            case RequestException():
                why = f"the sign-in provider did not answer ({type(error).__name__})"
                facade().troubles.set("oidc", why)
                raise Unavailable(f"{why}. Mend: sign in with a password of this program, or try again later.") from None
            case AuthlibBaseError() | JoseError() | ValueError() | KeyError() | RuntimeError() | TypeError():
                # What it says may hold codes or tokens: the kind of error is enough for the page.
                log.warning("oidc %s: %s", self._what, type(error).__name__, exc_info=error)
                words = str(getattr(error, "error", "") or type(error).__name__)[:80]
                raise Forbidden(f"The provider's answer was refused ({words}). Mend: sign in again.") from None
            case _:
                return
