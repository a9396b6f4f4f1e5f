"""The desk on a real server: a standing grant answers once and no more, and of two people who press at once one decides."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
from farm import SERVICE_DOWN, Nginx, Supervisor, Watch, applied, incident_of, kinds, short_folder, write_inventory
from server import Server

pytestmark = [pytest.mark.foreign, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def site():
    """Run two hosts' services, real monitoring and a server that asks a person before each run."""
    with ExitStack() as stack:
        folder = stack.enter_context(short_folder("desk-"))
        supervisor = Supervisor(folder / "s")
        first, second = Nginx(supervisor, "first"), Nginx(supervisor, "second")
        stack.enter_context(supervisor)
        watch = stack.enter_context(Watch(folder))
        probes = {nginx.address: {"instance": nginx.address, "service": nginx.name} for nginx in (first, second)}
        watch.start(probes, [SERVICE_DOWN])
        hosts = {"web1": first.host(), "web2": second.host()}
        more = {
            "ORCHESTRATOR_POLICY__MODE": "approve",
            "ORCHESTRATOR_CONTEXT__FROM_HOSTS": "false",
            "ORCHESTRATOR_LOGS__FROM_HOSTS": "false",
            "ORCHESTRATOR_INVENTORY__PATHS": str(write_inventory(folder / "hosts.yml", hosts)),
        }
        server = stack.enter_context(Server(folder, {**watch.settings, **more}))
        watch.connect(server)
        watch.sees("sum(probe_success) == 2")
        yield SimpleNamespace(server=server, first=first, second=second)


def test_standing_grant_answers_once_and_no_more(site):
    """Given on the command line for one run on web1, it repairs web1 without a question; on web2 a person is asked as ever."""
    server = site.server
    given = server.json(
        "grant", "create", "restart_service", "--hosts", "web1", "--minutes", "60", "--max-runs", "1", "--reason", "the release flaps"
    )
    assert (given["state"], given["hosts"]) == ("active", ["web1"])
    assert server.get("/api/v1/health")["standing"][0]["id"] == given["id"]
    site.first.supervisor.control("stop", "first")
    incident = incident_of(server, "ServiceDown", site.first.address)
    ended = server.reaches(incident, "resolved", "escalated", "awaiting_approval", patience_s=240)
    assert (ended["status"], ended["reason"]) == ("resolved", "verified"), ended["detail"]
    assert ended["grant"]["standing"] == given["id"]
    assert site.first.answers()
    told = kinds(server, incident)
    assert "standing.minted" in told
    assert "approval.asked" not in told
    after = server.json("grant", "show", given["id"])
    assert (after["used"], after["state"]) == (1, "used_up")
    assert server.get("/api/v1/health")["standing"] == []


def test_of_two_people_who_press_at_once_one_decides(site):
    """The card is the same for both; one yes wins and runs once, the other learns by whom and when."""
    server = site.server
    tokens = {name: server.json("token", "create", f"race-{name}", "--role", "approver")["token"] for name in ("mia", "ben")}
    site.second.supervisor.control("stop", "second")
    incident = incident_of(server, "ServiceDown", site.second.address)
    asked = server.reaches(incident, "awaiting_approval")
    path = f"/api/v1/approvals/{asked['approval']}"
    card = server.get(f"{path}/card")
    assert "1 of 1 host changes" in card["check"]["sentence"]
    assert next((one["name"], one["origin"]) for one in card["settings"]) == ("restart_service_name", "label")
    shown = server.command("approval", "show", asked["approval"]).stdout
    for words in ("web2", "from the alert's label service", "kill switch", card["digest"]):
        assert words in shown

    def press(name: str):
        return server.call("POST", f"{path}/approve", token=tokens[name], json={"digest": card["digest"], "reason": f"seen by {name}"})

    with ThreadPoolExecutor(2) as people:
        answers = dict(zip(tokens, people.map(press, tokens), strict=True))
    assert sorted(answer.status_code for answer in answers.values()) == [200, 409]
    winner = next(name for name, answer in answers.items() if answer.status_code == 200)
    late = next(answer.json() for answer in answers.values() if answer.status_code == 409)
    assert late["decided"]["by"] == [f"race-{winner}"]
    assert late["decided"]["at"]
    ended = server.reaches(incident, "resolved", "escalated", patience_s=240)
    assert ended["status"] == "resolved", ended["detail"]
    assert len(applied(server, incident)) == 1
