"""Accounts, sessions and errands in the database, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading

import pytest

from orchestrator.errors import Conflict, InvalidRequest, NotFound
from orchestrator.model import Role


def test_a_session_is_found_by_its_secret_only(store):
    """The secret opens, its hash in the table does not; closing one leaves the others."""
    first, second = store.sessions.open("ann", "password"), store.sessions.open("ann", "oidc")
    rules = {"idle_s": 3600.0, "life_s": 7200.0}
    assert store.sessions.user(first, **rules) == ("ann", "password")
    for row in store.db.tables.session.select():
        assert store.sessions.user(row.id, **rules) is None
    store.sessions.close(first)
    assert store.sessions.user(first, **rules) is None
    assert store.sessions.user(second, **rules) == ("ann", "oidc")
    third = store.sessions.open("ann", "password")
    assert store.sessions.close_all("ann", but=third) == 1
    assert store.sessions.user(third, **rules) is not None
    store.sessions.sweep(-1.0)
    assert store.sessions.user(third, **rules) is None


def test_an_account_changes_and_goes_off(store):
    """Role, groups and state change at once; nobody comes in by an account that is off, and an unknown name is said."""
    store.people.create_user("ann", "correct horse", Role.VIEWER, ())
    store.people.change("ann", role=Role.APPROVER, groups=("oncall",))
    assert (store.people.user("ann").role, store.people.user("ann").groups) == (Role.APPROVER, ("oncall",))
    store.people.change("ann", disabled=True)
    assert store.people.user("ann") is None
    assert store.people.login("ann", "correct horse") is None
    assert store.people.disabled() == {"ann"}
    assert [one.name for one in store.people.users()] == ["ann"]
    store.people.change("ann", disabled=False)
    assert store.people.login("ann", "correct horse").name == "ann"
    with pytest.raises(NotFound):
        store.people.change("nobody", role=Role.ADMIN)


def test_a_providers_person_is_its_subject(store):
    """The subject makes and finds the account; a taken name is a conflict, and a name that cannot be is refused."""
    made = store.people.from_provider("https://idp u-1", "mia", Role.APPROVER, ("sre",))
    assert made.name == "mia"
    assert store.people.from_provider("https://idp u-1", "renamed", Role.VIEWER, ()).name == "mia"
    assert store.people.user("mia").role is Role.VIEWER
    assert store.people.name_of("https://idp u-1") == "mia"
    assert store.people.name_of("") == ""
    for subject in ("https://idp u-2", "https://other u-1"):
        with pytest.raises(Conflict):
            store.people.from_provider(subject, "mia", Role.ADMIN, ())
    with pytest.raises(InvalidRequest):
        store.people.from_provider("https://idp u-3", "a\nb", Role.VIEWER, ())
    store.people.change("mia", disabled=True)
    assert store.people.from_provider("https://idp u-1", "mia", Role.ADMIN, ()) is None
    assert store.people.login("mia", "") is None


def test_what_works_once_works_for_one_of_many(store):
    """Of several that use a name at once exactly one does."""
    wins: list[bool] = []

    def use() -> None:
        try:
            wins.append(store.people.use_once("link"))
        finally:
            store.db.close()

    threads = [threading.Thread(target=use) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wins) == [False] * 5 + [True]
    assert store.people.flag("link") == "used"
    store.people.forget_flags("li", 3600)
    assert store.people.flag("link") == "used"
    store.people.forget_flags("li", -1)
    assert store.people.flag("link") == ""


def test_an_errand_is_taken_by_one_and_kept_until_it_is_done(store):
    """A repeated errand is none, a taken one is held, one that failed comes again, one that is done does not."""
    assert store.errands.add("e1", "answer", {"a": 1})
    assert not store.errands.add("e1", "answer", {"a": 2})
    (errand,) = store.errands.take()
    assert (errand.kind, errand.data) == ("answer", {"a": 1})
    assert store.errands.take() == []
    store.errands.failed(errand, "no answer", 0)
    (errand,) = store.errands.take()
    assert errand.attempts == 1
    errand = store.errands.note(errand, {"a": 1, "words": "Approved."})
    store.errands.failed(errand, "", 0)
    assert store.errands.take()[0].data["words"] == "Approved."
    store.errands.done(errand)
    assert store.errands.take() == []
    store.errands.sweep(-1)
    assert store.db.tables.errand.select().count() == 0


def test_a_posted_message_is_looked_at_until_it_says_the_end(store):
    """An open message comes up again and again; a final one, and one that cannot be changed, does not."""
    for number in range(3):
        store.errands.posted("slack", f"i:{number}", "{}", "pending")
    first, second, third = store.errands.postings()
    store.errands.shows(first, "granted", final=True)
    store.errands.not_shown(second, None)
    store.errands.not_shown(third, 3600)
    assert store.errands.postings() == []
    store.errands.not_shown(third, -1)
    assert [one.attempts for one in store.errands.postings()] == [1]
    store.errands.shows(third, "pending 1", final=False)
    assert [(one.shown, one.attempts) for one in store.errands.postings()] == [("pending 1", 0)]
