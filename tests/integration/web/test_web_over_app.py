"""The faces over the real orchestrator and a real SQLite file; no worker runs."""

from __future__ import annotations

import json

import pytest

from orchestrator.app import build
from orchestrator.model import Role
from orchestrator.settings import Settings
from orchestrator.web import create_app

ALERT = {
    "labels": {"alertname": "ServiceDown", "instance": "web1:9100", "service": "nginx"},
    "status": "firing",
    "startsAt": "2026-03-01T12:00:00Z",
}
HOSTILE = {
    **ALERT,
    "labels": {**ALERT["labels"], "service": "<script>{{ 7*7 }}\u001b[31m"},
    "annotations": {"summary": "\ud800\u0000" + "A" * 100_000},
}


@pytest.fixture
def orchestrator(tmp_path):
    """Return an orchestrator over a new database."""
    built = build(Settings.model_validate({"data_dir": str(tmp_path / "var"), "server": {"max_body_bytes": 1_000_000}}))
    yield built
    built.stop()


@pytest.fixture
def client(orchestrator):
    """Return a client of the app."""
    return create_app(orchestrator).test_client()


@pytest.fixture
def headers(orchestrator):
    """Return a function: role → headers with a fresh token of that role."""
    return lambda role: {"Authorization": f"Bearer {orchestrator.create_token(f'test-{role}', role)}"}


def test_a_delivery_is_read_back(client, headers):
    """What was accepted stands in alerts, incidents, the timeline and on the pages."""
    admin = headers(Role.ADMIN)
    body = json.dumps({"version": "4", "alerts": [ALERT, HOSTILE]})
    first = client.post("/alert", data=body, headers=admin)
    assert first.status_code == 202
    again = client.post("/alert", data=body, headers=admin)
    assert [one["created"] for one in first.json["incidents"]] == [True, True]
    assert [one["created"] for one in again.json["incidents"]] == [False, False]
    assert {one["id"] for one in first.json["incidents"]} == {one["id"] for one in again.json["incidents"]}
    identity, fingerprint = first.json["incidents"][0]["id"], first.json["incidents"][0]["fingerprint"]
    alerts = client.get(f"/api/v1/alerts?fingerprint={fingerprint}&host=web1", headers=admin).json["items"]
    assert alerts[0]["incident_id"] == identity
    assert client.get(f"/api/v1/incidents/{identity}", headers=admin).json["alert"]["fingerprint"] == fingerprint
    assert client.get(f"/api/v1/incidents/{identity}/timeline", headers=admin).json["items"]
    assert len(client.get("/api/v1/incidents?host=web1&alertname=ServiceDown", headers=admin).json["items"]) == 2


def test_lists_lead_through_everything_once(client, headers):
    """Following `next` gives every incident once."""
    admin = headers(Role.ADMIN)
    group = [{**ALERT, "labels": {**ALERT["labels"], "instance": f"web{number}:9100"}} for number in range(7)]
    client.post("/alert", data=json.dumps({"version": "4", "alerts": group}), headers=admin)
    seen, cursor = [], ""
    while cursor is not None:
        answer = client.get("/api/v1/incidents", query_string={"limit": 3, "cursor": cursor}, headers=admin).json
        seen += [item["id"] for item in answer["items"]]
        cursor = answer["next"]
    assert len(seen) == len(set(seen)) == 7


@pytest.mark.parametrize("path", ["incidents", "runs", "approvals", "alerts"])
@pytest.mark.parametrize("cursor", ["xx", "1:2:3", "9" * 40, "%F0%9F", "-1", "'"])
def test_foreign_cursors_are_no_fault_of_ours(client, headers, path, cursor):
    """Whatever is sent as a cursor, the answer is no 5xx."""
    assert client.get(f"/api/v1/{path}?cursor={cursor}", headers=headers(Role.VIEWER)).status_code < 500


def test_pages_show_hostile_alerts_as_text(client, orchestrator, headers):
    """The first start's link opens every page, and an alert's text stays text on them."""
    posted = client.post("/alert", data=json.dumps({"version": "4", "alerts": [HOSTILE]}), headers=headers(Role.ADMIN)).json
    assert client.get(f"/login?code={orchestrator.admin_link() or 'none'}").status_code == 303
    entries = [f"/catalogue/{name}" for name in orchestrator.catalogue().entries]
    for path in ["/", "/approvals", "/catalogue", "/audit", "/system", f"/incidents/{posted['incidents'][0]['id']}", *entries]:
        answer = client.get(path, headers={"Accept": "text/html"})
        assert answer.status_code == 200, path
        assert b"<script>{{" not in answer.data
        assert b"\x1b" not in answer.data


def test_pause_and_resume(client, headers):
    """The kill switch is pulled and released over HTTP, and stands in the readiness."""
    approver = headers(Role.APPROVER)
    assert "storm" in client.post("/api/v1/pause", json={"reason": "storm"}, headers=approver).json["paused"]
    assert client.get("/readyz").json["paused"] is True
    assert client.post("/api/v1/resume", headers=approver).json["paused"] == ""
