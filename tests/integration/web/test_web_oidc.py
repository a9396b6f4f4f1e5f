"""Sign-in at an identity provider over real HTTP: only what it signed for us, now, for this browser counts."""

from __future__ import annotations

import re
import subprocess
import sys
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from oidc_provider import CLIENT, SECRET, provider
from services import free_port, until

from orchestrator.app import build
from orchestrator.errors import SettingsError
from orchestrator.model import Role
from orchestrator.settings import Settings
from orchestrator.web import create_app


@pytest.fixture
def idp():
    """Run a provider."""
    with provider() as server:
        yield server


def build_with(tmp_path, issuer, **more):
    """Return an orchestrator that signs people in at `issuer`."""
    oidc = {
        "issuer": issuer,
        "client_id": CLIENT,
        "client_secret": SECRET,
        "timeout_s": 30,
        "roles": {"sre": "approver", "boss": "admin"},
        **more,
    }
    return build(
        Settings.model_validate({"data_dir": str(tmp_path / "var"), "oidc": oidc, "server": {"public_url": "https://ops.example"}})
    )


@pytest.fixture
def program(tmp_path, idp):
    """Return an orchestrator that signs people in at the provider."""
    built = build_with(tmp_path, idp.issuer)
    yield built
    built.stop()


@pytest.fixture
def client(program):
    """Return a browser."""
    return create_app(program).test_client()


def to_provider(client, target="/audit"):
    """Press the button; return the address at the provider."""
    answer = client.get("/login/oidc", query_string={"next": target})
    assert answer.status_code == 303, answer.get_data(as_text=True)
    return answer.headers["Location"]


def back(address):
    """Say yes at the provider; return path and query of the address that it sends the browser to."""
    location = requests.get(address, allow_redirects=False, timeout=60).headers["Location"]
    parts = urlsplit(location)
    assert f"{parts.scheme}://{parts.netloc}" == "https://ops.example"
    return f"{parts.path}?{parts.query}"


def sign_in(client, target="/audit"):
    """Go all the way round."""
    return client.get(back(to_provider(client, target)))


def test_a_person_signs_in_with_role_and_groups(client, program, idp):
    """Code with PKCE, state and nonce; the groups give role and approver groups, and the person lands where they wanted to go."""
    idp.claims["groups"] = ["sre", "oncall"]
    assert b"Sign in with single sign-on" in client.get("/login").data
    answer = sign_in(client)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/audit")
    assert idp.faults == []
    assert idp.asked["redirect_uri"] == "https://ops.example/login/oidc/callback"
    assert "openid" in idp.asked["scope"].split()
    mia = program.user_actor("mia")
    assert (mia.role, mia.groups) == (Role.APPROVER, ("sre", "oncall"))
    assert client.get("/system").status_code == 200
    assert program.health()["degraded"] == [item for item in program.health()["degraded"] if item["what"] != "oidc"]
    events = [event for event in program.audit(limit=1000) if event.kind == "user.login"]
    assert (events[-1].actor, events[-1].data["way"]) == ("mia", "oidc")
    assert "access" not in str(events[-1].data)


@pytest.mark.parametrize(
    "lie",
    [
        "signed by somebody else",
        "signed with the public key",
        "signed with our secret",
        "unsigned",
        "another nonce",
        "no nonce",
        "another audience",
        "another audience, we as party",
        "another issuer",
        "too old",
        "no subject",
        "no id token",
    ],
)
def test_a_token_that_proves_nothing_lets_nobody_in(client, program, idp, lie):
    """Whatever is wrong with the id token, nobody is signed in and no account is made."""
    idp.lie = lie
    answer = sign_in(client)
    assert answer.status_code == 403
    assert client.get("/system").status_code == 303
    assert program.users() == []
    assert SECRET.encode() not in answer.data


def test_an_answer_counts_once_and_only_in_its_browser(client, program, idp):
    """A replayed answer, one with another state, and one in another browser are refused, even by a provider whose codes work twice."""
    idp.lie = "codes work twice"
    address = back(to_provider(client))
    code = dict(parse_qsl(urlsplit(address).query))["code"]
    thief = create_app(program).test_client()
    assert thief.get(address).status_code == 403
    assert client.get(f"/login/oidc/callback?code={code}&state=guess").status_code == 403
    with client.session_transaction() as kept:
        before = dict(kept)
    assert client.get(address).status_code == 303
    assert client.get(address).status_code == 403
    with client.session_transaction() as restored:  # the cookie as it was before the answer
        restored.clear()
        restored.update(before)
    assert client.get(address).status_code == 403


def test_a_stolen_code_needs_the_verifier(client, program, idp):
    """A code that was begun elsewhere cannot be slipped into this browser's sign-in."""
    stolen = dict(parse_qsl(urlsplit(back(to_provider(create_app(program).test_client()))).query))["code"]
    own = dict(parse_qsl(urlsplit(back(to_provider(client))).query))["state"]
    assert client.get(f"/login/oidc/callback?code={stolen}&state={own}").status_code == 403
    assert program.users() == []


def test_an_answer_of_another_provider_is_refused(client, idp):
    """Where the answer names its issuer, it has to be ours."""
    assert client.get(back(to_provider(client)) + "&iss=https://evil.example").status_code == 403


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)"])
def test_next_leads_nowhere_else(client, target):
    """After the provider only paths of this site are followed."""
    assert sign_in(client, target).headers["Location"] == "/"


def test_a_session_before_is_not_kept(client, program):
    """The secret of the session is another one after sign-in: one that was planted is worth nothing."""
    with client.session_transaction() as planted:
        planted["sid"] = "planted"
        planted["csrf"] = "planted"
    sign_in(client)
    with client.session_transaction() as after:
        assert after["sid"] != "planted"
        assert after["csrf"] != "planted"
    assert program.session_actor("planted") is None


def test_groups_are_mapped(tmp_path, idp):
    """With a table of groups only what it names becomes an approver group, and the highest role counts."""
    idp.claims["groups"] = ["sre", "boss", "everybody"]
    program = build_with(tmp_path, idp.issuer, groups={"sre": "oncall"})
    try:
        sign_in(create_app(program).test_client())
        assert (program.user_actor("mia").role, program.user_actor("mia").groups) == (Role.ADMIN, ("oncall",))
    finally:
        program.stop()


def test_groups_can_come_from_user_information(client, program, idp):
    """A provider that keeps groups out of the id token is asked for them; what it says of somebody else is refused."""
    del idp.claims["groups"]
    idp.userinfo = {"groups": ["boss"]}
    sign_in(client)
    assert program.user_actor("mia").role is Role.ADMIN
    idp.userinfo = {"groups": ["boss"], "sub": "u-2"}
    assert sign_in(client).status_code == 403


def test_who_has_no_role_is_not_let_in_and_loses_what_they_had(client, program, idp):
    """Without a group that gives a role nobody comes in; sessions and role of before are gone, too."""
    other = create_app(program).test_client()
    sign_in(other)
    assert other.get("/system").status_code == 200
    idp.claims["groups"] = ["interns"]
    answer = sign_in(client)
    assert answer.status_code == 403
    assert b"none of your groups" in answer.data
    assert other.get("/system").status_code == 303
    assert program.user_actor("mia").role is Role.VIEWER


def test_a_name_of_somebody_else_is_not_taken_over(client, program, idp):
    """A provider's person with the name of a local user, or with another subject, does not become that user."""
    program.create_user("mia", "correct horse", Role.ADMIN)
    assert sign_in(client).status_code == 403
    idp.claims.update({"sub": "u-7", "preferred_username": "ben"})
    assert sign_in(client).status_code == 303
    idp.claims["sub"] = "u-8"
    assert sign_in(client).status_code == 403
    idp.claims.update({"sub": "u-7", "preferred_username": "mia"})  # renamed there: still the same person here
    assert sign_in(client).status_code == 303
    assert {actor.name for actor in program.users()} == {"ben", "mia"}


def test_an_account_that_is_off_stays_off(client, program):
    """Switching an account off ends its sessions, and the provider's word does not bring it back."""
    sign_in(client)
    program.disable_user("mia")
    assert client.get("/system").status_code == 303
    assert sign_in(client).status_code == 403
    program.enable_user("mia")
    assert sign_in(client).status_code == 303


def test_a_provider_without_a_password_of_ours(client, program):
    """Who comes from a provider has no password here: an empty one, or any, is wrong."""
    sign_in(client)
    assert program.login("mia", "", "192.0.2.1") is None
    assert program.login("mia", "correct horse", "192.0.2.1") is None


def test_a_dead_provider_stops_nobody_else(tmp_path):
    """The program starts, says what is degraded, and passwords work while the provider is down."""
    program = build_with(tmp_path, f"http://127.0.0.1:{free_port()}", timeout_s=5)
    try:
        program.create_user("ben", "correct horse", Role.VIEWER)
        client = create_app(program).test_client()
        answer = client.get("/login/oidc")
        assert answer.status_code == 503
        assert b"did not answer" in answer.data
        assert "oidc" in {item["what"] for item in program.health()["degraded"]}
        assert program.health()["ready"]
        token = re.search(r'name="csrf" value="([^"]+)"', answer.get_data(as_text=True)).group(1)
        assert client.post("/login", data={"name": "ben", "password": "correct horse", "csrf": token}).status_code == 303
        assert client.get("/system").status_code == 200
    finally:
        program.stop()


def test_a_provider_that_calls_itself_otherwise_is_refused(client, idp):
    """A description that speaks for another issuer, or signs with a shared secret only, is not used, and is asked for anew."""
    idp.metadata = {"issuer": "https://evil.example"}
    assert client.get("/login/oidc").status_code == 403
    idp.metadata = {"id_token_signing_alg_values_supported": ["HS256", "none"]}
    assert client.get("/login/oidc").status_code == 403
    idp.metadata = {}
    assert client.get("/login/oidc").status_code == 303


def test_passwords_can_be_off(tmp_path, idp):
    """With passwords switched off the form is gone, and a right password lets nobody in."""
    program = build_with(tmp_path, idp.issuer)
    program.settings = program.settings.model_copy(update={"login": program.settings.login.model_copy(update={"passwords": False})})
    try:
        program.create_user("ben", "correct horse", Role.ADMIN)
        client = create_app(program).test_client()
        page = client.get("/login").get_data(as_text=True)
        assert 'name="password"' not in page
        with client.session_transaction() as begun:
            begun["csrf"] = "token"
        answer = client.post("/login", data={"name": "ben", "password": "correct horse", "csrf": "token"})
        assert answer.status_code in (403, 429)
        assert client.get("/system").status_code == 303
        assert sign_in(client).status_code == 303
    finally:
        program.stop()


@pytest.mark.parametrize("oidc", [{"issuer": "http://idp.example", "client_id": "x"}, {"issuer": "https://idp.example"}])
def test_settings_that_cannot_be_safe_are_refused_at_start(tmp_path, oidc):
    """A provider in the clear, or none that knows us, is told before anything is served."""
    program = build(Settings.model_validate({"data_dir": str(tmp_path / "var"), "oidc": oidc}))
    try:
        with pytest.raises(SettingsError, match="oidc"):
            create_app(program)
    finally:
        program.stop()


def test_many_sign_ins_begun_fit_into_a_cookie(client):
    """However often the button is pressed, the cookie stays small and the newest sign-in works."""
    for _ in range(12):
        address = to_provider(client)
    assert len(client.get_cookie("orchestrator_session").value) < 3500
    assert client.get(back(address)).status_code == 303


def test_a_provider_of_somebody_elses_making(tmp_path):
    """Against a provider that we did not write the same works: discovery, keys, code, user information."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "oidc_provider_mock", "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    issuer = f"http://127.0.0.1:{port}"
    program = build_with(tmp_path, issuer)
    try:
        until(lambda: _answers(issuer), what="the provider answers")
        claims = {"preferred_username": "zoe", "groups": ["boss"]}
        requests.put(f"{issuer}/users/u-9", json=claims, timeout=60).raise_for_status()
        client = create_app(program).test_client()
        address = to_provider(client)
        answer = requests.post(address, data={"sub": "u-9"}, allow_redirects=False, timeout=60)
        parts = urlsplit(answer.headers["Location"])
        assert client.get(f"{parts.path}?{parts.query}").headers["Location"] == "/audit"
        assert program.user_actor("zoe").role is Role.ADMIN
    finally:
        process.terminate()
        process.wait(60)
        program.stop()


def _answers(issuer):
    try:
        return requests.get(issuer + "/.well-known/openid-configuration", timeout=5).ok
    except requests.RequestException:
        return False
