"""Outside text in every field of every page, in a real browser: it is shown as text, and nothing of it runs, loads or breaks the page."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from conftest import SHARED_INPUTS
from fake_orchestrator import make_entry
from stage import ASKED, ESCALATED, QUESTION, RUN, furnished, staged
from workshop import HOSTS, Workshop

from orchestrator import model as m
from orchestrator.card import Note
from orchestrator.store.outbox import Posted

pytestmark = pytest.mark.foreign

OWN = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg/onload=alert(1)>",
    '"><iframe src=javascript:alert(1)></iframe>',
    "'\" autofocus onfocus=alert(1) x='",
    "</title></style></textarea></script><script>alert(1)</script>",
    "{{ 7*7 }}{% raw %}{{ lookup('pipe', 'id') }}",
    "javascript:alert(1)",
    "https://evil.example/?q=<b>",
    "\x1b[31mred\x1b[0m\u202egnp.exe\u202c\u200b\ud800\0",
    "]]><!--<script>alert(1)</script>-->",
    "A" * 3000,
)


def shared() -> tuple[str, ...]:
    """Return the sample strings where they are there."""
    path = SHARED_INPUTS / "hostile" / "prompt_injection.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else ()
    return tuple(line for line in lines if line)[:12]


def written(nasty: str):
    """Return a stand-in with this text in every field that comes from outside."""
    fake = furnished()
    now = fake.now()
    base = fake.incident_map[ASKED]
    points = [[now.timestamp() - 15 * number, number] for number in range(20)]
    series = {"series": [{"labels": {"__name__": nasty, nasty: nasty}, "points": points}]}
    evidence = m.Evidence("prom-1", nasty, nasty, nasty, series)
    proposal = replace(
        base.proposal,
        summary=nasty,
        engine=nasty,
        claims=(m.Claim(nasty, ("prom-1", nasty)), m.Claim(nasty)),
        alternatives=(m.Alternative(nasty, nasty, (nasty,)),),
        parameters={"reload_configuration_service": nasty, nasty: [nasty]},
    )
    labels = {"alertname": nasty, "instance": f"web1:9100{nasty}", "severity": nasty, nasty: nasty}
    alert = replace(base.alert, labels=labels, annotations={"summary": nasty, nasty: nasty}, generator_url="javascript:alert(1)")
    context = m.Context((evidence,), (m.Missing(nasty, nasty),), m.Rule(nasty, nasty))
    check = replace(
        fake.approval_map[QUESTION].check,
        message=nasty,
        diffs=(m.HostDiff("web1", nasty, f"--- a\n+{nasty}"),),
        hosts={"web1": m.HostStats(1, 1)},
    )
    told = {"alert": alert, "detail": nasty, "context": context, "proposal": proposal, "blocked_by": nasty}
    for identity, one in fake.incident_map.items():
        fake.incident_map[identity] = replace(one, **told)
    fake.approval_map[QUESTION] = replace(
        fake.approval_map[QUESTION], proposal=proposal, check=check, escalated_to=nasty, escalated_why=nasty
    )
    fake.lines = [
        m.RunEvent(1, "play", now, "", nasty),
        m.RunEvent(2, "task", now, "", nasty),
        m.RunEvent(3, "failed", now, nasty, nasty, nasty),
        m.RunEvent(4, "failed", now, "web2", nasty, f"fatal: [web2]: FAILED! => {json.dumps({'msg': nasty, 'stderr': nasty})}"),
    ]
    fake.events = [replace(event, data={nasty: nasty, "summary": nasty, "detail": nasty}, actor=nasty) for event in fake.events]
    fake.note_list = [Note(7, ASKED, now, nasty, nasty)]
    fake.letter_list = [Posted(5, nasty, nasty, "failed", 2, nasty, now)]
    fake.book = m.Catalogue(
        {"reload_configuration": make_entry(id="reload_configuration", title=nasty, description=nasty, use_when=(nasty,), owners=(nasty,))},
        (m.BrokenEntry(nasty, nasty, (nasty,)),),
        nasty,
    )
    fake.state = {"ready": True, "degraded": [{"what": nasty, "why": nasty, "since": None}]}
    fake.pause_reason = nasty
    return fake


PAGES = (
    "",
    f"incidents/{ASKED}",
    f"incidents/{ESCALATED}",
    f"approvals/{QUESTION}",
    "approvals",
    f"runs/{RUN}",
    "catalogue",
    "catalogue/reload_configuration",
    "audit",
    "system",
)


def test_hostile_text_stays_text_on_every_page(visit):
    """Whatever alerts, logs, the model, plays and people write: no dialog, no script error, no policy violation, no other site asked."""
    everything = "\n".join((*OWN, *shared()))
    with staged(written(everything)) as address:
        page = visit().page
        page.goto(f"{address}/as/ada/")
        for path in PAGES:
            page.goto(f"{address}/{path}")
            assert page.locator("h1").count() == 1, path
            page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
            strangers = "main script, main iframe, main object, main [onerror], main [onload], main [onfocus], main a[href^='javascript:']"
            assert page.locator(strangers).count() == 0, path
            assert "49" not in page.locator("h1").text_content(), path
        chart = page.request.get(f"{address}/incidents/{ASKED}/charts/prom-1/0.svg")
        assert chart.headers["content-type"].startswith("image/svg+xml")
        assert "script-src" in chart.headers["content-security-policy"] or "default-src 'none'" in chart.headers["content-security-policy"]
        page.goto(f"{address}/incidents/{ASKED}/charts/prom-1/0.svg")
        assert page.locator("script").count() == 0


def test_streamed_lines_stay_text(visit):
    """Lines that come over the live connection are text like those that stood there before."""
    fake = furnished()
    with staged(fake) as address:
        page = visit().page
        page.goto(f"{address}/as/ada/runs/{RUN}")
        page.locator("#live-state[data-state=live]").wait_for()
        late = [m.RunEvent(20 + number, "failed", fake.now(), nasty, nasty, nasty) for number, nasty in enumerate(OWN)]
        fake.lines = [*fake.lines, m.RunEvent(19, "task", fake.now(), "", OWN[0]), *late]
        page.locator(".stream li.failed").nth(len(OWN)).wait_for()
        assert page.locator(".stream :is(script, img, svg, iframe)").count() == 0
        assert page.locator("[data-hosts] :is(script, img, svg, iframe)").count() == 0


def test_what_a_real_play_prints_stays_text(tmp_path, visit):
    """A play's output full of markup and template marks goes through Ansible, the store and the pages as text."""
    said = "".join(one for one in OWN[:6] if "\0" not in one) + "{{ 7*7 }}"
    with Workshop(tmp_path, said) as workshop:
        question = workshop.ask(HOSTS[0])
        approved = workshop.server.call("POST", f"/api/v1/approvals/{question['id']}/approve", json={"digest": question["digest"]})
        assert approved.ok, approved.text
        workshop.go_on()
        incident = workshop.server.reaches(question["incident"], "resolved", "escalated")
        page = visit().page
        page.goto(f"{workshop.server.url}/login")
        page.get_by_label("Name").fill("vic")
        from workshop import PASSWORD

        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.wait_for_url(f"{workshop.server.url}/")
        page.goto(f"{workshop.server.url}/runs/{incident['run']['id']}")
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        output = page.locator(".stream")
        assert "onerror=alert(1)" in output.text_content()
        assert "{{ 7*7 }}" in output.text_content()
        assert output.locator("script, img, svg, iframe").count() == 0
