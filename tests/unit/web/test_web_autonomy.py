"""Earned autonomy over HTTP: everybody may look, only an admin answers; the schema for editors needs no login."""

from __future__ import annotations

import pytest

LINE = {"alertname": "ServiceDown", "entry": "restart_service", "group": "recoverable"}


def test_the_record_is_shown(client, bearer):
    """A viewer sees each line with its counts and its bound."""
    (item,) = client.get("/api/v1/autonomy", headers=bearer("viewer")).json["items"]
    assert (item["entry"], item["successes"], item["trials"], item["level"]) == ("restart_service", 29, 29, "proposed")


@pytest.mark.parametrize(("answer", "level"), [("accept", "promoted"), ("decline", "declined"), ("demote", "demoted")])
def test_an_admin_answers(client, bearer, answer, level):
    """The answer names the line, and what it stands at is returned with who said so."""
    given = client.post("/api/v1/autonomy", json={**LINE, "answer": answer}, headers=bearer("admin"))
    assert (given.status_code, given.json["level"]) == (200, level)


@pytest.mark.parametrize("role", ["viewer", "approver"])
def test_nobody_else_promotes(client, bearer, role):
    """Whoever may approve one run may not let all of them go."""
    assert client.post("/api/v1/autonomy", json={**LINE, "answer": "accept"}, headers=bearer(role)).status_code == 403


@pytest.mark.parametrize(
    "body", [{}, {**LINE, "answer": "promote"}, {**LINE, "answer": "accept", "more": 1}, {**LINE, "answer": "accept", "group": ""}]
)
def test_other_answers_are_refused(client, bearer, body):
    """Only the three answers exist, for a line that is named whole."""
    assert client.post("/api/v1/autonomy", json=body, headers=bearer("admin")).status_code == 422


def test_the_schema_is_open(client):
    """An editor fetches the schema of an entry's spec file without a login."""
    given = client.get("/schemas/playbook.meta.schema.json")
    assert given.status_code == 200
    assert "catalogue" in given.json["$defs"]["Spec"]["properties"]
