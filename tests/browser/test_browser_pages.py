"""The pages in a real browser over the stand-in: what JavaScript adds, what works without it, and that nothing runs over the edge."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import NARROW, PHONE
from playwright.sync_api import expect
from stage import ASKED, ESCALATED, FAILED_RUN, QUESTION, RESOLVED, RUN, RUNNING, furnished, staged, stormy

from orchestrator import model as m

pytestmark = pytest.mark.foreign

PAGES = [
    "",
    "?status=resolved",
    f"incidents/{ASKED}",
    f"incidents/{ESCALATED}",
    f"incidents/{RUNNING}",
    f"incidents/{RESOLVED}",
    "approvals",
    f"approvals/{QUESTION}",
    f"runs/{RUN}",
    f"runs/{FAILED_RUN}",
    "catalogue",
    "catalogue/reload_configuration",
    "grants",
    "account",
    "audit",
    "system",
    "docs",
    "nowhere",
]


@pytest.fixture(scope="module")
def address():
    """Yield the address of a stand-in that these tests only read."""
    with staged(furnished()) as served:
        yield served


@pytest.fixture
def own():
    """Yield a stand-in that a test may change, and its address."""
    fake = furnished()
    with staged(fake) as served:
        yield fake, served


def enter(page, address, path="", name="ada"):
    """Log in as somebody and go to a page."""
    page.goto(f"{address}/as/{name}/{path}")
    page.locator("h1").wait_for()
    return page


def live(page):
    """Wait until a page has its live connection."""
    expect(page.locator("#live-state")).to_have_text("live")


# ---------------------------------------------------------------- looks


LAYOUT = ["scrollable-region-focusable", "target-size", "label", "button-name", "link-name"]


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_a_serious_accessibility_fault(visit, address, path):
    """axe-core finds nothing serious or critical on any page, everything unfolded; nor in dark colours, nor in a phone's layout."""
    page = enter(visit(color_scheme="light").page, address)
    page.goto(f"{address}/{path}")
    page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
    assert serious(page) == []
    page.emulate_media(color_scheme="dark")
    assert serious(page, "color-contrast") == []
    page.set_viewport_size(PHONE)
    assert serious(page, *LAYOUT) == []


def serious(page, *rules):
    """Return the serious and critical findings on a page, by all of axe's rules or by some."""
    found = Axe().run(page, options={"runOnly": list(rules)} if rules else {}).response["violations"]
    return [(one["id"], [node["html"][:160] for node in one["nodes"][:3]]) for one in found if one["impact"] in ("serious", "critical")]


@pytest.mark.parametrize("width", [NARROW, PHONE])
def test_nothing_runs_over_the_edge(visit, address, width):
    """On a phone no page is wider than the screen, folded or unfolded."""
    page = visit(viewport=width, is_mobile=True, has_touch=True).page
    enter(page, address)
    for path in PAGES:
        page.goto(f"{address}/{path}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width["width"], path
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= width["width"], path


def test_a_phone_can_answer_at_once(visit, address):
    """On a phone the time left and both ways to answer are in sight without scrolling, and large enough for a thumb."""
    page = enter(visit(viewport=NARROW, is_mobile=True, has_touch=True).page, address, f"approvals/{QUESTION}")
    bar = page.get_by_role("group", name="Answer")
    for one in (
        bar.get_by_role("button", name="Approve on 3 hosts"),
        bar.get_by_role("link"),
        page.locator("h1"),
        page.locator(".tiles .clock"),
    ):
        expect(one).to_be_in_viewport(ratio=1)
    assert all(one.bounding_box()["height"] >= 44 for one in bar.locator("button, a").all())


def test_charts_are_drawn_in_both_schemes(visit, address):
    """Each chart is an image with a text for those who do not see it, and follows the reader's scheme and the switch."""
    page = enter(visit(color_scheme="dark").page, address, f"incidents/{ASKED}")
    charts = page.locator("figure.chart img")
    assert charts.count() == 5
    for chart in charts.all():
        chart.scroll_into_view_if_needed()
        chart.evaluate("one => one.decode()")
        assert "from" in chart.get_attribute("alt")
        assert chart.evaluate("one => one.currentSrc").endswith("theme=dark")
    page.get_by_role("button", name="Light").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    first = page.locator("figure.chart img").first
    first.scroll_into_view_if_needed()
    first.evaluate("one => one.decode()")
    assert first.evaluate("one => one.currentSrc").endswith("theme=light")
    assert page.url.endswith(f"/incidents/{ASKED}")


def test_a_storm_stays_readable(visit):
    """Sixty incidents at once are a handful of lines with counts, and each is still one click away."""
    with staged(stormy()) as served:
        page = enter(visit().page, served)
        needs = page.locator("#needs > ul > li")
        assert needs.count() <= 6
        storm = needs.filter(has_text="HostUnreachable")
        expect(storm).to_contain_text("17 ×")
        storm.locator("summary").click()
        assert storm.get_by_role("link", name="HostUnreachable").count() == 17


# ---------------------------------------------------------------- live


def test_times_are_told_in_the_readers_own(visit, address):
    """The browser adds local time to titles and counts an approval down to the second."""
    page = enter(visit(timezone_id="Asia/Tokyo").page, address, f"approvals/{QUESTION}")
    clock = page.locator(".tiles [data-countdown]")
    first = clock.text_content()
    expect(clock).not_to_have_text(first)
    assert "UTC" in clock.get_attribute("title")
    assert "here" in clock.get_attribute("title")


def test_the_overview_follows_changes(visit, own):
    """What changes while the overview is open appears on it without a reload, and what a reader unfolded stays unfolded."""
    fake, served = own
    hidden = fake.incident_map.pop(ESCALATED)
    page = enter(visit().page, served)
    live(page)
    page.evaluate("window.stays = true")
    page.locator("#filter > summary").click()
    expect(page.locator("main")).not_to_contain_text("DiskFull")
    fake.incident_map[hidden.id] = hidden
    fake.events = [*fake.events, replace(fake.events[-1], id=99)]
    expect(page.locator("#needs")).to_contain_text("DiskFull")
    assert page.evaluate("window.stays") is True
    assert page.locator("#filter").get_attribute("open") is not None


def test_a_decision_elsewhere_ends_the_question(visit, own):
    """While one person reads the card another decides: the first is told by whom and cannot send the old form any more."""
    fake, served = own
    page = enter(visit().page, served, f"approvals/{QUESTION}", "olga")
    live(page)
    page.get_by_label("Why not?").fill("still thinking")
    fake.reject(QUESTION, fake.people["ada"], fake.approval(QUESTION).digest, "deploy in progress")
    fake.events = [*fake.events, replace(fake.events[-1], id=99)]
    expect(page.locator(".toast")).to_contain_text("ada")
    expect(page.locator("#reject-form button")).to_be_disabled()


def test_a_run_streams_folds_and_is_searched(visit, own):
    """Lines appear as text under their task while the run goes on; search and filter find them; its end turns the page."""
    fake, served = own
    page = enter(visit().page, served, f"runs/{RUN}")
    live(page)
    task = "<b>a late task</b>"
    fake.lines = [
        *fake.lines,
        m.RunEvent(9, "task", fake.now(), "", task),
        m.RunEvent(10, "failed", fake.now(), "web2", task, "<img src=x onerror=alert(1)>"),
    ]
    late = page.locator(".stream details").last
    expect(late.locator("summary")).to_contain_text(task)
    expect(late).to_contain_text("<img src=x onerror=alert(1)>")
    expect(page.locator("[data-host=web2] [data-count=failed]")).to_have_text("2")
    page.get_by_label("failures only").check()
    expect(page.locator(".found")).to_have_text("2 found")
    page.get_by_label("failures only").uncheck()
    page.get_by_placeholder("Search the output").fill("read-only")
    expect(page.locator(".found")).to_have_text("1 found")
    fake.run_map[RUN] = replace(fake.run_map[RUN], state=m.RunState.DONE, outcome=m.Outcome.SUCCESSFUL)
    expect(page.locator(".head")).to_contain_text("successful")


def test_back_and_deep_links_work(visit, address):
    """A filter stands in the address, the back button returns to it, and a link to an event or a piece of evidence shows it."""
    page = enter(visit().page, address)
    page.locator("#filter > summary").click()
    page.get_by_label("Alert").fill("ServiceDown")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator("#found")).to_contain_text("web2")
    assert "alertname=ServiceDown" in page.url
    page.get_by_role("link", name="ServiceDown").first.click()
    expect(page.locator("h1")).to_contain_text("ServiceDown")
    page.go_back()
    expect(page.locator("#found")).to_contain_text("web2")
    page.goto(f"{address}/incidents/{ASKED}#event-3")
    expect(page.locator("#event-3")).to_be_in_viewport()
    page.goto(f"{address}/approvals/{QUESTION}#ev-logs-1")
    expect(page.locator("#ev-logs-1 pre")).to_be_in_viewport()


# ---------------------------------------------------------------- by hand


def test_everything_can_be_done_by_keyboard(visit, own):
    """Skip link, shortcuts and focus lead a person without a mouse from the overview to a rejection with a reason."""
    fake, served = own
    page = enter(visit().page, served)
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("g")
    page.keyboard.press("a")
    page.wait_for_url("**/approvals")
    page.locator("h1").wait_for()
    page.keyboard.press("j")
    expect(page.locator("a.row-title").first).to_be_focused()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/approvals/{QUESTION}")
    page.locator("#approve").wait_for()
    page.keyboard.press("y")
    expect(page.locator("#approve .go")).to_be_focused()
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("n")
    page.keyboard.type("by keyboard")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/incidents/{ASKED}")
    assert fake.approval(QUESTION).answers[-1].reason == "by keyboard"


def test_shortcuts_can_be_switched_off(visit, address):
    """Single-key shortcuts can be switched off, and stay off in this browser (WCAG 2.1.4)."""
    page = enter(visit().page, address)
    page.keyboard.press("?")
    page.get_by_label("Switch these off").check()
    page.get_by_role("button", name="Close").click()
    page.reload()
    page.keyboard.press("j")
    assert not page.evaluate("document.activeElement.matches('.row-title')")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()


def test_the_button_says_what_it_does(visit, own):
    """Unticking a host changes the words of both approve buttons, and only the ticked hosts are approved."""
    fake, served = own
    page = enter(visit().page, served, f"approvals/{QUESTION}")
    page.locator("#narrow > summary").click()
    page.locator("#narrow").get_by_label("web3").uncheck()
    expect(page.locator("#approve .go")).to_have_text("Approve on 2 of 3 hosts")
    page.locator("#narrow select").select_option("512")
    page.locator("#approve .go").click()
    page.wait_for_url(f"**/incidents/{ASKED}")
    answer = fake.approval(QUESTION).answers[-1]
    assert (answer.hosts, dict(answer.pins)) == (("web1", "web2"), {"reload_configuration_connections": 512})


def test_a_question_is_chosen_otherwise_handed_over_and_put_off(visit, own):
    """Another entry, another person and a later time are each one form on the card; so is a standing grant, whose reason is one's own."""
    fake, served = own
    page = enter(visit().page, served, f"approvals/{QUESTION}")
    page.locator("#choose > summary").click()
    page.get_by_label("Restart one service").check()
    page.locator("#choose [name=reason]").fill("the reload hung last time")
    page.get_by_role("button", name="Propose this instead").click()
    page.wait_for_url("**/incidents/**")
    page.goto(f"{served}/approvals/{QUESTION}")
    page.locator("#escalate > summary").click()
    page.locator("#escalate-form [name=to]").fill("olga")
    page.locator("#escalate-form [name=reason]").fill("her service")
    page.get_by_role("button", name="Escalate").click()
    expect(page.locator(".note")).to_contain_text("olga")
    page.locator("#escalate > summary").click()
    page.get_by_role("button", name="Snooze").click()
    expect(page.locator(".note")).to_contain_text("Put off")
    page.goto(f"{served}/approvals/{QUESTION}")
    page.locator("#standing > summary").click()
    page.locator("#grant-form").get_by_label("web1").check()
    assert page.locator("#grant-form [name=reason]").input_value() == ""
    page.locator("#grant-form [name=reason]").fill("until the deployment is over")
    page.get_by_role("button", name="Give a standing grant").click()
    page.wait_for_url("**/grants")
    expect(page.locator("main")).to_contain_text("until the deployment is over")
    assert [call[0] for call in fake.calls if call[0] in ("choose", "escalate", "snooze", "grant")][:1] == ["choose"]


# ---------------------------------------------------------------- without JavaScript


def test_everything_can_be_read_without_javascript(visit, address):
    """Without JavaScript every page says the same, folded parts open, and no control stands there that does nothing."""
    page = visit(java_script_enabled=False).page
    page.goto(f"{address}/as/ada/")
    for path in PAGES:
        page.goto(f"{address}/{path}")
        assert page.locator("h1").count() == 1, path
        for one in page.locator("[data-scripted]").all():
            assert not one.is_visible(), path
    page.goto(f"{address}/approvals/{QUESTION}")
    page.locator("#narrow > summary").click()
    assert page.locator("#narrow [name=hosts]").first.is_visible()
    page.goto(f"{address}/runs/{RUN}")
    assert "Read-only file system" in page.locator(".stream").text_content()


def test_answering_works_without_javascript(visit, own):
    """Without JavaScript a person narrows and approves with the same form."""
    fake, served = own
    page = visit(java_script_enabled=False).page
    page.goto(f"{served}/as/olga/approvals/{QUESTION}")
    page.locator("#narrow > summary").click()
    page.locator("#narrow [name=hosts][value=web1]").uncheck()
    page.locator("#approve .go").click()
    assert page.url.endswith(f"/incidents/{ASKED}")
    assert fake.approval(QUESTION).answers[-1].hosts == ("web2", "web3")


def test_an_expired_question_takes_no_answer(visit, own):
    """When the time is over while the card is open, the clock says so and an answer is refused with words, not lost silently."""
    fake, served = own
    fake.approval_map[QUESTION] = replace(fake.approval(QUESTION), expires_at=fake.now() + timedelta(seconds=2))
    page = enter(visit().page, served, f"approvals/{QUESTION}")
    expect(page.locator(".tiles [data-countdown]")).to_have_text("over")
    fake.approval_map[QUESTION] = replace(fake.approval(QUESTION), state=m.ApprovalState.EXPIRED)
    page.locator("#approve .go").click()
    expect(page.locator("h1")).to_have_text("Gone")
    page.get_by_role("link", name="Back to the question").click()
    assert page.locator("#approve").count() == 0
