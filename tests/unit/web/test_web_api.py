"""The API's contract, over the stand-in."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fake_orchestrator import NOW, make_alert, make_approval, make_incident
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from orchestrator import model as m

GROUP = {"version": "4", "alerts": [{"labels": {"alertname": "A"}, "status": "firing"}]}
INCIDENT = "/api/v1/incidents/inc0000000000001"
APPROVAL = "/api/v1/approvals/inc0000000000001:1"
RUN = "/api/v1/runs/inc0000000000001:1:check:1"


def assert_problem(answer, status: int) -> dict:
    """Check that the answer is a problem document of that status and return it."""
    assert answer.status_code == status, answer.data
    assert answer.mimetype == "application/problem+json"
    document = json.loads(answer.data)
    assert document["status"] == status
    assert {"type", "title", "detail"} <= document.keys()
    return document


# ---------------------------------------------------------------- intake


@pytest.mark.parametrize("role", ["webhook", "admin"])
def test_alert_is_accepted_from_webhook_and_admin(client, bearer, role):
    """A delivery is answered 202 with what became of each alert."""
    answer = client.post("/alert", json={**GROUP, "alerts": [*GROUP["alerts"], {"no": "labels"}]}, headers=bearer(role))
    assert answer.status_code == 202
    assert answer.json == {
        "incidents": [{"id": "inc0000000000001", "status": "received", "created": True, "fingerprint": "0123456789abcdef"}],
        "rejected": [{"index": 1, "reason": "no labels"}],
        "received": 2,
    }


@pytest.mark.parametrize(
    ("body", "status"), [(b"{", 400), (b"", 400), (b"[]", 422), (b"{}", 422), (b"\xff\xfe", 400), (b"x" * 5000, 413)], ids=repr
)
def test_alert_refuses_what_is_no_webhook(client, bearer, body, status):
    """Bad bodies are the sender's fault: 400, 422 or 413, never 5xx."""
    assert_problem(client.post("/alert", data=body, headers=bearer("webhook")), status)


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer nope"}, {"Authorization": "Basic webhook-token"}, {"Authorization": "Bearer "}]
)
def test_alert_without_a_valid_token_is_401(client, headers):
    """No token, an unknown one or another scheme is 401 with the way in."""
    answer = client.post("/alert", json=GROUP, headers=headers)
    assert_problem(answer, 401)
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("role", ["viewer", "approver"])
def test_alert_is_not_for_people(client, bearer, role):
    """Only the webhook's token and an admin's may post alerts."""
    assert_problem(client.post("/alert", json=GROUP, headers=bearer(role)), 403)


def test_alert_that_cannot_be_stored_is_503_with_retry_after(client, fake, bearer):
    """What is not stored is not acknowledged; Alertmanager is told to come again."""
    fake.stored = False
    answer = client.post("/alert", json=GROUP, headers=bearer("webhook"))
    assert_problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0


# ---------------------------------------------------------------- roles

READS = [
    "/api/v1/alerts",
    "/api/v1/incidents",
    INCIDENT,
    INCIDENT + "/timeline",
    INCIDENT + "/related",
    "/api/v1/approvals",
    APPROVAL,
    "/api/v1/runs",
    RUN,
    RUN + "/events",
    "/api/v1/catalogue",
    "/api/v1/catalogue/restart_service",
    "/api/v1/audit",
    "/api/v1/audit/verify",
    "/api/v1/hosts",
    "/api/v1/health",
    "/api/v1/changes",
]
ACTS = [
    (INCIDENT + "/cancel", {"reason": "no"}),
    (INCIDENT + "/close", {}),
    (INCIDENT + "/retry", None),
    (INCIDENT + "/take", None),
    (APPROVAL + "/approve", {"digest": "abc123", "reason": "yes"}),
    (APPROVAL + "/reject", {"digest": "abc123", "reason": "no"}),
    (RUN + "/cancel", None),
    (RUN + "/undo", None),
    (RUN + "/settle", {"outcome": "done", "reason": "seen"}),
    ("/api/v1/runs", {"entry": "restart_service", "hosts": ["web1"], "parameters": {}}),
    ("/api/v1/decide", GROUP),
    ("/api/v1/pause", {"reason": "storm"}),
    ("/api/v1/resume", None),
]


@pytest.mark.parametrize("path", READS)
def test_reading_needs_a_viewer(client, bearer, path):
    """Everything can be read by viewer, approver and admin, and by nobody else."""
    assert [client.get(path, headers=bearer(role)).status_code for role in ("viewer", "approver", "admin")] == [200] * 3
    assert_problem(client.get(path, headers=bearer("webhook")), 403)
    assert_problem(client.get(path), 401)


@pytest.mark.parametrize(("path", "body"), ACTS)
def test_acting_needs_an_approver(client, bearer, path, body):
    """A viewer's and the webhook's token act on nothing; an approver's does."""
    for role in ("viewer", "webhook"):
        assert_problem(client.post(path, json=body, headers=bearer(role)), 403)
    assert_problem(client.post(path, json=body), 401)
    assert client.post(path, json=body, headers=bearer("approver")).status_code in (200, 201)


def test_admitting_needs_an_admin(client, bearer):
    """Only an admin admits an entry."""
    path = "/api/v1/catalogue/restart_service/admit"
    assert_problem(client.post(path, headers=bearer("approver")), 403)
    assert client.post(path, headers=bearer("admin")).json["admitted"] is True


# ---------------------------------------------------------------- lists


def test_incidents_are_paged_by_cursor(client, fake, bearer):
    """`next` leads through all items once and is null at the end."""
    fake.incident_map = {f"inc{n:013}": make_incident(id=f"inc{n:013}") for n in range(5)}
    seen, cursor = [], ""
    for _ in range(3):
        answer = client.get(f"/api/v1/incidents?limit=2&cursor={cursor}", headers=bearer("viewer")).json
        seen += [item["id"] for item in answer["items"]]
        cursor = answer["next"]
    assert cursor is None
    assert seen == list(fake.incident_map)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("status=awaiting_approval", 1),
        ("status=resolved,closed", 0),
        ("status=resolved&status=awaiting_approval", 1),
        ("fingerprint=0123456789abcdef", 1),
        ("alertname=Other", 0),
        ("host=web1", 1),
        ("host=web2", 0),
        ("since=2026-03-01T11:00:00Z", 1),
        ("since=2026-03-01T14:00:00%2B02:00", 0),
        ("since=2026-03-01T13:00:00+02:00", 1),
        ("since=2026-03-02", 0),
    ],
)
def test_incidents_are_filtered(client, bearer, query, count):
    """Each filter narrows the list."""
    assert len(client.get("/api/v1/incidents?" + query, headers=bearer("viewer")).json["items"]) == count


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=x",
        "limit=-1",
        "limit=1e2",
        "limit=٣",
        "limit=" + "9" * 30,
        "status=nope",
        "since=yesterday",
        "since=0001-01-01T00:00:00%2B23:00",
    ],
)
def test_bad_parameters_name_field_and_mend(client, bearer, query):
    """A bad value is 400 and says which parameter and what to write instead."""
    detail = assert_problem(client.get("/api/v1/incidents?" + query, headers=bearer("viewer")), 400)["detail"]
    assert detail.startswith(query.partition("=")[0] + ":")
    assert "Mend:" in detail


@pytest.mark.parametrize("path", ["alerts", "incidents", "approvals", "runs"])
def test_a_foreign_cursor_is_named(client, fake, bearer, monkeypatch, path):
    """A cursor that is none of ours is 400, whatever the store makes of it."""
    monkeypatch.setattr(fake, path, lambda **arguments: ([], int(arguments["cursor"])))
    assert assert_problem(client.get(f"/api/v1/{path}?cursor=x", headers=bearer("viewer")), 400)["detail"].startswith("cursor:")


def test_alerts_carry_what_the_contract_names(client, bearer):
    """An alert has fingerprint, start, status, labels, incident and time of receipt; host and since narrow."""
    items = client.get("/api/v1/alerts?host=web1&since=2026-03-01T11:00:00Z", headers=bearer("viewer")).json["items"]
    assert len(items) == 1
    assert {"fingerprint", "starts_at", "status", "labels", "incident_id", "received_at"} <= items[0].keys()
    assert client.get("/api/v1/alerts?since=2026-03-02", headers=bearer("viewer")).json == {"items": [], "next": None}


def test_incident_is_dumped_whole(client, bearer):
    """An incident comes with its evidence, proposal, verdict and check."""
    whole = client.get(INCIDENT, headers=bearer("viewer")).json
    assert whole["status"] == "awaiting_approval"
    assert whole["context"]["evidence"][0]["id"] == "prom-1"
    assert whole["proposal"]["parameters"] == {"restart_service_name": "nginx"}
    assert whole["created_at"].endswith("Z")


# ---------------------------------------------------------------- approvals


def test_approving_grants(client, fake, bearer):
    """A sufficient yes is 200 with the approval, narrowing passed on."""
    answer = client.post(
        APPROVAL + "/approve", json={"digest": "abc123", "reason": "ok", "hosts": ["web1"], "pins": {"a": 1}}, headers=bearer("approver")
    )
    assert answer.status_code == 200
    assert answer.json["state"] == "granted"
    given_answer = fake.calls[-1][3]
    assert (given_answer.hosts, given_answer.pins) == (("web1",), {"a": 1})


def test_first_of_two_is_202(client, fake, bearer):
    """While a second person is needed the answer says have and need; the same person again is 403."""
    fake.approval_map["inc0000000000001:1"] = make_approval(need=2)
    body = {"digest": "abc123"}
    answer = client.post(APPROVAL + "/approve", json=body, headers=bearer("approver"))
    assert (answer.status_code, answer.json) == (202, {"have": 1, "need": 2})
    assert_problem(client.post(APPROVAL + "/approve", json=body, headers=bearer("approver")), 403)
    assert client.post(APPROVAL + "/approve", json=body, headers=bearer("admin")).status_code == 200


def test_late_answers_are_409_and_410(client, fake, bearer):
    """Decided already and changed are 409 with by whom and what; expired is 410."""
    assert "digest" in assert_problem(client.post(APPROVAL + "/approve", json={"digest": "old"}, headers=bearer("approver")), 409)["detail"]
    client.post(APPROVAL + "/reject", json={"digest": "abc123", "reason": "no"}, headers=bearer("approver"))
    assert (
        "approver-bot"
        in assert_problem(client.post(APPROVAL + "/approve", json={"digest": "abc123"}, headers=bearer("admin")), 409)["detail"]
    )
    fake.approval_map["inc0000000000001:1"] = make_approval(state=m.ApprovalState.EXPIRED)
    assert_problem(client.post(APPROVAL + "/approve", json={"digest": "abc123"}, headers=bearer("approver")), 410)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"digest": "abc123"},
        {"digest": "abc123", "reason": ""},
        {"digest": 1, "reason": "x"},
        {"digest": "abc123", "reason": "x", "more": 1},
        [],
    ],
)
def test_rejecting_needs_digest_and_reason(client, fake, bearer, body):
    """A no without a reason, or with unknown keys, is 422 and changes nothing."""
    assert_problem(client.post(APPROVAL + "/reject", json=body, headers=bearer("approver")), 422)
    assert fake.calls == []


# ---------------------------------------------------------------- state and errors


def test_readyz_names_reasons(client, fake):
    """Not ready is 503 with what and why; degraded but ready is 200."""
    fake.state = {"ready": True, "degraded": [{"what": "model", "why": "no answer", "since": NOW}]}
    assert client.get("/readyz").json["degraded"] == [{"what": "model", "why": "no answer"}]
    fake.state = {**fake.state, "ready": False}
    answer = client.get("/readyz")
    assert "model: no answer" in assert_problem(answer, 503)["detail"]
    assert "Retry-After" in answer.headers


def test_metrics_are_open_on_loopback_only(client, bearer):
    """Without a token metrics are for this machine; a proxy's header means elsewhere."""
    assert client.get("/metrics").status_code == 200
    far = {"REMOTE_ADDR": "192.0.2.1"}
    assert_problem(client.get("/metrics", environ_overrides=far), 401)
    assert_problem(client.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"}), 401)
    assert client.get("/metrics", environ_overrides=far, headers=bearer("viewer")).status_code == 200
    assert_problem(client.get("/metrics", environ_overrides=far, headers=bearer("webhook")), 403)


def test_flasks_own_errors_are_problems_too(client, bearer):
    """404 and 405 are problem documents; 405 names what is allowed."""
    assert_problem(client.get("/api/v1/nothing", headers=bearer("admin")), 404)
    answer = client.get("/alert")
    assert_problem(answer, 405)
    assert "POST" in answer.headers["Allow"]
    assert_problem(client.get("/api/v1/incidents/a%00b", headers=bearer("admin")), 400)


def test_an_unforeseen_error_tells_nothing(client, fake, bearer, monkeypatch):
    """A bug of ours is 500 without a trace of its text."""
    monkeypatch.setattr(fake, "incident", lambda _id: 1 / 0)
    assert "division" not in assert_problem(client.get(INCIDENT, headers=bearer("viewer")), 500)["detail"]


def test_run_events_as_json_resume(client, bearer):
    """`after` skips what was seen; an unknown run is 404."""
    assert [one["seq"] for one in client.get(RUN + "/events?after=1", headers=bearer("viewer")).json["items"]] == [2, 3]
    assert client.get(RUN + "/events?limit=2", headers=bearer("viewer")).json["next"] == "2"
    assert [one["seq"] for one in client.get(RUN + "/events?limit=2&after=2", headers=bearer("viewer")).json["items"]] == [3]


def test_run_events_as_stream_resume(client, bearer):
    """A stream begins after Last-Event-ID and says when the run has ended."""
    answer = client.get(RUN + "/events", headers={**bearer("viewer"), "Accept": "text/event-stream", "Last-Event-ID": "2"})
    assert answer.mimetype == "text/event-stream"
    body = answer.get_data(as_text=True)
    assert "id: 3\nevent: line\n" in body
    assert "task 2" not in body
    assert body.rstrip().startswith("retry:")
    assert "event: end" in body


def test_streams_are_limited(fake, bearer):
    """Streams take at most half of the threads; one more is told to come later."""
    from orchestrator.web import create_app

    app = create_app(fake)
    places = app.extensions["streams"]
    headers = {**bearer("viewer"), "Accept": "text/event-stream"}
    for _ in range(fake.settings.server.threads // 2):
        assert places.enter()
    answer = app.test_client().get(RUN + "/events", headers=headers)
    assert_problem(answer, 503)
    assert "Retry-After" in answer.headers
    places.leave()
    for _ in range(3):
        with app.test_client().get(RUN + "/events", headers=headers) as answer:
            assert answer.status_code == 200


def test_openapi_describes_every_call(client):
    """The description names every call of the contract, and all its references lead somewhere."""
    document = client.get("/openapi.json").json
    assert document["openapi"].startswith("3.1")
    for path in (
        "/alert",
        "/api/v1/incidents/{id}",
        "/api/v1/approvals/{id}/approve",
        "/api/v1/runs/{id}/events",
        "/api/v1/pause",
        "/metrics",
    ):
        assert path in document["paths"]
    names = set(document["components"]["schemas"])
    references = {part.split('"')[0] for part in json.dumps(document).split("#/components/schemas/")[1:]}
    assert references <= names
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    identities = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(identities) == len(set(identities))


# ---------------------------------------------------------------- hostile

NASTY = "<script>alert(1)</script>\x1b[31m{{ 7*7 }}\n\r\u202e\ud800\0'\"&" + "A" * 1000


def test_hostile_text_survives_as_json(client, fake, bearer):
    """Text that no encoder likes is still answered as valid JSON."""
    alert = make_alert(labels={"alertname": NASTY, "instance": NASTY}, annotations={NASTY: NASTY})
    fake.incident_map["inc0000000000001"] = make_incident(
        alert=alert, detail=NASTY, context=replace(make_incident().context, took_s=float("nan"))
    )
    for path in (INCIDENT, "/api/v1/incidents"):
        answer = client.get(path, headers=bearer("viewer"))
        assert answer.status_code == 200
        json.loads(answer.data, parse_constant=pytest.fail)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from([path for path, _ in ACTS] + ["/alert"]),
    body=st.binary(max_size=200) | anything.map(json.dumps).map(str.encode),
)
def test_no_body_makes_a_5xx(client, bearer, path, body):
    """Whatever the body, the answer is no 5xx, and an error is a problem document."""
    answer = client.post(path, data=body, headers=bearer("admin"))
    assert answer.status_code < 500
    if answer.status_code >= 400:
        assert_problem(answer, answer.status_code)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(READS),
    query=st.dictionaries(
        st.sampled_from(["limit", "cursor", "since", "status", "state", "after", "host", "fingerprint"]), st.text(max_size=30), max_size=3
    ),
)
def test_no_query_makes_a_5xx(client, bearer, path, query):
    """Whatever the query, the answer is no 5xx."""
    try:
        answer = client.get(path, query_string=query, headers=bearer("viewer"))
    except UnicodeEncodeError:
        return
    assert answer.status_code < 500


def test_deep_nesting_is_the_senders_fault(client, bearer):
    """A body nested thousands deep is 400 or 422."""
    answer = client.post(INCIDENT + "/cancel", data=b"[" * 2000 + b"]" * 2000, headers=bearer("approver"))
    assert answer.status_code in (400, 422)


def test_security_headers_stand_on_every_answer(client):
    """Every answer forbids sniffing, framing, inline scripts and caching."""
    for path in ("/healthz", "/nothing", "/login"):
        headers = client.get(path).headers
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


def test_start_is_created(client, bearer):
    """A person's own proposal is 201 with its place."""
    body = {"entry": "restart_service", "hosts": ["web1"], "parameters": {"restart_service_name": "nginx"}, "reason": "by hand"}
    answer = client.post("/api/v1/runs", json=body, headers=bearer("approver"))
    assert (answer.status_code, answer.headers["Location"]) == (201, INCIDENT)
