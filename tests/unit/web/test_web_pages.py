"""The pages over the stand-in: who may see them, what they say, and that outside text stays text."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import pytest
from fake_orchestrator import NOW, make_alert, make_approval, make_entry, make_event, make_incident, make_proposal, make_run

from orchestrator import model as m
from orchestrator.web import auth, words

INCIDENT = "/incidents/inc0000000000001"
APPROVAL = "/approvals/inc0000000000001:1"
RUN = "/runs/inc0000000000001:1:check:1"
PAGES = ["/", "/?status=resolved", INCIDENT, "/approvals", APPROVAL, RUN, "/catalogue", "/catalogue/restart_service", "/audit", "/system"]
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def token_of(page) -> str:
    """Return the CSRF token of a page."""
    return re.search(r'name="csrf" value="([^"]+)"', page.get_data(as_text=True)).group(1)


def log_in(client, name: str) -> str:
    """Log in and return the session's CSRF token."""
    token = token_of(client.get("/login"))
    answer = client.post("/login", data={"name": name, "password": "right", "csrf": token, "next": "/"})
    assert answer.status_code == 303
    return token_of(client.get("/system"))


def text_of(client, path: str) -> str:
    """Return a page's HTML after checking that it is one."""
    answer = client.get(path, headers=HTML)
    assert answer.status_code == 200, answer.data
    assert answer.mimetype == "text/html"
    return answer.get_data(as_text=True)


@pytest.mark.parametrize("path", PAGES)
def test_pages_need_a_login(client, path):
    """Without a session every page leads to the login, and back afterwards."""
    answer = client.get(path)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/login?next=")


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("name", ["vic", "olga", "ada"])
def test_pages_show(client, path, name):
    """Every page can be read by every role, and has exactly one main heading and no inline code."""
    log_in(client, name)
    page = text_of(client, path)
    assert page.count("<h1") == 1
    assert 'lang="en"' in page
    assert "<script>" not in page
    assert " style=" not in page
    assert not re.search(r"\son\w+=", page)


def test_login_begins_a_new_session(client):
    """After login the cookie is another one, HttpOnly and SameSite=Lax, and a wrong password is 401."""
    token = token_of(client.get("/login"))
    assert client.post("/login", data={"name": "ada", "password": "wrong", "csrf": token}).status_code == 401
    answer = client.post("/login", data={"name": "ada", "password": "right", "csrf": token, "next": "/audit"})
    assert answer.headers["Location"] == "/audit"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert token_of(client.get("/")) != token


def test_login_is_throttled(client, fake):
    """Too many attempts are 429 with a word to the person."""
    fake.throttled = True
    answer = client.post("/login", data={"name": "ada", "password": "right", "csrf": token_of(client.get("/login"))})
    assert answer.status_code == 429
    assert b"Too many attempts" in answer.data


def test_login_needs_its_csrf_token(client):
    """A login form from elsewhere is refused."""
    assert client.post("/login", data={"name": "ada", "password": "right"}).status_code == 403


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "\\\\evil.example",
        "/\t/evil.example",
        "evil.example",
        "http:/evil.example",
        "",
    ],
)
def test_next_is_a_local_path(target):
    """After login only paths of this site are followed."""
    assert auth.local_path(target) == "/"
    assert auth.local_path("/audit?after=3") == "/audit?after=3"


def test_admin_link_works_once(client):
    """The first start's link logs in once; asking for its headers does not use it up."""
    assert client.head("/login?code=one-time").status_code == 200
    assert client.get("/login?code=one-time").status_code == 303
    assert client.get("/").status_code == 200
    assert client.get("/login?code=one-time").status_code == 403


def test_logout_and_removed_users_end(client, fake):
    """After logout, or once the user is gone, pages are closed."""
    token = log_in(client, "vic")
    del fake.people["vic"]
    assert client.get("/").status_code == 303
    token = log_in(client, "olga")
    assert client.post("/logout", data={"csrf": token}).status_code == 303
    assert client.get("/").status_code == 303


FORMS = [
    INCIDENT + "/cancel",
    INCIDENT + "/take",
    APPROVAL + "/approve",
    APPROVAL + "/reject",
    RUN + "/cancel",
    RUN + "/undo",
    RUN + "/settle",
    "/catalogue/restart_service/admit",
    "/catalogue/restart_service/start",
    "/pause",
    "/resume",
    "/logout",
]


@pytest.mark.parametrize("path", FORMS)
@pytest.mark.parametrize("token", ["", "wrong", "é"])
def test_forms_need_the_csrf_token(client, fake, path, token):
    """Without this session's token no form does anything."""
    log_in(client, "ada")
    data = {"csrf": token, "digest": "abc123", "reason": "x", "outcome": "done"}
    assert client.post(path, data=data).status_code == 403
    assert fake.calls == []


def test_a_viewer_acts_on_nothing(client, fake):
    """A viewer sees no buttons, and a forged form is 403."""
    token = log_in(client, "vic")
    assert "/approve" not in text_of(client, APPROVAL)
    for path in FORMS[:-1]:
        answer = client.post(
            path, data={"csrf": token, "digest": "abc123", "reason": "x", "outcome": "done", "hosts": "web1"}, headers=HTML
        )
        assert answer.status_code == 403, path
    assert fake.calls == []


def test_approving_on_the_page(client, fake):
    """An approver's yes carries the digest that the page showed."""
    token = log_in(client, "olga")
    page = text_of(client, APPROVAL)
    digest = re.search(r'name="digest" value="([^"]+)"', page).group(1)
    answer = client.post(APPROVAL + "/approve", data={"csrf": token, "digest": digest})
    assert answer.headers["Location"] == INCIDENT
    assert fake.approval_map["inc0000000000001:1"].state is m.ApprovalState.GRANTED
    assert b"Approved." in client.get(INCIDENT).data
    again = client.post(APPROVAL + "/approve", data={"csrf": token, "digest": digest}, headers=HTML)
    assert again.status_code == 409
    assert b"olga" in again.data


def test_a_cookie_reads_the_api_but_does_not_act(client, fake):
    """A session cookie is no token: another site's page could send it along."""
    log_in(client, "ada")
    assert client.get("/api/v1/incidents").status_code == 200
    assert client.post("/api/v1" + INCIDENT + "/cancel", json={}).status_code == 401
    assert fake.calls == []


def test_proposing_a_run_oneself(client, fake):
    """A person's own proposal carries hosts, typed parameters and a reason; what does not fit its type is named."""
    fake.book = m.Catalogue(
        {
            "restart_service": make_entry(
                parameters=(m.Parameter("restart_service_port", "int"), m.Parameter("restart_service_names", "list"))
            )
        }
    )
    token = log_in(client, "olga")
    assert 'name="set:restart_service_port"' in text_of(client, "/catalogue/restart_service")
    data = {"csrf": token, "hosts": "web1", "reason": "by hand", "set:restart_service_port": "80", "set:restart_service_names": "a, b"}
    assert client.post("/catalogue/restart_service/start", data=data).status_code == 303
    assert fake.calls[-1][3:] == (
        "restart_service",
        ("web1",),
        {"restart_service_port": 80, "restart_service_names": ["a", "b"]},
        "by hand",
    )
    for change in ({"set:restart_service_port": "x"}, {"hosts": []}, {"reason": ""}):
        assert client.post("/catalogue/restart_service/start", data={**data, **change}).status_code == 422


def test_an_unforeseen_error_is_a_page(client, fake, monkeypatch):
    """A bug of ours is an error page that asks the orchestrator nothing more."""
    log_in(client, "ada")
    for name in ("incident", "paused"):
        monkeypatch.setattr(fake, name, lambda *_: 1 / 0)
    answer = client.get(INCIDENT, headers=HTML)
    assert (answer.status_code, answer.mimetype) == (500, "text/html")
    assert b"division" not in answer.data


def test_approving_can_narrow(client, fake):
    """Unticked hosts are left out; with none ticked nothing is approved."""
    fake.approval_map["inc0000000000001:1"] = make_approval(proposal=make_proposal(hosts=("web1", "web2")))
    token = log_in(client, "olga")
    form = text_of(client, APPROVAL).partition('id="approve"')[2].partition("</form>")[0]
    assert form.count('name="hosts"') == 2
    assert client.post(APPROVAL + "/approve", data={"csrf": token, "digest": "abc123"}).status_code == 422
    client.post(APPROVAL + "/approve", data={"csrf": token, "digest": "abc123", "hosts": "web2"})
    assert fake.calls[-1][3].hosts == ("web2",)


def test_rejecting_needs_a_reason_of_ones_own(client, fake):
    """The reason is required, never prefilled, and an empty one is refused."""
    token = log_in(client, "olga")
    assert re.search(r'<textarea name="reason"[^>]*required[^>]*></textarea>', text_of(client, APPROVAL))
    assert client.post(APPROVAL + "/reject", data={"csrf": token, "digest": "abc123", "reason": "  "}).status_code == 422
    assert client.post(APPROVAL + "/reject", data={"csrf": token, "digest": "abc123", "reason": "not now"}).status_code == 303
    assert fake.approval_map["inc0000000000001:1"].state is m.ApprovalState.REJECTED


@pytest.mark.parametrize(
    ("check_mode", "said"),
    [
        (m.CheckMode.FULL, "1 of 1 host changes."),
        (m.CheckMode.PARTIAL, "some tasks cannot be tried and may change more"),
    ],
)
def test_the_card_says_what_a_dry_run_is_worth(client, fake, check_mode, said):
    """What a dry run predicts, and what it leaves open, is said in words beside the diff."""
    fake.book = m.Catalogue({"restart_service": make_entry(check_mode=check_mode)})
    log_in(client, "olga")
    assert said in text_of(client, APPROVAL)


def test_the_card_marks_what_is_uncited_and_chosen_by_the_model(client, fake):
    """A claim without evidence and a value without a label are marked."""
    fake.approval_map["inc0000000000001:1"] = make_approval(proposal=make_proposal(origins={"restart_service_name": "model"}))
    log_in(client, "olga")
    page = text_of(client, APPROVAL)
    assert "uncited" in page
    assert "chosen by the model" in page
    assert "#ev-prom-1" in page


def test_an_expired_card_takes_no_answer(client, fake):
    """Past its time the card shows no form."""
    fake.approval_map["inc0000000000001:1"] = make_approval(expires_at=NOW - timedelta(days=9000))
    log_in(client, "olga")
    assert "xpired" in text_of(client, APPROVAL)
    assert 'name="digest"' not in text_of(client, APPROVAL)


def test_empty_pages_teach(client, fake):
    """A page with nothing to show says what would appear there."""
    fake.incident_map, fake.approval_map, fake.events, fake.book = {}, {}, [], m.Catalogue()
    log_in(client, "ada")
    for path, said in (
        ("/", "Nothing waits for a person"),
        ("/approvals", "Nothing waits for an answer"),
        ("/audit", "Nothing is on record"),
        ("/catalogue", "The catalogue is empty"),
    ):
        assert said in text_of(client, path)


def test_pause_stands_on_every_page(client, fake):
    """A pulled kill switch is said on every page, with who and why."""
    token = log_in(client, "olga")
    client.post("/pause", data={"csrf": token, "reason": "storm"})
    for path in PAGES:
        assert "olga: storm" in text_of(client, path)
    client.post("/resume", data={"csrf": token})
    assert "olga: storm" not in text_of(client, "/")


def test_errors_are_pages_for_people(client):
    """A browser gets an error page, a program a problem document, for the same address."""
    log_in(client, "vic")
    answer = client.get("/incidents/none", headers=HTML)
    assert (answer.status_code, answer.mimetype) == (404, "text/html")
    assert client.get("/incidents/none").mimetype == "application/problem+json"
    assert client.get("/api/v1/incidents/none", headers=HTML).mimetype == "application/problem+json"


def test_api_docs_are_open(client):
    """The API's page needs no login and names the calls."""
    assert "/api/v1/approvals/{id}/approve" in text_of(client, "/docs")


NASTY = "<script>alert(1)</script><img src=x onerror=alert(1)>\x1b[31m{{ 7*7 }}{% raw %}\r\n\u202e\ud800\0'\"&"


@pytest.mark.parametrize("nasty", [NASTY, NASTY + "A" * 1_000_000], ids=["short", "1 MB"])
def test_hostile_text_stays_text(client, fake, nasty):
    """Markup, template marks, escape codes and a megabyte in every field are shown as text, bounded."""
    fake.incident_map["inc0000000000001"] = make_incident(
        alert=make_alert(
            labels={"alertname": nasty, "instance": nasty, "severity": nasty, nasty: nasty},
            annotations={nasty: nasty},
            generator_url="javascript:alert(1)",
        ),
        detail=nasty,
        blocked_by=nasty,
        taken_by=nasty,
        tried=(nasty,),
        context=m.Context((m.Evidence(nasty, nasty, nasty, nasty),), (m.Missing(nasty, nasty),), m.Rule(nasty, nasty)),
        proposal=(
            proposal := m.Proposal(
                m.Choice.RUN,
                m.Agreement.DIFFER,
                nasty,
                nasty,
                nasty,
                (nasty, "web2"),
                {nasty: nasty, "list": [nasty]},
                {nasty: nasty},
                (m.Claim(nasty, (nasty,)),),
                (m.Alternative(nasty, nasty),),
                proposer=nasty,
            )
        ),
        verdict=(verdict := m.Verdict(m.Effect.ASK, (m.Reason.MODE_ASKS,), (m.Guard(nasty, False, nasty),))),
        verification=m.Verification(m.Health.UNDECIDED, (m.Check(nasty, None, nasty),), nasty),
        status=m.Status.ESCALATED,
    )
    check = make_run(
        message=nasty,
        diffs=(m.HostDiff(nasty, nasty, nasty + "\n+" + nasty),),
        hosts={nasty: m.HostStats()},
        facts={nasty: nasty},
        node=nasty,
        entry=nasty,
    )
    fake.run_map["inc0000000000001:1:check:1"] = replace(check, state=m.RunState.RUNNING)
    fake.lines = [m.RunEvent(1, nasty, NOW, nasty, nasty, nasty)]
    fake.approval_map["inc0000000000001:1"] = make_approval(
        proposal=proposal,
        verdict=verdict,
        check=check,
        approvers=(nasty,),
        digest=nasty,
        answers=(m.Answer(nasty, True, nasty, nasty, (nasty,), at=NOW),),
    )
    fake.events = [make_event(1, nasty, actor=nasty, data={nasty: nasty, "deep": {"a": [nasty]}})]
    fake.book = m.Catalogue(
        {"restart_service": make_entry(title=nasty, description=nasty, use_when=(nasty,), owners=(nasty,), matchers=((nasty,),))},
        (m.BrokenEntry(nasty, nasty, (nasty,)),),
        nasty,
    )
    fake.state = {"ready": True, "degraded": [{"what": nasty, "why": nasty, "since": None}]}
    log_in(client, "ada")
    for path in [*PAGES, "/?alertname=" + "%3Cscript%3E"]:
        answer = client.get(path, headers=HTML)
        page = answer.data.decode("utf-8")
        assert answer.status_code == 200, path
        assert "<script>" not in page, path
        assert "<img" not in page, path
        assert "javascript:" not in page, path
        assert "\x1b" not in page, path
        assert "\u202e" not in page, path
        assert "\0" not in page, path
        assert len(page) < 1_500_000, path


def test_words():
    """Times, durations and cut texts read as a person says them."""
    assert words.span(8.04) == "8 s"
    assert words.span(240) == "4 min"
    assert words.span(7200) == "2 h"
    assert words.span(86400 * 3) == "3 d"
    assert words.ago(NOW - timedelta(minutes=4), NOW) == "4 min ago"
    assert words.ago(NOW + timedelta(minutes=12), NOW) == "in 12 min"
    assert words.visible("a\x1bb\x9b") == "a␛b\ufffd"
    assert "cut here" in words.visible("x" * 30_000)
    assert words.short("a\nb  c", 4) == "a b…"
    assert words.spoken(m.Status.AWAITING_APPROVAL) == "awaiting approval"
