"""Verification: health needs positive evidence, and doubt is never health."""

from __future__ import annotations

import itertools

import pytest

from orchestrator.errors import ExecutionError, SourceUnavailable
from orchestrator.model import (
    Alert,
    AlertStatus,
    Check,
    Entry,
    EntryKind,
    Health,
    Host,
    HostStats,
    Outcome,
    Run,
    RunKind,
    RunState,
    Verification,
    VerifySpec,
)
from orchestrator.verify import ALERT_GONE, PLAYBOOK, final, look

ALERT = Alert("0123456789abcdef", AlertStatus.FIRING, {"alertname": "Down", "instance": "web1:80"})
HOST = Host("web1")


def entry(*promql: str, verify: bool = True) -> Entry:
    spec = VerifySpec(promql=promql) if verify else None
    return Entry("restart_service", "Restart", "Restarts.", EntryKind.REMEDIATION, "/c/restart_service", "d", verify=spec)


def run(outcome: Outcome | None = Outcome.SUCCESSFUL, **stats: int) -> Run:
    state = RunState.DONE if outcome else RunState.UNKNOWN
    return Run("i:1:verify:1", RunKind.VERIFY, "restart_service", state, outcome, {"web1": HostStats(**{"ok": 1, **stats})})


def see(played=None, held: bool | None = True, gone: bool | None = True, *, before=None, hosts=(HOST,), of=None) -> Verification:
    return look(
        of or entry('up{instance="$instance"} == 1'),
        ALERT,
        hosts,
        {"restart_service_name": "nginx"},
        run_play=lambda: played or run(),
        holds=lambda *_: held,
        gone=lambda: gone,
        before=before,
    )


def raising(error: Exception):
    def call(*_: object):
        raise error

    return call


def test_everything_positive_is_healthy():
    """Only playbook, queries and alert together make health."""
    seen = see()
    assert seen.health is Health.HEALTHY
    assert [check.name for check in seen.checks] == [PLAYBOOK, 'up{instance="$instance"} == 1', ALERT_GONE]
    assert final(seen) == seen


@pytest.mark.parametrize(("play", "held", "gone"), list(itertools.product((True, False, None), repeat=3)))
def test_the_whole_table(play, held, gone):
    """Healthy needs three times yes; unhealthy needs a positive no of playbook or query; all else is undecided."""
    seen = see(run({True: Outcome.SUCCESSFUL, False: Outcome.FAILED, None: Outcome.TIMEOUT}[play]), held, gone)
    if play is held is gone is True:
        expected = Health.HEALTHY
    elif play is False or held is False:
        expected = Health.UNHEALTHY
    else:
        expected = Health.UNDECIDED
    assert seen.health is expected
    assert final(seen).health is expected


@pytest.mark.parametrize("outcome", [Outcome.UNREACHABLE, Outcome.TIMEOUT, Outcome.CANCELLED, Outcome.UNKNOWN, None])
def test_a_run_that_tells_nothing_is_undecided(outcome):
    """Unreachable, too slow, cancelled or unknown is no proof of anything."""
    assert see(run(outcome)).health is Health.UNDECIDED


@pytest.mark.parametrize("outcome", [Outcome.SUCCESSFUL, Outcome.FAILED])
def test_a_verify_play_that_changed_something_proves_nothing(outcome):
    """Read-only is enforced: a change is named, and its result is not believed either way."""
    seen = see(run(outcome, changed=1))
    assert seen.health is Health.UNDECIDED
    assert "quarantine" in seen.checks[0].detail


@pytest.mark.parametrize("stats", [{"unreachable": 1}, {"failures": 1}])
def test_a_success_that_its_counts_contradict_is_undecided(stats):
    """A run that ended well without having run on the host shows no health."""
    assert see(run(**stats)).health is Health.UNDECIDED


def test_a_success_on_no_host_is_undecided():
    """A play that matched no host proves nothing."""
    empty = Run("i:1:verify:1", RunKind.VERIFY, "restart_service", RunState.DONE, Outcome.SUCCESSFUL)
    assert see(empty).health is Health.UNDECIDED


def test_failures_to_ask_are_undecided():
    """Neither a play that cannot start nor monitoring that is down is taken for health or for failure."""
    seen = look(
        entry("up"),
        ALERT,
        (HOST,),
        {},
        run_play=raising(ExecutionError("no")),
        holds=raising(SourceUnavailable("down")),
        gone=raising(SourceUnavailable("down")),
        before=None,
    )
    assert seen.health is Health.UNDECIDED
    assert [check.ok for check in seen.checks] == [None, None, None]
    assert "could not be asked: down" in seen.checks[1].detail


def test_each_query_is_asked_for_each_host():
    """A repair of several hosts is healthy only where each query holds for each of them."""
    asked = []

    def holds(query, alert, host):
        asked.append((query, host.name))
        return host.name == "web1"

    stats = {"web1": HostStats(ok=1), "web2": HostStats(ok=1)}
    played = Run("i:1:verify:1", RunKind.VERIFY, "e", RunState.DONE, Outcome.SUCCESSFUL, stats)
    seen = look(entry("a", "b"), ALERT, (HOST, Host("web2")), {}, run_play=lambda: played, holds=holds, gone=lambda: True)
    assert asked == [("a", "web1"), ("a", "web2"), ("b", "web1"), ("b", "web2")]
    assert seen.health is Health.UNHEALTHY
    assert "a on web2" in seen.detail


def test_a_playbook_that_succeeded_is_not_run_again():
    """While waiting for the alert to go, the play is not repeated; the queries are."""
    before = see(gone=False)
    seen = look(
        entry("up"),
        ALERT,
        (HOST,),
        {},
        run_play=raising(AssertionError("ran again")),
        holds=lambda *_: True,
        gone=lambda: True,
        before=before,
    )
    assert seen.health is Health.HEALTHY


def test_a_playbook_that_failed_is_run_again():
    """A failure of an earlier look does not stick: the service may just have needed time."""
    before = see(run(Outcome.FAILED))
    assert before.health is Health.UNHEALTHY
    assert see(before=before).health is Health.HEALTHY


def test_healthy_but_still_firing_stays_with_a_person_at_the_deadline():
    """A service that looks healthy while its alert fires is undecided, in plain words."""
    ended = final(see(gone=False))
    assert ended.health is Health.UNDECIDED
    assert "still fires" in ended.detail
    assert "nothing is undone" in ended.detail


def test_an_entry_without_verify_or_hosts_is_undecided():
    """Nothing to look at is never health."""
    assert see(of=entry(verify=False)).health is Health.UNDECIDED
    assert see(hosts=()).health is Health.UNDECIDED
    assert final(Verification(Health.UNDECIDED, (Check(ALERT_GONE, True),))).health is Health.UNDECIDED
