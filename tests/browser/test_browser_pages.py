"""The pages in a real browser: what JavaScript adds works, and nothing runs over the edge of a phone."""

from __future__ import annotations

import pytest
from fake_orchestrator import NOW

from orchestrator import model as m

pytestmark = pytest.mark.foreign

PAGES = [
    "",
    "incidents/inc0000000000001",
    "approvals",
    "approvals/inc0000000000001:1",
    "runs/inc0000000000003:1:apply:1",
    "catalogue",
    "audit",
    "system",
    "docs",
]


def test_times_are_told_in_the_readers_own(browser, stage):
    """The browser adds local time to titles and counts an approval down to the second."""
    with stage.staged(stage.furnished()) as address:
        browser.open(f"{address}/as/ada/approvals/inc0000000000001:1")
        assert browser.wait("/^in \\d+:\\d\\d$/.test(document.querySelector('[data-countdown]')?.textContent ?? '')")
        assert "UTC" in browser.ask("document.querySelector('time').title")
        assert "here" in browser.ask("document.querySelector('time').title")


def test_the_overview_follows_changes(browser, stage):
    """What changes while the overview is open appears on it without a reload."""
    fake = stage.furnished()
    hidden = fake.incident_map.pop("inc0000000000002")
    with stage.staged(fake) as address:
        browser.open(f"{address}/as/ada/")
        assert browser.wait("document.getElementById('live-state')?.textContent === 'live'")
        browser.ask("window.stays = true")
        assert not browser.ask("document.body.innerText.includes('DiskFull')")
        fake.incident_map[hidden.id] = hidden
        fake.events = [*fake.events, fake.events[-1].__class__(**{**_fields(fake.events[-1]), "id": 99})]
        assert browser.wait("document.body.innerText.includes('DiskFull')")
        assert browser.ask("window.stays") is True


def _fields(event: m.AuditEvent) -> dict:
    return {name: getattr(event, name) for name in event.__slots__}


def test_a_run_streams(browser, stage):
    """Lines that come while the page is open appear on it, as text; the page shows the end when the run has ended."""
    fake = stage.furnished()
    with stage.staged(fake) as address:
        browser.open(f"{address}/as/ada/runs/inc0000000000003:1:apply:1")
        assert browser.wait("document.getElementById('live-state')?.textContent === 'live'")
        fake.lines = [*fake.lines, m.RunEvent(6, "ok", NOW, "web2", "<b>a late line</b>", "<img src=x>")]
        assert browser.wait("document.querySelector('.stream')?.innerText.includes('<b>a late line</b>')")
        assert browser.ask("document.querySelectorAll('.stream img').length") == 0
        run = fake.run_map["inc0000000000003:1:apply:1"]
        fake.run_map[run.id] = stage.replace(run, state=m.RunState.DONE, outcome=m.Outcome.SUCCESSFUL)
        assert browser.wait("document.querySelector('.head')?.innerText.includes('successful')")


def test_nothing_runs_over_the_edge(browser, stage):
    """On a phone no page is wider than the screen, and no script of ours fails on any page."""
    with stage.staged(stage.furnished()) as address:
        browser.open(f"{address}/as/ada/")
        assert browser.wait("document.readyState === 'complete' && !!document.querySelector('h1')")
        browser.narrow(390)
        for path in PAGES:
            browser.go(f"{address}/{path}")
            assert browser.wait(
                f"document.readyState === 'complete' && location.pathname === '/{path}' && !!document.querySelector('h1')"
            ), path
            assert browser.ask("document.documentElement.scrollWidth") <= 390, path
            assert browser.ask("getComputedStyle(document.querySelector('main')).paddingLeft") == "16px", path
