"""nginx is stopped: real monitoring notices, a person says yes on the command line, and nginx is repaired and verified."""

from __future__ import annotations

import re

import pytest
from double import HttpDouble, Reply
from farm import SERVICE_DOWN, Nginx, Supervisor, Watch, applied, incident_of, kinds, short_folder, write_inventory
from inboxes import mail_server, text
from server import Server
from services import until

TRAIL = [
    "alert.received",
    "context.gathered",
    "decision.made",
    "policy.judged",
    "approval.asked",
    "approval.answered",
    "run.intent",
    "run.started",
    "run.ended",
    "verification.done",
    "incident.resolved",
]


@pytest.mark.foreign
@pytest.mark.timeout(600)
def test_nginx_stopped_is_restarted_after_a_yes_on_the_command_line():
    """From the stop to the mail "resolved" every step is real, asked for, on record and told to people."""
    with short_folder("story-") as folder, Supervisor_with_nginx(folder) as nginx, Watch(folder) as watch:
        labels = {"instance": nginx.address, "service": "nginx"}
        watch.start({nginx.address: labels}, [SERVICE_DOWN])
        with (
            mail_server(folder) as mail,
            HttpDouble(Reply(body=b"ok")) as slack,
            Server(folder, settings(folder, nginx, watch, mail, slack)) as server,
        ):
            watch.connect(server)
            watch.sees(f'probe_success{{instance="{nginx.address}"}} == 1')
            assert server.get("/api/v1/incidents")["items"] == []

            nginx.supervisor.control("stop", "nginx")
            incident = incident_of(server, "ServiceDown", nginx.address)
            server.reaches(incident, "awaiting_approval")
            assert not nginx.answers(), "nothing may be repaired before a person says yes"
            assert applied(server, incident) == []

            approve_on_the_command_line(server, incident)
            ended = server.reaches(incident, "resolved", "escalated", patience_s=180)
            assert (ended["status"], ended["reason"]) == ("resolved", "verified"), ended["detail"]
            assert nginx.answers()

            assert_the_record(server, incident)
            assert_people_were_told(server, incident, mail, slack)
            report = server.record(incident, "restart_service")
            for words in ("resolved (verified)", "seen it myself", "## Verification: healthy"):
                assert words in report


class Supervisor_with_nginx:
    """A supervisor that runs one nginx."""

    def __init__(self, folder):
        self.supervisor = Supervisor(folder / "s")
        self.nginx = Nginx(self.supervisor)

    def __enter__(self):
        self.supervisor.__enter__()
        return self.nginx

    def __exit__(self, *error):
        self.supervisor.__exit__(*error)


def settings(folder, nginx, watch, mail, slack):
    """Return the server's settings: a person is asked, and people are told by mail and in Slack."""
    return {
        **watch.settings,
        "ORCHESTRATOR_INVENTORY__PATHS": str(write_inventory(folder / "hosts.yml", {"web1": nginx.host()})),
        "ORCHESTRATOR_POLICY__MODE": "approve",
        "ORCHESTRATOR_WORKER__SWEEP_S": "0.5",
        "ORCHESTRATOR_NOTIFY__SMTP_HOST": "127.0.0.1",
        "ORCHESTRATOR_NOTIFY__SMTP_PORT": str(mail.port),
        "ORCHESTRATOR_NOTIFY__SMTP_CA_FILE": str(mail.ca_file),
        "ORCHESTRATOR_NOTIFY__MAIL_TO": "oncall@ops.example",
        "ORCHESTRATOR_NOTIFY__SLACK_WEBHOOK_URL": f"{slack.url}/services/secret",
    }


def approve_on_the_command_line(server, incident):
    """Read the card as a person does, and say yes to exactly that."""
    (item,) = [one for one in server.json("approval", "list")["items"] if one["incident"] == incident]
    card = server.command("approval", "show", item["id"]).stdout
    for word in ("restart_service", "web1", "nginx", "low"):
        assert word in card
    server.command("approval", "approve", item["id"], "--reason", "seen it myself", "--digest", item["digest"])


def assert_the_record(server, incident):
    """Hold the audit log to the story, in order and unbroken."""
    told = [kind for kind in kinds(server, incident) if kind in TRAIL]
    assert told == TRAIL
    assert server.json("audit", "verify")["ok"] is True
    (run,) = applied(server, incident)
    assert run["outcome"] == "successful"
    assert list(run["hosts"]) == ["web1"]
    assert run["hosts"]["web1"]["changed"] >= 1
    timeline = server.get(f"/api/v1/incidents/{incident}/timeline?limit=1000")["items"]
    answered = next(event for event in timeline if event["kind"] == "approval.answered")
    assert "seen it myself" in str(answered["data"])


def assert_people_were_told(server, incident, mail, slack):
    """Wait for the mails and the Slack messages of the question and of the end."""
    asked = until(lambda: mail.about("Approval needed", "ServiceDown"), what="a mail that asks")[0]
    (link,) = re.findall(r"https?://[^/\s]+(/\S+)", text(asked))
    opened = server.call("GET", link, token="")
    assert opened.ok, "the mail's own link opens a page"
    assert "restart_service" not in opened.text, "and tells nothing before somebody has signed in"
    over = until(lambda: mail.about("Resolved", "ServiceDown"), what="a mail that says that it is over")[0]
    assert over["To"] == "oncall@ops.example"

    def blocks(words):
        return [call for call in slack.asked if words in call.json()["text"] and call.json()["blocks"]]

    until(lambda: blocks("Approval needed"), what="Slack is asked")
    until(lambda: blocks("Resolved"), what="Slack is told")
