"""Slack end to end against a local server: pressed, acknowledged, done once, and the message says so."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import replace
from urllib.parse import urlencode

import pytest
from asked import ask, copy, receive, settings_in
from inboxes import BOT_TOKEN, CHANNEL, SlackServer, buttons, running
from pydantic import SecretStr
from services import free_port

from orchestrator.app import build
from orchestrator.chores import Chores
from orchestrator.errors import SettingsError
from orchestrator.model import Actor, ApprovalState, Happening, Role
from orchestrator.telling.chat import Chat, shown
from orchestrator.web import create_app

SECRET = "canary-signing-secret"
USERS = json.dumps({"U1": "olga", "U2": "mia", "U3": "vic", "U4": "nobody"})
PUBLIC = "https://ops.example"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Return a place where one question waits, and the question's id; Slack's letter waits in the outbox."""
    place = tmp_path_factory.mktemp("asked")
    return place, ask(place, NOTIFY__SLACK_BOT_TOKEN="x", NOTIFY__SLACK_CHANNEL=CHANNEL)


@pytest.fixture
def slack():
    """Run a server in Slack's place."""
    with running(SlackServer()) as server:
        yield server
    assert server.faults == []


class Desk:
    """The program with its chat, one approval, and somebody who presses buttons."""

    def __init__(self, place, approval, slack, *, bot=True, url=None, **more):
        address = url or slack.url
        chat = {"NOTIFY__SLACK_BOT_TOKEN": BOT_TOKEN, "NOTIFY__SLACK_CHANNEL": CHANNEL}
        hook = {"NOTIFY__SLACK_WEBHOOK_URL": f"{address}/services/canary"}
        self.settings = settings_in(
            place,
            **(chat if bot else hook),
            NOTIFY__SLACK_API_URL=f"{address}/api",
            NOTIFY__SLACK_SIGNING_SECRET=SECRET,
            NOTIFY__SLACK_USERS=USERS,
            SERVER__PUBLIC_URL=PUBLIC,
            **more,
        )
        self.slack, self.id = slack, approval
        self.start()

    def start(self):
        """Build the program anew, as after a crash."""
        self.program = build(self.settings)
        self.client = create_app(self.program).test_client()
        self.chores = Chores(self.program)
        self.chat = Chat(self.program)

    def look(self):
        """Let a worker look once at everything."""
        self.chores.notify()
        self.chat.run()

    @property
    def approval(self):
        """The approval as it stands."""
        return self.program.approval(self.id)

    def press(self, decision, user="U1", *, digest=None, response="/actions/1", trigger="t1", **headers):
        """Press a button and return the answer."""
        value = json.dumps({"approval": self.id, "digest": digest or self.approval.digest})
        payload = {
            "type": "block_actions",
            "user": {"id": user},
            "trigger_id": trigger,
            "response_url": self.slack.url + response,
            "actions": [{"action_id": decision, "value": value, "action_ts": "1"}],
        }
        return self.send(payload, **headers)

    def send(self, payload, *, secret=SECRET, age_s=0, **headers):
        """Send a payload as Slack does."""
        body, stamp = urlencode({"payload": json.dumps(payload)}).encode(), str(int(time.time() - age_s))
        signature = "v0=" + hmac.new(secret.encode(), f"v0:{stamp}:".encode() + body, hashlib.sha256).hexdigest()
        sent = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature, "Content-Type": "application/x-www-form-urlencoded"}
        return self.client.post("/slack/actions", data=body, headers={**sent, **headers})

    def private(self):
        """Return what single persons were told."""
        return [body["text"] for body in self.slack.of("actions") if body.get("response_type") == "ephemeral"]


@pytest.fixture
def opened(prepared, slack, tmp_path):
    """Return a function that opens desks over copies of the prepared place, and closes them."""
    desks = []

    def open_desk(**more):
        desk = Desk(copy(prepared[0], tmp_path / f"desk{len(desks)}"), prepared[1], slack, **more)
        desks.append(desk)
        return desk

    yield open_desk
    for desk in desks:
        desk.program.stop()


@pytest.fixture
def desk(opened):
    """Return a desk with a bot whose question has been posted."""
    made = opened()
    made.look()
    return made


def test_the_card_is_posted_with_its_buttons(desk, slack):
    """The message says what the card says, carries approve, reject and a link to the card, and no diff."""
    (posted,) = slack.of("chat.postMessage")
    assert set(buttons(posted)) == {"approve", "reject", "open"}
    assert buttons(posted)["open"]["url"] == f"{PUBLIC}/approvals/{desk.id}"
    text = json.dumps(posted)
    for word in ("restart_service", "web1", "nginx", "Verdict", "Check run", "Undo", "Who decides", "Expires"):
        assert word in text
    assert json.loads(buttons(posted)["approve"]["value"])["digest"] == desk.approval.digest


def test_an_approval_is_acknowledged_then_done_and_stamped(desk, slack):
    """The press is answered at once with nothing; the worker approves, and the buttons give way to who decided and when."""
    answer = desk.press("approve")
    assert (answer.status_code, answer.data) == (200, b"")
    assert desk.approval.state is ApprovalState.PENDING
    desk.look()
    assert desk.approval.state is ApprovalState.GRANTED
    assert desk.approval.answers[0].actor == "olga"
    assert desk.approval.answers[0].reason == ""
    (replaced,) = slack.of("actions")
    (changed,) = slack.of("chat.update")
    for message in (replaced, changed):
        assert set(buttons(message)) == {"open"}
        assert "Approved by olga at " in json.dumps(message)
    assert replaced["replace_original"] is True
    desk.look()
    assert len(slack.of("chat.update")) == 1


def test_a_repeated_request_counts_once(desk, slack):
    """What Slack sends again, because it heard no answer, is the same press."""
    stamps = {"X-Slack-Retry-Num": "1", "X-Slack-Retry-Reason": "http_timeout"}
    assert [desk.press("approve").status_code, desk.press("approve", **stamps).status_code] == [200, 200]
    desk.look()
    assert desk.press("approve", **stamps).status_code == 200
    desk.look()
    assert len(desk.approval.answers) == 1
    assert len(slack.of("actions")) == 1


def test_a_rejection_asks_for_the_reason_and_nothing_is_written_beforehand(desk, slack):
    """The button opens a form; an empty one stays open; a sent one rejects with the person's own words."""
    assert desk.press("reject").status_code == 200
    (opened,) = slack.of("views.open")
    view = opened["view"]
    assert opened["trigger_id"] == "t1"
    assert "initial_value" not in json.dumps(view)
    desk.look()
    assert desk.approval.state is ApprovalState.PENDING
    view["state"] = {"values": {"reason": {"reason": {"value": "  "}}}}
    empty = desk.send({"type": "view_submission", "user": {"id": "U1"}, "view": view})
    assert empty.json["response_action"] == "errors"
    view["state"] = {"values": {"reason": {"reason": {"value": "the disk is full, not nginx"}}}}
    assert desk.send({"type": "view_submission", "user": {"id": "U1"}, "view": view}).data == b""
    desk.look()
    assert desk.approval.state is ApprovalState.REJECTED
    assert desk.approval.answers[0].reason == "the disk is full, not nginx"
    assert "Rejected by olga" in json.dumps(slack.of("chat.update")[0])


def test_a_form_that_cannot_be_opened_names_the_page(desk, slack):
    """Where Slack refuses the form, the person is told where a reason can be given; a repeated press opens nothing twice."""
    slack.error = "expired_trigger_id"
    assert desk.press("reject").status_code == 200
    assert desk.press("reject").status_code == 200
    slack.error = ""
    desk.look()
    (words,) = desk.private()
    assert f"{PUBLIC}/approvals/{desk.id}" in words
    assert len(slack.of("views.open")) == 1


@pytest.mark.parametrize(("user", "words"), [("U3", "may not answer"), ("U4", "belongs to no user"), ("U9", "belongs to no user")])
def test_who_may_not_answer_is_told_alone(desk, user, words):
    """A viewer, a mapping to nobody and a stranger are told why, and no form is opened for them."""
    for decision in ("approve", "reject"):
        assert desk.press(decision, user, trigger=f"{decision}{user}").status_code == 200
    desk.look()
    assert desk.approval.answers == ()
    assert all(words in said for said in desk.private())
    assert desk.slack.of("views.open") == []


def test_an_account_that_is_off_does_not_answer(desk):
    """A switched-off account has no voice in chat either, not even with a press that waits already."""
    desk.press("approve")
    desk.program.disable_user("olga")
    desk.look()
    assert desk.approval.answers == ()
    assert "Not done" in desk.private()[0]


def test_decided_elsewhere_the_buttons_go(desk, slack):
    """A decision on the page takes the buttons off the message; a late press is told who decided."""
    desk.program.approve(desk.id, Actor("mia", Role.APPROVER, ("oncall",), "page"), desk.approval.digest)
    desk.look()
    (changed,) = slack.of("chat.update")
    assert set(buttons(changed)) == {"open"}
    assert "Approved by mia" in json.dumps(changed)
    desk.press("approve")
    desk.look()
    assert "decided already: approved by mia" in desk.private()[0]
    assert len(desk.approval.answers) == 1


def test_a_message_that_was_noted_late_is_changed_too(opened, slack):
    """Decided while Slack was still taking the message: as soon as the message is noted, it is changed."""
    desk = opened()
    approval = desk.approval
    desk.program.approve(desk.id, Actor("mia", Role.APPROVER, ("oncall",), "page"), approval.digest)
    desk.chat.run()
    assert slack.of("chat.update") == []
    desk.program.store.errands.posted("slack", desk.id, json.dumps({"channel": CHANNEL, "ts": "1.1"}), shown(approval))
    desk.chat.run()
    assert "Approved by mia" in json.dumps(slack.of("chat.update")[0])


def test_an_expired_question_loses_its_buttons(desk, slack):
    """Nobody answered: the message says so without anybody's press."""
    with desk.program.store.db.transaction():
        desk.program.store.runs.settle_approval(desk.id, ApprovalState.EXPIRED)
        desk.program.note(Happening("test.time_passed"))
    desk.look()
    assert "nobody decided" in json.dumps(slack.of("chat.update")[0])
    assert set(buttons(slack.of("chat.update")[0])) == {"open"}


def test_a_crash_after_the_acknowledgement_loses_nothing(desk, slack):
    """Killed before the work, or after the decision and before the answer, the next worker ends it, and the answer counts once."""
    desk.press("approve")
    desk.program.stop()
    desk.start()
    errand = desk.program.store.errands.take()[0]
    desk.program.approve(desk.id, desk.program.chat_actor("U1"), desk.approval.digest)
    desk.program.stop()  # decided, and nothing said yet
    desk.start()
    desk.program.store.errands.failed(errand, "", 0)
    desk.look()
    assert len(desk.approval.answers) == 1
    assert "Approved by olga" in json.dumps(slack.of("actions")[0])
    assert desk.private() == []


def test_a_slow_slack_holds_nothing_up(opened, slack):
    """Slack takes no answer: the decision stands at once, and the message follows when Slack is back."""
    desk = opened()
    desk.look()
    slack.status = 503
    desk.press("approve")
    desk.look()
    assert desk.approval.state is ApprovalState.GRANTED
    assert "notify:slack" in {item["what"] for item in desk.program.health()["degraded"]}
    desk.look()  # not its time yet: nothing is forgotten by looking
    slack.status = 200
    table = desk.program.store.db.tables
    for one in (table.posted, table.errand):
        one.update(due=0).where(one.state.in_(["open", "pending"])).execute()
    desk.look()
    assert "Approved by olga" in json.dumps(slack.of("chat.update")[-1])
    assert desk.program.store.errands.take() == []


@pytest.mark.parametrize("address", ["http://169.254.169.254/latest", "https://evil.example/", "file:///etc/passwd"])
def test_answers_go_to_slack_only(desk, slack, address):
    """A response address that is not Slack's own is not called."""
    value = json.dumps({"approval": desk.id, "digest": desk.approval.digest})
    payload = {
        "type": "block_actions",
        "user": {"id": "U1"},
        "response_url": address,
        "actions": [{"action_id": "approve", "value": value}],
    }
    assert desk.send(payload).status_code == 200
    desk.look()
    assert desk.approval.state is ApprovalState.GRANTED
    assert slack.of("actions") == []


def test_only_slack_itself_presses(desk):
    """Another secret, an old request and one from the future are refused, and nothing is written down."""
    payload = {"type": "block_actions", "user": {"id": "U1"}, "actions": [{"action_id": "open"}]}
    assert desk.send(payload, secret="guess").status_code == 401
    assert desk.send(payload, age_s=400).status_code == 401
    assert desk.send(payload, age_s=-400).status_code == 401
    assert desk.send(payload).status_code == 200
    assert desk.program.store.errands.take() == []


def test_a_webhook_alone_works_with_less(opened, slack):
    """Without a bot the question is posted, approve works, a rejection leads to the page, and the pressed message is replaced."""
    desk = opened(bot=False)
    desk.look()
    (posted,) = slack.of("services")
    assert set(buttons(posted)) == {"approve", "open", "open_reject"}
    assert buttons(posted)["open_reject"]["url"] == f"{PUBLIC}/approvals/{desk.id}"
    desk.press("reject")
    desk.look()
    assert desk.approval.state is ApprovalState.PENDING
    assert f"{PUBLIC}/approvals/{desk.id}" in desk.private()[0]
    desk.press("approve")
    desk.look()
    assert desk.approval.state is ApprovalState.GRANTED
    assert "Approved by olga" in json.dumps([body for body in slack.of("actions") if body.get("replace_original")])
    assert slack.of("chat.update") == []


def test_without_the_signing_secret_there_are_no_buttons(opened, slack):
    """Where nobody could tell whether a press comes from Slack, nothing can be pressed."""
    desk = opened()
    desk.program.stop()
    desk.settings = desk.settings.model_copy(
        update={"notify": desk.settings.notify.model_copy(update={"slack_signing_secret": SecretStr("")})}
    )
    desk.start()
    desk.look()
    assert set(buttons(slack.of("chat.postMessage")[0])) == {"open"}
    assert desk.press("approve").status_code == 404


def test_a_wrong_token_is_said_without_it(opened, slack):
    """A refused bot is degraded, and no text holds its token."""
    desk = opened(NOTIFY__STORM_PER_MINUTE="20")
    desk.program.channels["slack"]._token = "xoxb-canary-wrong"
    desk.look()
    (why,) = [item["why"] for item in desk.program.health()["degraded"] if item["what"] == "notify:slack"]
    assert "invalid_auth" in why
    assert "xoxb" not in why


def test_hostile_labels_stay_text(opened, slack):
    """Mentions, links and line breaks in labels reach Slack as literal text."""
    desk = opened()
    hostile = "<!channel> <https://evil.example|ok>\r\n*bold* @here"
    identity = receive(desk.program, alertname=hostile, instance="nowhere:1")
    desk.program.engine.work(identity)
    desk.look()
    text = json.dumps(slack.of("chat.postMessage"), ensure_ascii=False)
    assert "evil.example" in text
    for bad in ("<!channel>", "<https", "@here", "\\r", "*bold*"):
        assert bad not in text


def test_two_people_are_counted_on_the_message(opened, slack):
    """Where two are needed, the first yes leaves the buttons and says who has approved."""
    desk = opened()
    approval = desk.approval
    with desk.program.store.db.transaction():
        desk.program.store.runs.answer(desk.id, lambda before: replace(before, need=2))
    desk.look()
    desk.press("approve", "U1")
    desk.look()
    changed = slack.of("chat.update")[-1]
    assert set(buttons(changed)) == {"approve", "reject", "open"}
    assert "1 of 2 have approved: olga" in json.dumps(changed)
    desk.press("approve", "U2", trigger="t2")
    desk.look()
    assert "Approved by olga and mia" in json.dumps(slack.of("chat.update")[-1])
    assert desk.approval.digest == approval.digest


# ---------------------------------------------------------------- reminders


def due(desk, share):
    """Move the question's time so that this share of it is over."""
    table, now = desk.program.store.db.tables.approval, desk.program.store.db.now_ms()
    table.update(created_at=now - int(share * 900_000), expires_at=now + int((1 - share) * 900_000)).where(table.id == desk.id).execute()


def test_reminders_are_written_once_and_reach_the_next_channel(opened, slack):
    """At half of the time and before the end who was asked hears of it again, each once; the next channel comes in with the second."""
    desk = opened(
        NOTIFY__SMTP_HOST="127.0.0.1",
        NOTIFY__SMTP_PORT=str(free_port()),
        NOTIFY__MAIL_TO="anna@ops.example",
        NOTIFY__ESCALATE_TO="mail",
    )
    reminders = next(chore for chore in desk.chores.all() if chore.name == "remind")

    def letters():
        table = desk.program.store.db.tables.outbox
        return sorted((row.kind, row.channel) for row in table.select().where(table.kind == "approval.reminder"))

    due(desk, 0.3)
    reminders.do()
    assert letters() == []
    due(desk, 0.6)
    reminders.do()
    reminders.do()
    assert letters() == [("approval.reminder", "mail"), ("approval.reminder", "slack")]
    due(desk, 0.9)
    desk.program.stop()
    desk.start()
    reminders = next(chore for chore in desk.chores.all() if chore.name == "remind")
    reminders.do()
    reminders.do()
    assert len(letters()) == 4
    told = [event for event in desk.program.timeline(desk.id.split(":")[0]) if event.kind == "approval.reminder"]
    assert [event.data["number"] for event in told] == [1, 2]
    desk.look()
    assert "Still waiting for approval" in slack.of("chat.postMessage")[-1]["text"]


def test_a_decided_question_is_not_reminded_of(desk):
    """After the answer there is no reminder."""
    desk.program.approve(desk.id, Actor("mia", Role.APPROVER, ("oncall",), "page"), desk.approval.digest)
    due(desk, 0.9)
    next(chore for chore in desk.chores.all() if chore.name == "remind").do()
    assert all(event.kind != "approval.reminder" for event in desk.program.timeline(desk.id.split(":")[0]))


def test_a_channel_that_is_not_there_is_told_at_start(tmp_path):
    """A reminder that would reach nobody is refused with the settings."""
    with pytest.raises(SettingsError, match="escalate_to"):
        build(settings_in(tmp_path, NOTIFY__ESCALATE_TO="pager"))
    with pytest.raises(SettingsError, match="slack_channel"):
        build(settings_in(tmp_path, NOTIFY__SLACK_BOT_TOKEN="x"))
