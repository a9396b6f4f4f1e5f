"""Slack's buttons: signature, window, whose they are, and what they do."""

from __future__ import annotations

import json
import time
from urllib.parse import urlencode

import pytest
from fake_orchestrator import FakeOrchestrator

from orchestrator.notify.slack_actions import WINDOW_S
from orchestrator.notify.slack_actions import signature_of as signature
from orchestrator.settings import Settings
from orchestrator.web import create_app

SECRET = "shh"


@pytest.fixture
def fake():
    """Return a stand-in that knows two people of Slack."""
    users = {"U1": "olga", "U2": "vic"}
    return FakeOrchestrator(Settings.model_validate({"notify": {"slack_signing_secret": SECRET, "slack_users": users}}))


@pytest.fixture
def client(fake):
    """Return a client of the app with Slack's secret set."""
    return create_app(fake).test_client()


def click(client, verb="approve", user="U1", digest="abc123", *, age_s=0.0, secret=SECRET, payload=None):
    """Send a click as Slack does and return the answer."""
    value = json.dumps({"approval": "inc0000000000001:1", "digest": digest})
    payload = (
        payload
        if payload is not None
        else json.dumps({"type": "block_actions", "user": {"id": user}, "actions": [{"action_id": verb, "value": value}]})
    )
    body = urlencode({"payload": payload}).encode()
    stamp = str(int(time.time() - age_s))
    headers = {
        "X-Slack-Request-Timestamp": stamp,
        "X-Slack-Signature": signature(secret, stamp, body),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    return client.post("/slack/actions", data=body, headers=headers)


def test_the_signature_is_slacks():
    """The signature equals the example of Slack's documentation."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
        b"&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2F"
        b"commands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    expected = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    assert signature("8f742231b10e8888abcd99yyyzzz85a5", "1531420618", body) == expected


def test_a_press_is_written_down_and_acknowledged(client, fake):
    """A press is an errand for a worker; the acknowledgement says nothing and waits for nothing."""
    answer = click(client)
    assert (answer.status_code, answer.data) == (200, b"")
    ((kind, request, pressed),) = fake.calls
    assert (kind, pressed.decision, pressed.user_id, pressed.digest) == ("said", "approve", "U1", "abc123")
    click(client)
    assert fake.calls[-1][1] == request
    assert click(client, digest="other").status_code == 200
    assert fake.calls[-1][1] != request


def test_a_rejection_without_a_form_names_the_page(client, fake):
    """A rejection needs a reason: where no form can be shown, the person is sent to the page."""
    assert click(client, "reject").status_code == 200
    ((kind, _, words),) = fake.calls
    assert kind == "tell"
    assert "/approvals/inc0000000000001:1" in words


@pytest.mark.parametrize("age_s", [WINDOW_S + 60, -WINDOW_S - 60])
def test_a_replay_outside_the_window_is_401(client, fake, age_s):
    """A request five minutes old, or from the future, is refused."""
    assert click(client, age_s=age_s).status_code == 401
    assert fake.calls == []


def test_a_wrong_signature_is_401(client, fake):
    """Without Slack's signature nothing happens."""
    assert click(client, secret="guess").status_code == 401
    assert client.post("/slack/actions", data=b"payload={}").status_code == 401
    assert fake.calls == []


@pytest.mark.parametrize("user", ["U2", "U3"])
def test_who_may_not_answer_is_told(client, fake, user):
    """A viewer and a stranger are told why nothing was done."""
    answer = click(client, user=user)
    assert answer.status_code == 200
    ((kind, _, words),) = fake.calls
    assert (kind, "Not done" in words) == ("tell", True)


@pytest.mark.parametrize("payload", ["", "{}", "[1]", '{"user":{"id":"U1"},"actions":[{"action_id":"approve","value":"x"}]}'])
def test_foreign_payloads_are_422(client, payload):
    """What is none of our buttons is refused."""
    assert click(client, payload=payload).status_code == 422


def test_without_a_secret_there_are_no_buttons():
    """With no signing secret set the address does not exist."""
    assert click(create_app(FakeOrchestrator()).test_client()).status_code == 404
