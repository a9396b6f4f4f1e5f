"""The link in a mail: it leads to the card and answers nothing.

A GET changes nothing, so a scanner that follows every link in a mail burns none and decides none. The one thing that a link carries,
where to go and whom to expect at the sign-in, is used up by a press of the page's button. Nobody is signed in by a link.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flask import Blueprint, redirect, url_for

from orchestrator.errors import NotFound
from orchestrator.notify.links import Link, Links
from orchestrator.web import auth
from orchestrator.web.asking import facade
from orchestrator.web.frame import render

routes = Blueprint("mailed", __name__)


@routes.get("/mail/<token>")
def show(token: str) -> Any:
    """Lead who is signed in to the card, and everybody else to the button."""
    link = _read(token)
    if auth.session_actor() is not None:
        return redirect(_card(link), 303)
    state = "old" if _is_old(link) else "used" if facade().was_used(_name(link)) else "fresh"
    return _page(state, link, token)


@routes.post("/mail/<token>")
def go_on(token: str) -> Any:
    """Use the link up and go on to the sign-in."""
    link = _read(token)
    auth.check_csrf()
    if auth.session_actor() is not None:
        return redirect(_card(link), 303)
    if _is_old(link):
        return _page("old", link, token)
    if not facade().use_once(_name(link)):
        return _page("used", link, token)
    return redirect(url_for("pages.login", next=_card(link), hint=_expected(link)), 303)


def _page(state: str, link: Link, token: str) -> Any:
    page = render("mailed.html", state=state, token=token, login=url_for("pages.login", next=_card(link)))
    page.status_code = 200 if state == "fresh" else 410
    return page


def _read(token: str) -> Link:
    rules = facade()
    link = Links(rules.session_key, rules.settings.public_url()).read(token)
    if link is None:
        raise NotFound(
            "This link was not made here, or not copied whole. Mend: copy the whole address, or sign in and look for the question."
        )
    return link


def _is_old(link: Link) -> bool:
    return bool(link.until <= facade().wiring.now())


def _name(link: Link) -> str:
    return f"mail:{link.name}"


def _card(link: Link) -> str:
    return f"/approvals/{quote(link.approval, safe=':')}"


def _expected(link: Link) -> str:
    """Return whom the sign-in expects: the user of that name, or of the name before the @, else the address."""
    for name in (link.receiver, link.receiver.partition("@")[0]):
        if facade().user_actor(name):
            return name
    return link.receiver
