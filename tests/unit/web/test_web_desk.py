"""The desk's calls: the card, narrowing, choices, snoozes, notes and standing grants, each described and each with its problems."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fake_orchestrator import make_approval, make_proposal
from jsonschema import Draft202012Validator

from orchestrator import model as m
from orchestrator.errors import Conflict

INCIDENT = "/api/v1/incidents/inc0000000000001"
APPROVAL = "/api/v1/approvals/inc0000000000001:1"
GRANT = {"entry": "restart_service", "hosts": ["web1"], "minutes": 60, "max_runs": 2, "reason": "it flaps"}


def problem(answer, status: int) -> dict:
    """Check that the answer is a problem document of that status and return it."""
    assert answer.status_code == status, answer.data
    assert answer.mimetype == "application/problem+json"
    return json.loads(answer.data)


def conforms(client, bearer, method: str, path: str, answer) -> None:
    """Check an answer against the schema that the API's description gives for it."""
    document = client.get("/openapi.json").json
    operation = document["paths"][path][method]
    content = operation["responses"][str(answer.status_code)]["content"]
    schema = {**content[answer.mimetype]["schema"], "components": document["components"]}
    Draft202012Validator(schema).validate(json.loads(answer.data))


# ---------------------------------------------------------------- the card


def test_card_is_described_and_narrowed(client, bearer, fake):
    """The card conforms to its schema and is narrowed by hosts and pins."""
    proposal = make_proposal(hosts=("web1", "web2"), parameters={"port": 80, "name": "x"}, origins={"port": "default"})
    fake.approval_map["inc0000000000001:1"] = make_approval(proposal=proposal)
    answer = client.get(f"{APPROVAL}/card", headers=bearer("viewer"))
    assert answer.status_code == 200
    conforms(client, bearer, "get", "/api/v1/approvals/{id}/card", answer)
    query = {"hosts": "web2", "pins": '{"port": 443}'}
    narrowed = client.get(f"{APPROVAL}/card", query_string=query, headers=bearer("viewer")).json
    assert [one["name"] for one in narrowed["hosts"]] == ["web2"]
    assert next(one for one in narrowed["settings"] if one["name"] == "port")["value"] == 443
    assert narrowed["digest"] == "abc123"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"hosts": "db9"}, 409),
        ({"pins": '{"unknown": 1}'}, 409),
        ({"pins": "nonsense"}, 400),
        ({"pins": "[1]"}, 400),
        ({"pins": '{"a": "\\u0000"}'}, 400),
        ({"pins": "[" * 100_000}, 400),
    ],
)
def test_card_refuses_what_widens_or_is_no_json(client, bearer, query, status):
    """A card can only be narrowed, by a JSON object; never 5xx."""
    problem(client.get(f"{APPROVAL}/card", query_string=query, headers=bearer("viewer")), status)


def test_unknown_card_is_404(client, bearer):
    """A card of nothing is 404."""
    problem(client.get("/api/v1/approvals/nothing/card", headers=bearer("viewer")), 404)


def test_conflict_tells_programs_who_decided_and_what_changed(client, bearer, fake):
    """A 409 carries `decided` or `changed` beside the words, as described."""

    def refuse(*_arguments, **_more):
        raise Conflict("decided already: rejected by ben.", decided={"state": "rejected", "by": ["ben"], "at": None, "reason": "no"})

    fake.approve = refuse
    answer = client.post(f"{APPROVAL}/approve", json={"digest": "abc123"}, headers=bearer("approver"))
    assert problem(answer, 409)["decided"]["by"] == ["ben"]
    conforms(client, bearer, "post", "/api/v1/approvals/{id}/approve", answer)


# ---------------------------------------------------------------- acts


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{APPROVAL}/choose", {"alternative": "restart_service", "reason": "better"}),
        (f"{APPROVAL}/escalate", {"to": "dba", "reason": "theirs"}),
        (f"{APPROVAL}/snooze", {"minutes": 5}),
        (f"{INCIDENT}/notes", {"text": "seen"}),
        ("/api/v1/grants", GRANT),
    ],
)
def test_acts_need_an_approver_and_conform(client, bearer, path, body):
    """Each act is refused without a token and to a viewer, takes an approver's, and answers as described."""
    problem(client.post(path, json=body), 401)
    problem(client.post(path, json=body, headers=bearer("viewer")), 403)
    answer = client.post(path, json=body, headers=bearer("approver"))
    assert answer.status_code in (200, 201), answer.data
    described = path.replace("inc0000000000001:1", "{id}").replace("inc0000000000001", "{id}")
    conforms(client, bearer, "post", described, answer)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (f"{APPROVAL}/choose", {"alternative": "restart_service"}),
        (f"{APPROVAL}/choose", {"alternative": "", "reason": "x"}),
        (f"{APPROVAL}/escalate", {"to": "dba"}),
        (f"{APPROVAL}/escalate", {"to": "dba", "reason": ""}),
        (f"{APPROVAL}/snooze", {}),
        (f"{APPROVAL}/snooze", {"minutes": 5, "until": "2026-01-01T00:00:00Z"}),
        (f"{APPROVAL}/snooze", {"minutes": -1}),
        (f"{APPROVAL}/snooze", {"until": "2026-01-01T00:00:00"}),
        (f"{APPROVAL}/snooze", {"until": "soon"}),
        (f"{INCIDENT}/notes", {"text": ""}),
        (f"{INCIDENT}/notes", {"text": "x" * 4001}),
        ("/api/v1/grants", {**GRANT, "reason": ""}),
        ("/api/v1/grants", {**GRANT, "max_runs": 0}),
        ("/api/v1/grants", {**GRANT, "forever": True}),
        ("/api/v1/grants", {key: value for key, value in GRANT.items() if key != "minutes"}),
        ("/api/v1/grants/g/confirm", {}),
    ],
)
def test_bodies_without_reason_or_limit_are_refused(client, bearer, fake, path, body):
    """No reason, no time, no number is ever filled in: 422 or 413, and nothing was done."""
    answer = client.post(path, json=body, headers=bearer("approver"))
    assert answer.status_code in (413, 422), answer.data
    assert fake.calls == []
    assert fake.grant_map == {}


def test_choice_reaches_the_program(client, bearer, fake):
    """A choice arrives with its entry, reason, parameters and hosts."""
    body = {"alternative": "restart_service", "reason": "better", "parameters": {"a": [1]}, "hosts": ["web1"]}
    assert client.post(f"{APPROVAL}/choose", json=body, headers=bearer("approver")).status_code == 200
    assert fake.calls[-1][3:] == ("restart_service", "better", {"a": [1]}, ("web1",))


def test_snooze_counts_from_the_servers_clock(client, bearer, fake):
    """Minutes count from now by the server's clock; a time with an offset is taken as it is."""
    before = fake.now()
    client.post(f"{APPROVAL}/snooze", json={"minutes": 10}, headers=bearer("approver"))
    until = fake.approval_map["inc0000000000001:1"].snoozed_until
    assert before + timedelta(minutes=10) <= until <= fake.now() + timedelta(minutes=10)
    client.post(f"{APPROVAL}/snooze", json={"until": "2026-01-31T06:00:00+02:00"}, headers=bearer("approver"))
    assert fake.approval_map["inc0000000000001:1"].snoozed_until == datetime(2026, 1, 31, 4, tzinfo=UTC)


def test_desk_and_notes_are_listed(client, bearer, fake):
    """The desk tells what needs somebody now and what was put off; notes come as a list; both conform."""
    answer = client.get("/api/v1/desk", headers=bearer("viewer"))
    assert [one["approval"] for one in answer.json["now"]] == ["inc0000000000001:1"]
    conforms(client, bearer, "get", "/api/v1/desk", answer)
    client.post(f"{APPROVAL}/snooze", json={"minutes": 10}, headers=bearer("approver"))
    later = client.get("/api/v1/desk", headers=bearer("viewer")).json
    assert (later["now"], len(later["snoozed"])) == ([], 1)
    fake.note_list = []
    client.post(f"{INCIDENT}/notes", json={"text": "seen"}, headers=bearer("approver"))
    listed = client.get(f"{INCIDENT}/notes", headers=bearer("viewer"))
    assert [one["text"] for one in listed.json["items"]] == ["seen"]
    conforms(client, bearer, "get", "/api/v1/incidents/{id}/notes", listed)


def test_grant_from_birth_to_revocation(client, bearer, fake):
    """A grant is made, listed, shown and taken back; a second revocation of nothing is 404."""
    made = client.post("/api/v1/grants", json=GRANT, headers=bearer("approver"))
    assert made.status_code == 201
    assert made.headers["Location"].endswith("/api/v1/grants/grant1")
    listed = client.get("/api/v1/grants?state=active&entry=restart_service", headers=bearer("viewer"))
    assert [one["id"] for one in listed.json["items"]] == ["grant1"]
    conforms(client, bearer, "get", "/api/v1/grants", listed)
    shown = client.get("/api/v1/grants/grant1", headers=bearer("viewer"))
    conforms(client, bearer, "get", "/api/v1/grants/{id}", shown)
    problem(client.post("/api/v1/grants/grant1/confirm", json={"digest": "d"}, headers=bearer("approver")), 409)
    problem(client.delete("/api/v1/grants/grant1", headers=bearer("viewer")), 403)
    gone = client.delete("/api/v1/grants/grant1?reason=enough", headers=bearer("approver"))
    assert gone.json["state"] == "revoked"
    assert fake.grant_map["grant1"].ended_why == "enough"
    problem(client.delete("/api/v1/grants/nothing", headers=bearer("approver")), 404)
    problem(client.get("/api/v1/grants?state=eternal", headers=bearer("viewer")), 400)


def test_grant_that_waits_is_202(client, bearer, fake):
    """A grant that a second person has to confirm is answered 202."""
    create = fake.create_grant

    def waiting(*arguments, **more):
        given = replace(create(*arguments, **more), state=m.StandingState.WAITING, need=2)
        fake.grant_map[given.id] = given
        return given

    fake.create_grant = waiting
    made = client.post("/api/v1/grants", json=GRANT, headers=bearer("approver"))
    assert made.status_code == 202
    conforms(client, bearer, "post", "/api/v1/grants", made)
    confirmed = client.post("/api/v1/grants/grant1/confirm", json={"digest": "d"}, headers=bearer("approver"))
    assert confirmed.json["state"] == "active"
    conforms(client, bearer, "post", "/api/v1/grants/{id}/confirm", confirmed)


# ---------------------------------------------------------------- what a page does, a program can do

SESSION_ONLY = {"/theme", "/login", "/logout", "/account/password", "/account/sessions", "/mail/<token>", "/slack/actions", "/alert"}
"""They are about one browser's session and who sits there, which a token has not, or are answers to others' protocols."""
CALLED = {
    "/incidents/<id>/<verb>": "POST /api/v1/incidents/<id>/take",
    "/grants/<id>/revoke": "DELETE /api/v1/grants/<id>",
    "/catalogue/<id>/start": "POST /api/v1/runs",
}
"""Forms whose call goes by another name."""


def test_every_form_of_a_page_is_a_call_of_the_api(shared_app):
    """For each form that a page posts there is a described call of the API that does the same."""
    rules = list(shared_app.url_map.iter_rules())
    described = {
        f"{method} {rule.rule}"
        for rule in rules
        for method in rule.methods or ()
        if hasattr(shared_app.view_functions[rule.endpoint], "described")
    }
    forms = {rule.rule for rule in rules if "POST" in (rule.methods or ()) and not rule.rule.startswith("/api/")} - SESSION_ONLY
    assert {"/approvals/<id>/approve", "/pause"} <= forms
    assert {form for form in forms if CALLED.get(form, f"POST /api/v1{form}") not in described} == set()
