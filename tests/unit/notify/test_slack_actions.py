"""A press of a Slack button counts only if Slack itself says so, now."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.errors import InvalidRequest, NotAuthenticated
from orchestrator.notify.slack_actions import SlackAction, parse_action, reject_form, verify_signature

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
NOW = datetime(2026, 11, 20, 8, 0, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
BODY = b"payload=%7B%7D"


def signed(secret: str = SECRET, stamp: str = STAMP, body: bytes = BODY) -> str:
    """Return Slack's signature."""
    return "v0=" + hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()


def test_slacks_own_example_is_verified() -> None:
    """The example of Slack's documentation verifies."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA"
        b"&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554"
        b"%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    signature = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    verify_signature(SECRET, "1531420618", body, signature, datetime.fromtimestamp(1531420618, UTC))


@pytest.mark.parametrize(
    ("secret", "stamp", "body", "signature", "now"),
    [
        (SECRET, STAMP, BODY + b"x", signed(), NOW),
        (SECRET, STAMP, BODY, signed("other"), NOW),
        (SECRET, STAMP, BODY, "", NOW),
        (SECRET, STAMP, BODY, "v0=ü\ud800", NOW),
        (SECRET, STAMP, BODY, signed(), NOW + timedelta(seconds=301)),
        (SECRET, STAMP, BODY, signed(), NOW - timedelta(seconds=301)),
        (SECRET, "", BODY, signed(stamp=""), NOW),
        (SECRET, "²", BODY, signed(stamp="²"), NOW),
        (SECRET, "9" * 400, BODY, signed(stamp="9" * 400), NOW),
        ("", STAMP, BODY, signed(""), NOW),
    ],
)
def test_what_slack_did_not_sign_now_is_refused(secret: str, stamp: str, body: bytes, signature: str, now: datetime) -> None:
    """Another body, secret or time, or no secret at all, is not authenticated."""
    with pytest.raises(NotAuthenticated):
        verify_signature(secret, stamp, body, signature, now)


def test_a_request_within_five_minutes_is_fresh() -> None:
    """Up to five minutes either way a signature counts."""
    for offset in (-300, 0, 300):
        verify_signature(SECRET, STAMP, BODY, signed(), NOW + timedelta(seconds=offset))


def form(**more: Any) -> dict[str, str]:
    """Return a form as Slack sends it, with some of the payload replaced."""
    payload = {
        "type": "block_actions",
        "user": {"id": "U1"},
        "response_url": "https://hooks.slack.com/actions/1",
        "actions": [{"action_id": "approve", "value": json.dumps({"approval": "i:1", "digest": "d"})}],
        **more,
    }
    return {"payload": json.dumps(payload)}


def test_a_button_is_read() -> None:
    """User, approval, digest and decision come out; an answer goes to Slack's own host only."""
    assert parse_action(form()) == SlackAction("U1", "i:1", "d", "approve", "https://hooks.slack.com/actions/1")
    assert parse_action(form(response_url="http://169.254.169.254/")).response_url == ""


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"payload": ""},
        {"payload": "[]"},
        {"payload": "[" * 100_000},
        form(actions=[]),
        form(actions="x"),
        form(actions=[{"action_id": "open_sesame"}]),
        form(type="view_submission"),
        form(type="view_submission", view={"callback_id": "other"}),
        form(type="view_submission", view={"callback_id": "reject", "private_metadata": "x"}),
        form(type="view_submission", view={"callback_id": "reject", "private_metadata": '{"approval": "i:1"}'}),
        form(actions=[{"action_id": ["approve"]}]),
        form(actions=[{"action_id": "reject", "value": "x"}]),
        form(actions=[{"action_id": "reject", "value": '{"approval": "i:1"}'}]),
        form(user="U1"),
        form(user={"id": 1}),
    ],
)
def test_what_is_no_button_of_ours_is_refused(wrong: dict[str, str]) -> None:
    """Anything else is an invalid request, never a crash."""
    with pytest.raises(InvalidRequest):
        parse_action(wrong)


def test_a_button_that_only_leads_away_decides_nothing() -> None:
    """Slack also tells of a press of a link; it carries no decision."""
    for name in ("open", "open_reject"):
        assert parse_action(form(actions=[{"action_id": name}])) == SlackAction("U1")


def test_the_form_asks_for_a_reason_and_gives_it_back() -> None:
    """The form holds no reason beforehand; sent, it is a rejection of what was shown, with what the person wrote."""
    pressed = parse_action(
        form(actions=[{"action_id": "reject", "value": json.dumps({"approval": "i:1", "digest": "d"})}], trigger_id="t1")
    )
    assert pressed.trigger == "t1"
    view = reject_form(pressed, "restart <nginx> @here")
    field = next(block for block in view["blocks"] if block["type"] == "input")
    assert "initial_value" not in field["element"]
    assert not field.get("optional", False)
    assert "<nginx>" not in json.dumps(view)
    assert "@here" not in json.dumps(view)
    view["state"] = {"values": {"reason": {"reason": {"value": "  the disk is full  "}}}}
    sent = parse_action(form(type="view_submission", view=view))
    assert sent == SlackAction("U1", "i:1", "d", "reject", "https://hooks.slack.com/actions/1", form=True, reason="the disk is full")
    view["state"] = {"values": {"reason": {"reason": {"value": None}}}}
    assert parse_action(form(type="view_submission", view=view)).reason == ""


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_payload_is_read_or_refused(text: str) -> None:
    """Whatever the payload holds, it is a button or an invalid request."""
    try:
        parse_action({"payload": text})
    except InvalidRequest:
        return
