"""Earned autonomy over the database: proposed by the engine, promoted by an admin, lost at once, all of it on record."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from orchestrator.autonomy import Level, Line
from orchestrator.earning import Earning
from orchestrator.errors import Conflict, NotFound
from orchestrator.model import (
    Actor,
    Alert,
    AlertStatus,
    Catalogue,
    Entry,
    EntryKind,
    Host,
    Incident,
    Risk,
    Role,
    RunKind,
    RunRequest,
    Status,
    Targets,
)
from orchestrator.store.runs import REQUEST

ADA = Actor("ada", Role.ADMIN, "cli")
ENTRY = Entry("restart_service", "Restart", "", EntryKind.REMEDIATION, "/nowhere", "e", targets=Targets(groups=("web",)), risk=Risk.LOW)
WEB1, DB1 = Host("web1", ("web",), {}), Host("db1", ("db",), {})
LINE = Line("ServiceDown", "restart_service", "web")


class History:
    """Writes past runs, each later by the database's clock than everything before, and none in the future."""

    def __init__(self, store):
        self.store, self.count = store, 0

    def run(self, verdict: bool | None, *, digest: str = "d" * 64, status: Status = Status.RESOLVED, host: str = "web1") -> None:
        """Write one apply and what became of it."""
        store, self.count = self.store, self.count + 1
        before = store.db.now_ms()
        while (at := store.db.now_ms()) <= before:
            continue
        identity = f"i{self.count}"
        alert = Alert(f"{self.count:016x}", AlertStatus.FIRING, {"alertname": "ServiceDown", "instance": host})
        now = store.db.now()
        with store.db.transaction():
            store.incidents.insert(Incident(identity, alert, status=status, created_at=now, updated_at=now), at)
            request = RunRequest(
                f"{identity}:1:apply:1", RunKind.APPLY, "restart_service", "playbook.yml", (host,), f"/data/snapshots/{digest}"
            )
            store.db.tables.run.create(
                id=request.id, incident=identity, kind="apply", entry=ENTRY.id, state="done", request=REQUEST.dump_json(request).decode(),
                result="{}", created_at=at, started_at=at, ended_at=at,
            )  # fmt: skip
            store.db.tables.run_host.create(run=request.id, host=host, entry=ENTRY.id, by_person=True, at=at, effective=verdict)


@pytest.fixture
def history(store):
    """Return a writer of past runs."""
    return History(store)


def earning(store, entry: Entry = ENTRY, digest: str = "d" * 64) -> Earning:
    """Return earned autonomy over a catalogue of one entry and an inventory of two hosts; half is enough to be proposed."""
    plays = SimpleNamespace(snapshot=lambda _entry: SimpleNamespace(digest=digest))
    return Earning(store, lambda: Catalogue({entry.id: entry}), lambda: {"web1": WEB1, "db1": DB1}, plays, frozenset({Risk.LOW}), 0.5)


def kinds(store) -> list[str]:
    return [event.kind for event in store.chain.events(incident="system") if event.kind.startswith("autonomy.")]


def test_the_whole_way_from_runs_to_autonomy_and_back(store, history):
    """Five verified runs earn a proposal; only an admin's yes lets it run; one run that did not help takes it away at once."""
    one = earning(store)
    for _ in range(4):
        history.run(True)
    one.review()
    assert kinds(store) == []
    history.run(True)
    one.review()
    one.review()
    assert kinds(store) == ["autonomy.proposed"]
    assert one.may_run(ENTRY, [WEB1], "ServiceDown")[0] is False
    one.answer(LINE, Level.PROMOTED, ADA)
    held, words = one.may_run(ENTRY, [WEB1], "ServiceDown")
    assert (held, "5 of 5 runs verified" in words) == (True, True)
    assert one.may_run(ENTRY, [WEB1], "OtherAlert")[0] is False
    assert one.may_run(ENTRY, [WEB1, DB1], "ServiceDown")[0] is False
    history.run(False, status=Status.ESCALATED)
    assert one.may_run(ENTRY, [WEB1], "ServiceDown")[0] is False  # before any review
    one.review()
    assert kinds(store) == ["autonomy.proposed", "autonomy.promoted", "autonomy.demoted"]
    told = store.chain.latest(1, kind="autonomy.demoted")[0].data
    assert (told["from"], "was not seen to help" in told["why"]) == ("promoted", True)
    for _ in range(4):
        history.run(True)
    one.review()
    assert len(kinds(store)) == 3
    history.run(True)
    one.review()
    assert kinds(store)[3:] == ["autonomy.proposed"]


@pytest.mark.parametrize(
    ("verdict", "status", "counts"),
    [(None, Status.VERIFYING, False), (None, Status.ESCALATED, True), (None, Status.CANCELLED, True), (False, Status.CLOSED, True)],
)
def test_what_nobody_can_tell_is_no_success(store, history, verdict, status, counts):
    """A run under way is not counted yet; one whose effect was never shown counts against it."""
    history.run(True)
    history.run(verdict, status=status)
    (row,) = earning(store).table()
    assert (row["successes"], row["trials"]) == (1, 2 if counts else 1)


def test_a_changed_play_keeps_nothing(store, history):
    """A promotion is for the play that earned it: its successor asks a person and starts to count anew."""
    for _ in range(5):
        history.run(True)
    earning(store).review()
    earning(store).answer(LINE, Level.PROMOTED, ADA)
    changed = earning(store, digest="e" * 64)
    assert changed.may_run(ENTRY, [WEB1], "ServiceDown")[0] is False
    changed.review()
    assert kinds(store)[-1] == "autonomy.demoted"
    assert [(row["successes"], row["trials"]) for row in changed.table()] == [(0, 0)]


def test_an_answer_is_to_what_stands_now(store, history):
    """Nothing that was never proposed is promoted, nothing twice, and nothing that was lost while the admin looked at it."""
    one = earning(store)
    with pytest.raises(NotFound):
        one.answer(LINE, Level.PROMOTED, ADA)
    for _ in range(5):
        history.run(True)
    one.review()
    history.run(False)
    with pytest.raises(Conflict, match="has lost what it had earned"):
        one.answer(LINE, Level.PROMOTED, ADA)
    one.answer(LINE, Level.DECLINED, ADA, "not yet")
    with pytest.raises(Conflict, match="declined"):
        one.answer(LINE, Level.PROMOTED, ADA)
    assert kinds(store)[-1] == "autonomy.declined"


def test_risks_that_earn_nothing_are_not_proposed(store, history):
    """Where the settings say ask or auto, the record is kept and nothing is proposed."""
    for _ in range(9):
        history.run(True)
    earning(store, replace(ENTRY, risk=Risk.HIGH)).review()
    assert kinds(store) == []
