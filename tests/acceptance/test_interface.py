"""The outside of the program, walked name by name: every command, every call, every exit code that is promised."""

from __future__ import annotations

import json
import re

import pytest
from server import Server, firing, resolved


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """One server for the module, with an inventory of one local host."""
    folder = tmp_path_factory.mktemp("interface")
    inventory = folder / "hosts.yml"
    inventory.write_text(
        "all:\n  children:\n    recoverable:\n      hosts:\n        web1:\n          ansible_connection: local\n"
        "          ansible_host: 127.0.0.1\n          recoverable_services: [nginx]\n          prometheus_instance: 'web1:9100'\n"
    )
    with Server(folder, {"ORCHESTRATOR_INVENTORY__PATHS": str(inventory), "ORCHESTRATOR_CONTEXT__FROM_HOSTS": "false"}) as running:
        yield running


COMMANDS = """
init | serve | web | worker | demo | doctor | alert send | incident list | incident show | incident explain | incident cancel | incident close
incident retry | incident take | approval list | approval show | approval approve | approval reject | run list | run show | run tail | run cancel
run undo | run settle | run start | catalogue list | catalogue show | catalogue new | catalogue lint | catalogue test | catalogue docs | decide
policy test | eval run | eval compare | audit verify | audit export | pause | resume | user add | user list | user passwd | token create | token list
token revoke | db upgrade
"""


@pytest.mark.parametrize("command", [name.strip() for line in COMMANDS.strip().splitlines() for name in line.split("|")])
def test_every_command_has_help(server, command):
    """Every promised command exists, explains itself and takes --json."""
    told = server.command(*command.split(), "--help").stdout
    assert "Usage:" in told
    assert "--json" in told


CALLS = """
GET /api/v1/alerts | GET /api/v1/incidents | GET /api/v1/incidents/{id} | GET /api/v1/incidents/{id}/timeline | GET /api/v1/approvals
POST /api/v1/approvals/{id}/approve | POST /api/v1/approvals/{id}/reject | GET /api/v1/runs/{id} | GET /api/v1/runs/{id}/events
POST /api/v1/runs/{id}/cancel | POST /api/v1/runs/{id}/undo | GET /api/v1/catalogue | GET /api/v1/catalogue/{id} | GET /api/v1/audit
POST /api/v1/pause | POST /api/v1/resume | POST /alert | GET /healthz | GET /readyz | GET /metrics
"""


def test_every_call_stands_in_the_description(server):
    """Every promised call is in the OpenAPI document that the server itself makes."""
    document = server.call("GET", "/openapi.json", token="").json()
    shapes = {f"{method.upper()} {re.sub(r'{[^}]+}', '{id}', path)}" for path, methods in document["paths"].items() for method in methods}
    promised = {name.strip() for line in CALLS.strip().splitlines() for name in line.split("|")}
    assert promised <= shapes


def test_slack_actions_need_a_signature(server):
    """Slack's call without a valid signature decides nothing."""
    assert server.call("POST", "/slack/actions", token="", data={"payload": "{}"}).status_code in {401, 403, 404}


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/login"])
def test_open_paths_need_no_login(server, path):
    """What is open answers without a login."""
    assert server.call("GET", path, token="").status_code == 200


@pytest.mark.parametrize("path", ["/", "/approvals", "/catalogue", "/audit"])
def test_pages_need_a_login(server, path):
    """A page without a session leads to the login."""
    answer = server.call("GET", path, token="", allow_redirects=False)
    assert answer.status_code in {302, 303}
    assert "/login" in answer.headers["Location"]


def test_webhook_answers_as_promised(server):
    """A group with one usable alert is 202 with its lines; the malformed one is named."""
    group = {"version": "4", "alerts": [firing(instance="a:1"), {"labels": "no"}]}
    answer = server.call("POST", "/alert", token="webhook-secret", json=group)
    assert answer.status_code == 202
    body = answer.json()
    assert body["received"] == 2
    assert set(body["incidents"][0]) >= {"id", "status", "created", "fingerprint"}
    assert body["rejected"][0]["index"] == 1


@pytest.mark.parametrize(
    ("body", "token", "status"),
    [
        (b"{", "webhook-secret", 400),
        (b"{}", "wrong", 401),
        (b"{}", "", 401),
        (b"[]", "webhook-secret", 422),
        (b'{"alerts": 1}', "webhook-secret", 422),
        (b"\xff\xfe", "webhook-secret", 400),
        (b" " * (9 * 1024 * 1024), "webhook-secret", 413),
    ],
)
def test_webhook_refuses_as_promised(server, body, token, status):
    """Bad input has its own status and is told as a problem document; it is never a 5xx."""
    answer = server.call("POST", "/alert", token=token, data=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.json()["status"] == status


def test_webhook_token_can_only_post(server):
    """The token that Alertmanager holds reads nothing."""
    for path in ("/api/v1/incidents", "/api/v1/audit", "/api/v1/alerts"):
        assert server.call("GET", path, token="webhook-secret").status_code == 403


def test_roles_of_tokens(server):
    """A viewer reads and acts on nothing; a revoked token is worthless."""
    secret = server.json("token", "create", "reader", "--role", "viewer")["token"]
    assert server.call("GET", "/api/v1/incidents", token=secret).status_code == 200
    assert server.call("POST", "/api/v1/pause", token=secret, json={"reason": "x"}).status_code == 403
    server.command("token", "revoke", "reader")
    assert server.call("GET", "/api/v1/incidents", token=secret).status_code == 401


def test_alert_has_its_promised_fields(server):
    """A stored alert is found by its fingerprint, with the promised fields; a resolve is seen."""
    alert = firing("FieldsOfAnAlert", instance="b:1")
    (line,) = server.post_alert(alert)
    (item,) = server.get(f"/api/v1/alerts?fingerprint={line['fingerprint']}")["items"]
    assert {"fingerprint", "starts_at", "status", "labels", "incident_id", "received_at"} <= set(item)
    server.post_alert(resolved(alert))
    server.reaches(line["id"], "cleared", "escalated")


def test_lists_page_by_cursor(server):
    """A list of more than the limit has a cursor that leads through all of it, each item once."""
    server.post_alert(*[firing(f"Paged{number}", instance=f"p{number}:1") for number in range(5)])
    seen, cursor = [], ""
    while True:
        page = server.get(f"/api/v1/incidents?limit=2&cursor={cursor}")
        seen += [item["id"] for item in page["items"]]
        cursor = page["next"]
        if not cursor:
            break
    assert len(seen) == len(set(seen))
    assert len(seen) >= 5


def test_approval_on_the_command_line(server):
    """The card is shown, a no needs a reason, a yes carries the digest, and a second answer learns who was first."""
    (line,) = server.post_alert(firing("ServiceDown", instance="web1:9100", service="nginx"))
    server.reaches(line["id"], "awaiting_approval")
    (card,) = [item for item in server.json("approval", "list")["items"] if item["incident"] == line["id"]]
    shown = server.command("approval", "show", card["id"]).stdout
    assert "restart_service" in shown
    assert "nginx" in shown
    server.command("approval", "reject", card["id"], check=2)
    wrong = server.call("POST", f"/api/v1/approvals/{card['id']}/approve", json={"digest": "0" * 64})
    assert wrong.status_code == 409
    server.command("approval", "reject", card["id"], "--reason", "looking myself")
    incident = server.reaches(line["id"], "escalated")
    assert incident["reason"] == "rejected"
    assert "looking myself" in incident["detail"]
    again = server.call("POST", f"/api/v1/approvals/{card['id']}/approve", json={"digest": card["digest"]})
    assert again.status_code == 409
    explained = server.command("incident", "explain", line["id"]).stdout
    assert "rejected" in explained
    server.command("incident", "close", line["id"])
    assert server.incident(line["id"])["status"] == "closed"


def test_pause_and_resume(server):
    """The kill switch is set and taken back, over the API and on the command line."""
    server.command("pause", "--reason", "drill")
    assert server.call("GET", "/readyz", token="").json()["paused"] is True
    assert "drill" in (server.data / "paused").read_text()
    server.command("resume")
    assert server.call("GET", "/readyz", token="").json()["paused"] is False


def test_exit_codes(server, tmp_path):
    """0 done, 1 not so, 2 wrong usage, 3 no server."""
    server.command("audit", "verify", check=0)
    server.command("incident", "show", "nonesuch", check=1)
    server.command("incident", "nonesuch", check=2)
    server.command("--config", str(tmp_path / "none.toml"), "doctor", check=2)
    away = Server(tmp_path)
    away.environment["ORCHESTRATOR_URL"] = "http://127.0.0.1:9"
    away.environment["ORCHESTRATOR_TOKEN"] = "x"
    away.command("incident", "list", check=3)


def test_dry_decision_stores_nothing(server, tmp_path):
    """`decide FILE` names the entry, and nothing is stored."""
    path = tmp_path / "alert.json"
    path.write_text(json.dumps({"version": "4", "alerts": [firing("ServiceDown", instance="web1:9100", service="nginx", dry="yes")]}))
    told = server.command("decide", str(path)).stdout
    assert "restart_service" in told
    assert not [item for item in server.get("/api/v1/alerts?alertname=ServiceDown")["items"] if item["labels"].get("dry")]


def test_audit_log_exports(server):
    """The log is exported as JSON lines and as documents for Elasticsearch's bulk API."""
    lines = server.command("audit", "export").stdout.splitlines()
    assert all("hash" in json.loads(line) for line in lines)
    bulk = server.command("audit", "export", "--format", "ecs").stdout.splitlines()
    assert "create" in json.loads(bulk[0])
    assert "@timestamp" in json.loads(bulk[1])
