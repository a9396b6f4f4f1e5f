"""What an attacker's scanner tries, by code: forged forms, script in every answer, other origins, other hosts, odd paths and bodies."""

from __future__ import annotations

import hashlib
import html
import json
import re
import time

import pytest
from asked import ask, receive, settings_in

from orchestrator.app import build
from orchestrator.errors import Forbidden
from orchestrator.model import Role
from orchestrator.web import create_app

HTML = {"Accept": "text/html"}
SCRIPT = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
PAGES = (
    "/",
    "/approvals",
    "/catalogue",
    "/audit",
    "/system",
    "/docs",
    "/login",
    "/none",
    "/api/v1/incidents",
    "/healthz",
    "/openapi.json",
    "/alert",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Return a place where one question waits, and its id."""
    made = tmp_path_factory.mktemp("asked")
    return made, ask(made)


@pytest.fixture(scope="module")
def program(place):
    """Return the program over it, with an alert that is hostile all over."""
    built = build(settings_in(place[0], SERVER__MAX_BODY_BYTES="100000", SERVER__COOKIE_SECURE="false"))
    receive(built, alertname=SCRIPT, instance=SCRIPT, service=SCRIPT)
    yield built
    built.stop()


@pytest.fixture
def app(program):
    """Return the app."""
    return create_app(program)


@pytest.fixture
def client(app):
    """Return a browser that nobody has signed in with."""
    return app.test_client()


@pytest.fixture(scope="module")
def member(program):
    """Return a browser that an approver has signed in with, for tests that only look."""
    browser = create_app(program).test_client()
    log_in(browser)
    return browser


def csrf(client, path="/login"):
    """Return the CSRF token of a page."""
    return html.unescape(re.search(r'name="csrf" value="([^"]+)"', client.get(path, headers=HTML).get_data(as_text=True)).group(1))


def log_in(client, name="olga", **more):
    """Send the login form."""
    return client.post("/login", data={"name": name, "password": "correct horse", "csrf": csrf(client), "next": "/", **more})


def secret_of(client):
    """Return the secret of the browser's session."""
    with client.session_transaction() as kept:
        return kept.get("sid")


# ---------------------------------------------------------------- every answer


@pytest.mark.parametrize("path", PAGES)
@pytest.mark.parametrize("signed_in", [True, False])
def test_every_answer_carries_the_security_headers(client, member, path, signed_in):
    """Pages, errors, redirects and JSON alike: no framing, no sniffing, no foreign script, no referrer, no cache."""
    answer = (member if signed_in else client).get(path, headers=HTML)
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "object-src 'none'" in policy
    assert "base-uri 'none'" in policy
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy
    assert "http:" not in policy
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in answer.headers
    assert not re.search(r"(?i)werkzeug|flask|python", answer.headers.get("Server", "") + answer.headers.get("X-Powered-By", ""))


@pytest.mark.parametrize("path", [*PAGES, "/approvals/{approval}", "/incidents/{incident}", "/incidents/{hostile}"])
def test_no_page_holds_inline_script_or_style(member, place, program, path):
    """With a policy that forbids inline code, no page relies on it; hostile labels stay text; JSON says that it is JSON."""
    newest = program.incidents(limit=1)[0][0].id
    names = {"approval": place[1], "incident": place[1].partition(":")[0], "hostile": newest}
    answer = member.get(path.format(**names), headers=HTML)
    if answer.mimetype in ("application/json", "application/problem+json"):
        return
    assert answer.mimetype == "text/html"
    text = answer.get_data(as_text=True)
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert not re.search(r"<script(?![^>]*\bsrc=)[^>]*>", text)
    assert not re.search(r"<style\b|\sstyle=|\son\w+\s*=\s*[\"']", text)
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//(?!ops\.example)", text.replace("https://github.com", ""))


@pytest.mark.parametrize(
    "path",
    [
        f"/incidents/{SCRIPT}",
        f"/approvals/{SCRIPT}",
        f"/?host={SCRIPT}",
        f"/?status={SCRIPT}",
        f"/login?next=/{SCRIPT}",
        f"/login?code={SCRIPT}",
        f"/login?hint={SCRIPT}",
        f"/{SCRIPT}",
    ],
)
def test_what_is_asked_for_comes_back_as_text(client, member, path):
    """A script in path or query is shown as text, on error pages too."""
    for browser in (client, member):
        answer = browser.get(path.split("?")[0], query_string=path.partition("?")[2], headers=HTML)
        assert "<script>alert" not in answer.get_data(as_text=True)
        assert "<img src=x" not in answer.get_data(as_text=True)


@pytest.mark.parametrize("path", [f"/api/v1/incidents/{SCRIPT}", f"/api/v1/incidents?status={SCRIPT}", f"/api/v1/incidents?since={SCRIPT}"])
def test_problems_are_never_html(client, program, path):
    """An error of the API that repeats what was sent is JSON by its type, so that no browser runs it."""
    headers = {"Authorization": f"Bearer {_token(program)}", **HTML}
    answer = client.get(path, headers=headers)
    assert answer.status_code >= 400
    assert answer.mimetype == "application/problem+json"
    json.loads(answer.data)


def _token(program):
    name = f"attack-{time.monotonic_ns()}"
    return program.create_token(name, Role.VIEWER)


# ---------------------------------------------------------------- sessions


def test_cookie_flags(client, app):
    """The cookie cannot be read by script, is not sent along by other sites' forms, and names no domain."""
    cookie = log_in(client).headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Lax" in cookie
    assert "Domain=" not in cookie
    assert "Path=/" in cookie
    assert "Secure" not in cookie
    app.config["SESSION_COOKIE_SECURE"] = True
    assert "; Secure" in app.test_client().get("/login").headers["Set-Cookie"]


def test_a_planted_session_becomes_nobodys(app, program):
    """Whoever plants a session in a browser before the login has nothing after it: secret and CSRF token are new."""
    attacker, victim = app.test_client(), app.test_client()
    log_in(attacker, "vic")
    planted, token = secret_of(attacker), csrf(attacker, "/system")
    with victim.session_transaction() as session:
        session["sid"], session["csrf"] = planted, token
    victim.post("/login", data={"name": "olga", "password": "correct horse", "csrf": token})
    assert secret_of(victim) != planted
    assert program.session_actor(planted) is None
    assert csrf(victim, "/system") != token


def test_logout_ends_a_copied_cookie_too(app, client):
    """A cookie that somebody copied is worth nothing after logout."""
    log_in(client)
    copied = client.get_cookie("orchestrator_session").value
    assert client.post("/logout", data={"csrf": csrf(client, "/system")}).status_code == 303
    thief = app.test_client()
    thief.set_cookie("orchestrator_session", copied)
    assert thief.get("/system").status_code == 303


def test_a_new_password_ends_the_other_sessions(app, program):
    """A password change ends every session but the one it was made in; a change from outside ends all."""
    first, second = app.test_client(), app.test_client()
    log_in(first, "mia")
    log_in(second, "mia")
    assert program.set_password("mia", "correct horse", keep=secret_of(first)) == 1
    assert first.get("/system").status_code == 200
    assert second.get("/system").status_code == 303
    program.set_password("mia", "correct horse")
    assert first.get("/system").status_code == 303


def test_ones_own_password(app, program):
    """Changing it needs the present one, keeps this session, and ends the others; what does not fit changes nothing."""
    first, second = app.test_client(), app.test_client()
    log_in(first, "mia")
    log_in(second, "mia")
    form = {"csrf": csrf(first, "/account"), "current": "correct horse", "password": "correct horse", "again": "correct horse"}
    for change, status in (({"current": "guess"}, 403), ({"again": "other"}, 422), ({"password": "short", "again": "short"}, 422)):
        assert first.post("/account/password", data={**form, **change}).status_code == status
    assert second.get("/system").status_code == 200
    assert first.post("/account/password", data=form).status_code == 303
    assert b"1 other sessions have ended" in first.get("/account").data
    assert second.get("/system").status_code == 303
    log_in(second, "mia")
    assert first.post("/account/sessions", data=form).status_code == 303
    assert second.get("/system").status_code == 303


def test_a_session_ends_by_idleness_and_by_age(client, program):
    """Unused for too long, or too old, a session is over, and its row is gone; a program that polls does not keep it alive."""
    table, rules = program.store.db.tables.session, program.settings.login
    log_in(client)
    own = hashlib.sha256(secret_of(client).encode()).hexdigest()

    def row():
        return table.get_or_none(table.id == own)

    def put(**values):
        table.update(**values).where(table.id == own).execute()

    now = program.store.db.now_ms()
    put(seen_at=now - int(rules.idle_s * 1000) + 300_000)
    before = row().seen_at
    assert client.get("/api/v1/incidents").status_code == 200
    assert row().seen_at == before
    assert client.get("/system").status_code == 200
    assert row().seen_at > before
    put(seen_at=now - int(rules.idle_s * 1000))
    assert client.get("/system").status_code == 303
    assert row() is None
    log_in(client)
    own = hashlib.sha256(secret_of(client).encode()).hexdigest()
    put(created_at=now - int(rules.session_s * 1000))
    assert client.get("/system").status_code == 303
    assert row() is None


def test_role_and_groups_count_at_once(client, program):
    """A role that was taken away is gone with the next request of a session that goes on."""
    log_in(client, "mia")
    program.set_role("mia", Role.VIEWER)
    try:
        page = client.get("/system", headers=HTML).get_data(as_text=True)
        assert client.post("/pause", data={"csrf": csrf(client, "/system")}, headers=HTML).status_code == 403
        assert "mia" in page
    finally:
        program.set_role("mia", Role.APPROVER)


def test_an_account_that_is_off_has_no_way_in(client, app, program):
    """Switched off, sessions end and the right password is wrong; switched on, it is right again."""
    log_in(client, "vic")
    program.disable_user("vic")
    assert client.get("/system").status_code == 303
    assert log_in(app.test_client(), "vic").status_code == 401
    program.enable_user("vic")
    assert log_in(app.test_client(), "vic").status_code == 303


def test_the_first_link_ends_with_time_and_with_use(client, program):
    """The first start's link works once; one that is too old works never, and the next start makes a new one."""
    table = program.store.db.tables.flag
    old = program.admin_link()
    table.update(at=0).where(table.name == "admin_link").execute()
    assert client.get(f"/login?code={old}").status_code == 403
    fresh = program.admin_link()
    assert fresh not in ("", old)
    assert client.get(f"/login?code={old}").status_code == 403
    assert client.get(f"/login?code={fresh}").status_code == 303
    assert client.get("/system").status_code == 200
    assert client.get(f"/login?code={fresh}").status_code == 403
    assert program.admin_link() == ""
    program.create_user("admin", "correct horse", Role.VIEWER)
    assert client.get("/system").status_code == 303


def test_secrets_are_kept_as_hashes_only(client, program):
    """Neither a password, nor a token, nor a session's secret stands in the database."""
    token = _token(program)
    log_in(client)
    raw = b"".join(path.read_bytes() for path in program.data.path.glob("orchestrator.db*"))
    assert b"correct horse" not in raw
    assert token.encode() not in raw
    assert secret_of(client).encode() not in raw


def test_guessing_is_throttled_by_name_and_by_address(program):
    """Five wrong passwords for one name stop that name, from wherever; twenty from one address stop that address."""
    for number in range(5):
        assert program.login("nobody-1", "wrong", f"198.51.100.{number}") is None
    with pytest.raises(Forbidden, match="too many"):
        program.login("nobody-1", "wrong", "198.51.100.99")
    program._failures["address:203.0.113.7"] = [time.monotonic()] * 19
    assert program.login("spray", "wrong", "203.0.113.7") is None
    with pytest.raises(Forbidden, match="too many"):
        program.login("olga", "correct horse", "203.0.113.7")
    assert program.login("olga", "correct horse", "203.0.113.8").name == "olga"


# ---------------------------------------------------------------- requests that are not what they seem


def test_no_form_works_without_its_token(app, member):
    """Every route that takes a POST and is no program's call refuses a form from elsewhere."""
    known = member.get("/system", headers=HTML)
    assert known.status_code == 200
    seen = 0
    for rule in app.url_map.iter_rules():
        if "POST" not in rule.methods or rule.rule.startswith(("/api/", "/alert", "/slack/")):
            continue
        path = re.sub(r"<[^>]+>", "x", rule.rule)
        answer = member.post(path, data={"reason": "x", "digest": "x"}, headers={"Origin": "https://evil.example", **HTML})
        assert answer.status_code in (403, 404), path
        seen += 1
    assert seen > 10


@pytest.mark.parametrize("headers", [{"X-HTTP-Method-Override": "POST"}, {"X-Method-Override": "DELETE"}, {"X-HTTP-Method": "PUT"}])
def test_no_header_or_field_changes_the_method(member, program, headers):
    """A GET stays a GET, whatever a header or a field says."""
    assert member.get("/pause?_method=POST", headers=headers).status_code == 405
    assert member.get("/api/v1/pause?_method=POST", headers=headers).status_code == 405
    assert program.paused() == ""


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "TRACE", "CONNECT", "PROPFIND"])
def test_methods_that_are_not_there_are_refused(client, method):
    """Nothing answers to a method that no call has."""
    for path in ("/", "/alert", "/api/v1/incidents", "/login"):
        assert client.open(path, method=method).status_code in (405, 501)


def test_the_host_header_leads_nowhere(client, member):
    """Whatever host a request names, no address in an answer is made of it."""
    for path in ("/", "/login", "/login?next=/audit", "/approvals", "/openapi.json", "/docs"):
        for answer in (
            client.get(path, headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example", **HTML}),
            member.get(path, headers={"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "https", **HTML}),
        ):
            assert b"evil.example" not in answer.data
            assert "evil.example" not in answer.headers.get("Location", "")


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.example",
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "%2f%2fevil.example",
        "/%0d%0aSet-Cookie:x=1",
        "\\/evil",
    ],
)
def test_no_redirect_leaves_the_site(client, target):
    """After login only a path of this site is followed, and no header is added by it."""
    answer = log_in(client, next=target)
    assert answer.headers["Location"].startswith("/")
    assert not answer.headers["Location"].startswith(("//", "/\\"))
    assert len(answer.headers.getlist("Set-Cookie")) == 1


@pytest.mark.parametrize(
    "path",
    [
        "/static/../../orchestrator.example.toml",
        "/static/%2e%2e/%2e%2e/auth.py",
        "/static/..%5c..%5cauth.py",
        "/static//etc/passwd",
        "/schemas/../auth.py",
        "/runs/../../var/admin.token",
    ],
)
def test_no_path_leaves_its_folder(member, path):
    """Files beside the static ones cannot be read, however the way there is written."""
    answer = member.get(path)
    assert answer.status_code in (303, 308, 400, 404)
    assert b"import" not in answer.data
    assert b"root:" not in answer.data


def test_a_body_over_the_limit_is_refused_everywhere(client, program):
    """Too large is 413 for programs and for forms, and nothing of it is kept."""
    big = b"x" * 200_000
    token = {"Authorization": f"Bearer {_token(program)}"}
    assert client.post("/alert", data=big, headers=token).status_code in (403, 413)
    assert client.post("/login", data={"name": "x" * 200_000, "csrf": "x"}).status_code == 413
    assert client.post("/slack/actions", data=big).status_code in (404, 413)


def test_many_fields_and_deep_json_are_no_fault_of_ours(client, program):
    """Ten thousand fields, deep nesting and odd encodings are refused without a 5xx."""
    admin = {"Authorization": f"Bearer {program.create_token(f'deep-{time.monotonic_ns()}', Role.ADMIN)}"}
    many = "&".join(f"f{number}=1" for number in range(10_000))
    assert client.post("/login", data=many, content_type="application/x-www-form-urlencoded").status_code in (403, 413)
    for body in (
        b"[" * 50_000,
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"\xff\xfe{}",
        b'{"alerts": [{"labels": {"a\\u0000": "\\ud800"}}]}',
    ):
        assert client.post("/alert", data=body, headers=admin).status_code < 500


def test_a_token_in_the_address_is_no_token(client, program):
    """Tokens are taken from the header only: an address ends in logs."""
    token = _token(program)
    for path in (f"/api/v1/incidents?token={token}", f"/api/v1/incidents?access_token={token}"):
        assert client.get(path).status_code == 401
    assert client.get("/api/v1/incidents", headers={"Authorization": f"Basic {token}"}).status_code == 401
    assert client.get("/api/v1/incidents", headers={"Authorization": f"bearer {token}"}).status_code == 200


def test_other_sites_cannot_read_with_the_cookie(member):
    """A preflight of another origin is not allowed anything."""
    answer = member.options("/api/v1/incidents", headers={"Origin": "https://evil.example", "Access-Control-Request-Method": "GET"})
    assert not [name for name, _ in answer.headers if name.startswith("Access-Control")]
