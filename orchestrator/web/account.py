"""One's own account: who one is here, a new password, and an end to one's other sessions."""

from __future__ import annotations

from typing import Any

from flask import flash, redirect, request, session, url_for

from orchestrator.errors import Forbidden, InvalidRequest
from orchestrator.web.asking import facade
from orchestrator.web.auth import me
from orchestrator.web.frame import render
from orchestrator.web.pages import routes

__all__ = ["routes"]


@routes.get("/account")
def account() -> Any:
    """Show who one is, and the form for a new password."""
    return render("account.html", passwords=facade().settings.login.passwords)


@routes.post("/account/password")
def change_password() -> Any:
    """Change one's own password; every other session of the account ends."""
    name, wanted = me().name, request.form.get("password", "")
    if wanted != request.form.get("again", ""):
        raise InvalidRequest("password: the two are not the same. Mend: go back and type it twice.")
    if facade().login(name, request.form.get("current", ""), request.remote_addr or "") is None:
        raise Forbidden("The present password is wrong, or this account has none here. Mend: go back, or ask an admin.")
    ended = facade().set_password(name, wanted, keep=session["sid"], by=name)
    flash(f"Your password is changed; {ended} other sessions have ended.")
    return redirect(url_for("pages.account"), 303)


@routes.post("/account/sessions")
def end_others() -> Any:
    """End one's other sessions."""
    ended = facade().close_sessions(me().name, but=session["sid"])
    flash(f"{ended} other sessions have ended.")
    return redirect(url_for("pages.account"), 303)
