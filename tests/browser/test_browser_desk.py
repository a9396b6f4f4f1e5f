"""People at the desk of a real server, with real plays: approve, narrow, reject, let expire, race, change the world, watch, cancel."""

from __future__ import annotations

import re
from contextlib import ExitStack

import pytest
from playwright.sync_api import expect
from server import until
from workshop import PASSWORD, Workshop

pytestmark = pytest.mark.foreign


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """Yield one real server for all tests here; each asks its own question."""
    with Workshop(tmp_path_factory.mktemp("workshop")) as opened:
        yield opened


@pytest.fixture(scope="module")
def people(browser):
    """Yield a function that gives a person's own window, logged in with a password once."""
    from browsing import visiting

    with ExitStack() as stack:
        known = {}

        def come(name, workshop):
            if name not in known:
                known[name] = stack.enter_context(visiting(browser))
                page = known[name].page
                page.goto(f"{workshop.server.url}/login")
                page.get_by_label("Name").fill(name)
                page.get_by_label("Password").fill(PASSWORD)
                page.get_by_role("button", name="Log in").click()
                page.wait_for_url(f"{workshop.server.url}/")
            return known[name].page

        yield come


def card(page, workshop, question):
    """Open a question's card."""
    page.goto(f"{workshop.server.url}/approvals/{question['id']}")
    page.locator("h1").wait_for()
    return page


def ended(workshop, question, *statuses):
    """Wait until a question's incident stands in one of these statuses."""
    return workshop.server.reaches(question["incident"], *statuses)


def test_approve_narrow_and_watch_it_live(workshop, people):
    """The dry run's diff stands on the card; a narrowed yes runs only there, live on the page, and the page tells its end by itself."""
    workshop.page("shop3").write_text("open 3\n")
    question = workshop.ask()
    page = card(people("olga", workshop), workshop, question)
    expect(page.locator("#dry-run h2")).to_contain_text("2 of 3 hosts change")
    expect(page.locator("#dry-run .diff .add").first).to_contain_text("+open 3")
    page.locator("#narrow > summary").click()
    page.locator("#narrow").get_by_label("shop2").uncheck()
    page.locator("#narrow").get_by_label("shop3").uncheck()
    page.locator("#narrow select").select_option("2")
    page.locator("#approve .go").click()
    page.wait_for_url(f"**/incidents/{question['incident']}")
    live = page.locator("#live-run")
    expect(live.locator(".stream summary").filter(has_text="Wait for leave")).to_be_visible()
    expect(live.locator("[data-host=shop1] [data-count=changed]")).to_have_text("1")
    workshop.go_on()
    expect(page.locator("#head .badge").first).to_have_text(re.compile("resolved|escalated"))
    incident = ended(workshop, question, "resolved", "escalated")
    assert list(incident["run"]["hosts"]) == ["shop1"]
    assert workshop.page("shop1").read_text() == "open 2\n"
    assert not workshop.page("shop2").exists()
    expect(page.locator("#timeline")).to_contain_text("Approved")


def test_reject_needs_a_reason_and_says_it_everywhere(workshop, people):
    """An empty reason is not sent; the reason given stands on the card and in the timeline, and nothing ran."""
    question = workshop.ask("shop2", words="shut")
    page = card(people("mia", workshop), workshop, question)
    reason = page.locator("#reject [name=reason]")
    assert reason.input_value() == ""
    page.locator("#reject-form button").click()
    assert page.url.endswith(question["id"])
    reason.fill("a deployment is under way")
    page.locator("#reject-form button").click()
    page.wait_for_url(f"**/incidents/{question['incident']}")
    expect(page.locator("#timeline")).to_contain_text("a deployment is under way")
    card(page, workshop, question)
    expect(page.locator("#verdict-state")).to_contain_text("mia")
    expect(page.locator("#approve")).to_have_count(0)
    assert not workshop.page("shop2").exists()


def test_two_race_and_the_later_learns_who_won(workshop, people):
    """Both have the card open; the first decision wins, the second is told by whom, and exactly one answer is on record."""
    question = workshop.ask("shop1", words="race")
    olga, mia = card(people("olga", workshop), workshop, question), card(people("mia", workshop), workshop, question)
    # the live page would tell mia before she presses; cut off from it, she sends what she saw
    mia.context.set_offline(True)
    olga.locator("#reject [name=reason]").fill("not now")
    olga.locator("#reject-form button").click()
    olga.wait_for_url(f"**/incidents/{question['incident']}")
    mia.context.set_offline(False)
    mia.evaluate("document.getElementById('approve').submit()")
    expect(mia.locator("h1")).to_have_text("Conflict")
    expect(mia.locator("main")).to_contain_text("olga")
    mia.get_by_role("link", name="Back to the question").click()
    expect(mia.locator("#verdict-state")).to_contain_text("not now")
    assert len(workshop.server.get(f"/api/v1/approvals/{question['id']}")["answers"]) == 1


def test_changed_since_is_refused_in_plain_words(workshop, people):
    """When the playbook changes while the card is open, a yes is refused and says what changed; the card says so, too."""
    question = workshop.ask("shop2", entry="write_page", words="changed")
    page = card(people("olga", workshop), workshop, question)
    playbook = workshop.folder / "playbooks" / "write_page" / "playbook.yml"
    before = playbook.read_text()
    playbook.write_text(before + "\n# another line\n")
    try:
        page.locator("#approve .go").click()
        expect(page.locator("h1")).to_have_text("Conflict")
        expect(page.locator("main")).to_contain_text("changed since")
        page.get_by_role("link", name="Back to the question").click()
        expect(page.locator("#head .fault")).to_contain_text("Changed since it was asked")
        assert workshop.server.get(f"/api/v1/approvals/{question['id']}")["answers"] == []
    finally:
        playbook.write_text(before)


def test_high_risk_needs_two_different_people(workshop, people):
    """The first yes is noted and the card says that another person has to; the same person cannot answer again, the second can."""
    question = workshop.ask("shop3", entry="rebuild_page", words="again")
    olga = card(people("olga", workshop), workshop, question)
    olga.locator("#approve .go").click()
    expect(olga.locator(".note")).to_contain_text("1 of 2 have approved")
    expect(olga.locator("#approve")).to_have_count(0)
    mia = card(people("mia", workshop), workshop, question)
    expect(mia.locator("#answer")).to_contain_text("olga")
    mia.locator("#approve .go").click()
    mia.wait_for_url(f"**/incidents/{question['incident']}")
    workshop.go_on()
    incident = ended(workshop, question, "resolved", "escalated")
    assert sorted(incident["grant"]["by"]) == ["mia", "olga"]


def test_a_live_run_can_be_cancelled(workshop, people):
    """The cancel button ends a play that waits, and the page says that it was cancelled and by whom."""
    question = workshop.ask("shop1", words="never")
    page = card(people("olga", workshop), workshop, question)
    page.locator("#approve .go").click()
    page.wait_for_url(f"**/incidents/{question['incident']}")
    expect(page.locator("#live-run .stream summary").filter(has_text="Wait for leave")).to_be_visible()
    page.locator("#live-run").get_by_role("button", name="Cancel the run").click()
    expect(page.locator("h1")).to_contain_text("Apply")
    expect(page.locator(".head .badge")).to_have_text("cancelled")
    ended(workshop, question, "escalated", "cancelled")
    expect(card_of_incident(page, workshop, question).locator("#timeline")).to_contain_text("cancelled")


def card_of_incident(page, workshop, question):
    """Open a question's incident."""
    page.goto(f"{workshop.server.url}/incidents/{question['incident']}")
    return page


def test_a_viewer_reads_and_cannot_act(workshop, people):
    """A viewer sees the same card without any way to answer it."""
    question = workshop.ask("shop2", words="looked at")
    page = card(people("vic", workshop), workshop, question)
    expect(page.locator("#answer")).to_contain_text("may read this, not answer it")
    assert page.locator("main form").count() == 0
    assert page.locator(".bar").count() == 0


def test_a_question_expires_before_ones_eyes(tmp_path, browser):
    """A question that nobody answers ends by itself; the open card tells it without a reload and takes no answer any more."""
    from browsing import visiting

    with Workshop(tmp_path, POLICY__APPROVAL_TTL_S="8", WORKER__SWEEP_S="0.5") as opened, visiting(browser) as visit:
        question = opened.ask("shop1")
        page = visit.page
        page.goto(f"{opened.server.url}/login")
        page.get_by_label("Name").fill("olga")
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        card(page, opened, question)
        opened.server.reaches(question["incident"], "escalated")
        until(lambda: opened.server.get(f"/api/v1/approvals/{question['id']}")["state"] == "expired", "the question expires")
        expect(page.locator("#head .badge").first).to_have_text("expired")
        expect(page.locator("#approve .go")).to_have_count(0)
