"""The link in a mail: it leads to the card, once, through the sign-in, and never answers anything."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from asked import ask, copy, settings_in
from inboxes import mail_server, text

from orchestrator.app import build
from orchestrator.chores import Chores
from orchestrator.model import ApprovalState
from orchestrator.notify.links import Links
from orchestrator.web import create_app

PUBLIC = "https://ops.example"
RECEIVERS = "olga@ops.example,Anna <anna@ops.example>"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Return a place where one question waits, and its id; the mails wait in the outbox."""
    place = tmp_path_factory.mktemp("asked")
    return place, ask(place, NOTIFY__SMTP_HOST="127.0.0.1", NOTIFY__MAIL_TO=RECEIVERS)


@pytest.fixture
def inbox(tmp_path):
    """Run a mail server."""
    (tmp_path / "mail").mkdir()
    with mail_server(tmp_path / "mail") as server:
        yield server


@pytest.fixture
def program(prepared, inbox, tmp_path):
    """Return the program over a copy of the place, its mails sent."""
    settings = settings_in(
        copy(prepared[0], tmp_path / "place"),
        NOTIFY__SMTP_HOST="127.0.0.1",
        NOTIFY__SMTP_PORT=str(inbox.port),
        NOTIFY__SMTP_CA_FILE=str(inbox.ca_file),
        NOTIFY__MAIL_TO=RECEIVERS,
        SERVER__PUBLIC_URL=PUBLIC,
    )
    built = build(settings)
    Chores(built).notify()
    yield built
    built.stop()


@pytest.fixture
def approval(prepared, program):
    """Return the question."""
    return program.approval(prepared[1])


@pytest.fixture
def client(program):
    """Return a browser."""
    return create_app(program).test_client()


@pytest.fixture
def link(inbox):
    """Return path of the first receiver's link."""
    return path_in(inbox.mails[0])


def path_in(mail):
    """Return the path of a mail's link."""
    return re.search(rf"{PUBLIC}(/mail/\S+)", text(mail)).group(1)


def press(client, path):
    """Press the page's button."""
    token = re.search(r'name="csrf" value="([^"]+)"', client.get(path).get_data(as_text=True)).group(1)
    return client.post(path, data={"csrf": token})


def log_in(client, name, path="/login"):
    """Log in on the login page."""
    page = client.get(path).get_data(as_text=True)
    fields = {field: html.unescape(re.search(rf'name="{field}" value="([^"]*)"', page).group(1)) for field in ("csrf", "next")}
    return client.post("/login", data={**fields, "name": name, "password": "correct horse"})


def test_each_receiver_gets_a_link_of_their_own(inbox, approval):
    """Two mails with two links, the same in text and HTML; the body holds the summary and no diff."""
    first, second = inbox.mails
    assert path_in(first) != path_in(second)
    assert (first["To"], second["To"]) == ("olga@ops.example", "Anna <anna@ops.example>")
    assert path_in(first) in html.unescape(first.get_body(("html",)).get_content())
    assert "restart_service" in text(first)
    assert "Approve or reject: " in text(first)
    assert not any(line.startswith(("+", "---", "@@")) for line in text(first).splitlines())
    assert approval.id not in path_in(first).replace(":", "")


def test_the_link_leads_through_the_sign_in_to_the_card(client, program, approval, link):
    """A press leads to the sign-in, which expects the receiver and goes on to the card; nothing is answered by all that."""
    answer = press(client, link)
    assert answer.status_code == 303
    asked = parse_qs(urlsplit(answer.headers["Location"]).query)
    assert asked == {"next": [f"/approvals/{approval.id}"], "hint": ["olga"]}
    assert 'value="olga"' in client.get(answer.headers["Location"]).get_data(as_text=True)
    assert log_in(client, "olga", answer.headers["Location"]).headers["Location"] == f"/approvals/{approval.id}"
    assert client.get(f"/approvals/{approval.id}").status_code == 200
    assert program.approval(approval.id).state is ApprovalState.PENDING
    assert program.approval(approval.id).answers == ()


def test_a_scanner_burns_nothing_and_decides_nothing(client, program, approval, link):
    """However often the link is followed or its headers are asked for, it stays fresh, shows nothing and answers nothing."""
    scanner = create_app(program).test_client()
    for _ in range(3):
        page = scanner.get(link)
        assert page.status_code == 200
        assert scanner.head(link).status_code == 200
        assert b"restart_service" not in page.data
        assert b"nginx" not in page.data
    assert press(client, link).status_code == 303
    assert program.approval(approval.id).answers == ()


def test_the_link_works_once(client, program, approval, link):
    """After the press it says that it was used, to everybody; the way in is the usual one then."""
    press(client, link)
    other = create_app(program).test_client()
    page = other.get(link)
    assert page.status_code == 410
    assert b"has been used" in page.data
    with other.session_transaction() as begun:
        begun["csrf"] = "token"
    assert other.post(link, data={"csrf": "token"}).status_code == 410


def test_the_link_signs_nobody_in(client, approval, link):
    """With the link alone the card stays closed."""
    press(client, link)
    assert client.get(f"/approvals/{approval.id}").status_code == 303
    assert client.get("/api/v1/approvals").status_code == 401


def test_who_is_signed_in_goes_straight_to_the_card(client, approval, link):
    """A session needs no button, and does not use the link up."""
    log_in(client, "mia")
    assert client.get(link).headers["Location"] == f"/approvals/{approval.id}"
    assert client.get(link).headers["Location"] == f"/approvals/{approval.id}"


def test_the_button_needs_its_csrf_token(client, program, link):
    """Another site cannot press the button."""
    assert client.post(link).status_code == 403
    assert client.get(link).status_code == 200


def test_a_forged_or_an_old_link_leads_nowhere(client, program, approval, link):
    """A link that we did not sign, that was changed, or whose question has expired is refused."""
    elsewhere = Links(lambda: b"other key", PUBLIC).make(approval.id, "eve@evil.example", approval.expires_at).removeprefix(PUBLIC)
    head, dot, tail = link.rpartition(".")
    for wrong in (elsewhere, f"{head}{dot}{tail[:-1]}", f"{head}x{dot}{tail}", "/mail/x", "/mail/" + "a" * 3000, "/mail/%F0%9F"):
        assert client.get(wrong).status_code == 404, wrong
    old = Links(program.session_key, PUBLIC).make(approval.id, "olga@ops.example", program.wiring.now() - timedelta(seconds=1))
    page = client.get(old.removeprefix(PUBLIC))
    assert page.status_code == 410
    assert b"The time to answer is over" in page.data


def test_a_link_of_another_kind_is_none(client, program):
    """What we signed for another purpose opens nothing here: a session's cookie is no link."""
    client.get("/login")
    cookie = client.get_cookie("orchestrator_session").value
    assert client.get(f"/mail/{cookie}").status_code == 404
