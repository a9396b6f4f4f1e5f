"""Several workers on one PostgreSQL: one is cut off, put to sleep, or wrong about the time. The others go on, and it does no harm.

The network of the one that is cut off is a namespace of its own, whose cable is pulled. Times of takeovers are printed and written to
`build/durability/`.
"""

from __future__ import annotations

import itertools
import subprocess
import sys
import time

import pytest
from conftest import needs_program
from durability.checks import Takeovers, check_everything, report, wait_all_ended
from durability.harness import LONG, PATIENCE_S, world
from hosts import networks
from postgresql import PostgresServer, find_postgres
from services import free_port, until

NUMBER = itertools.count()
PROMISED_S = 15.0
"""How soon an incident is taken over."""
AS_SHIPPED = {"worker__lease_s": 10, "worker__sweep_s": 1}
SHIFTED_CLOCK = """
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    const char *shift = getenv("CLOCK_SHIFT_S");
    if (!failed && clock == CLOCK_REALTIME && shift) now->tv_sec += atol(shift);
    return failed;
}
"""
"""Stands before the C library: only the time of day is shifted, waiting is not (libfaketime breaks Python's sleep)."""
pytestmark = pytest.mark.foreign


@pytest.fixture(scope="module")
def cable():
    """A PostgreSQL that listens on a bridge too, and a network of its own on that bridge: (server, address on the bridge, network)."""
    if find_postgres() is None:
        pytest.skip("needs postgresql (Debian package); `make check` installs it")
    with networks(1) as (address, (host,)), PostgresServer(free_port(), address) as server:
        yield server, address, host


@pytest.fixture
def shared(postgres):
    """Settings of machines that share a fresh database, with a short lease."""
    return {"database__url": postgres.database(f"shared{next(NUMBER)}")}


def node(server):
    """Return the name by which a machine goes."""
    return (server.data_dir / "node").read_text().strip()


def owner(server, item):
    """Return who holds an item's incident, an empty string where nobody does."""
    ((found,),) = server.rows("SELECT owner FROM incident WHERE id = ?", server.world.acknowledged[item])
    return found


def written(server, item):
    """Return everything that stands about an item's incident: its row but for the lease, its events, its runs."""
    incident = server.world.acknowledged[item]
    return (
        server.rows("SELECT status, reason, data FROM incident WHERE id = ?", incident),
        server.rows("SELECT kind, data FROM audit WHERE incident = ? ORDER BY id", incident),
        server.rows("SELECT id, state, node FROM run WHERE incident = ? ORDER BY id", incident),
    )


def wait_taken_over(takeovers, name, capsys):
    """Wait until what was noted has another owner, and report how long that took."""
    until(lambda: takeovers.times_s, within_s=PATIENCE_S, what="another worker takes over")
    report(name, takeovers.summary(), capsys.disabled)
    assert not LONG or max(takeovers.times_s) <= PROMISED_S


def wait_noticed(server):
    """Wait until a worker that was away has noticed that it lost what it held."""
    words = ("was taken over by another worker", "could not be kept", "waits: the database")
    until(lambda: any(word in server.since_start() for word in words), within_s=2 * PATIENCE_S, what=f"it is noticed, log: {server.log}")


@pytest.fixture(scope="module")
def shifted_clock(tmp_path_factory):
    """Return what to put before a command, given the seconds by which its clock is wrong."""
    folder = tmp_path_factory.mktemp("clock")
    source, library = folder / "clock.c", folder / "clock.so"
    source.write_text(SHIFTED_CLOCK)
    subprocess.run([needs_program("cc", "gcc"), "-shared", "-fPIC", "-o", library, source], check=True, timeout=60)
    return lambda shift_s: ("env", f"LD_PRELOAD={library}", f"CLOCK_SHIFT_S={shift_s}")


@pytest.mark.root
def test_cut_off_between_steps(tmp_path, cable, capsys):
    """A worker that is cut off loses its incident to another within the promised time; back again it writes nothing, and works on."""
    postgres, address, host = cable
    shared = {"database__url": postgres.database(f"cut{next(NUMBER)}"), **AS_SHIPPED}
    with world(tmp_path, address=address) as here:
        web = here.serve("web", parts=("web",), **shared).start()
        away = here.serve("away", parts=("worker",), **shared)
        away.prefix = host.prefix
        away.start()
        here.monitoring.hold("/api/v1/rules")
        web.alert("a1")
        until(lambda: here.monitoring.asked["/api/v1/rules"], what="it is in the middle of a step")
        others = [here.serve(name, parts=("worker",), **shared).start() for name in ("two", "three")]
        with Takeovers(web.rows) as takeovers:
            takeovers.note()
            host.cut()
            wait_taken_over(takeovers, "cut-off-between-steps", capsys)
        here.monitoring.release()
        web.wait_status("a1", "resolved")
        before = written(web, "a1")
        host.join()
        wait_noticed(away)
        for other in others:
            other.kill()
        web.alert("a2")
        assert web.wait_status("a2", "resolved", within_s=2 * PATIENCE_S)["run"]["node"] == node(away)
        assert written(web, "a1") == before
        check_everything(web)


@pytest.mark.root
def test_cut_off_while_its_play_runs(tmp_path, cable, capsys):
    """The incident is taken over, its host stays locked while the play may run; back again the worker adopts its play, once."""
    postgres, address, host = cable
    shared = {"database__url": postgres.database(f"cut{next(NUMBER)}"), **AS_SHIPPED}
    with world(tmp_path, address=address, nap_s=5.0, timeout_s=300.0) as here:
        web = here.serve("web", parts=("web",), **shared).start()
        away = here.serve("away", parts=("worker",), **shared)
        away.prefix = host.prefix
        away.start()
        web.alert("a1", host="h0")
        until(lambda: here.ledger.has("a1", "begin"), what="the play has begun")
        with Takeovers(web.rows) as takeovers:
            takeovers.note()
            host.cut()
            here.serve("two", parts=("worker",), **shared).start()
            wait_taken_over(takeovers, "cut-off-while-its-play-runs", capsys)
        until(lambda: here.ledger.has("a1", "end"), what="the play has ended by itself")
        web.alert("b1", host="h0")
        until(lambda: web.incident("b1")["blocked_by"] == "host:h0", what="the host is locked")
        assert web.incident("a1")["status"] == "executing"
        host.join()
        found = web.wait_status("a1", "resolved", "escalated", within_s=2 * PATIENCE_S)
        assert (found["status"], found["run"]["outcome"], found["run"]["node"]) == ("resolved", "successful", node(away))
        web.wait_status("b1", "resolved")
        check_everything(web)


def test_asleep_for_longer_than_its_lease(tmp_path, shared):
    """A worker that was suspended in the middle of a step, and wakes up after another has finished its work, writes and begins nothing."""
    with world(tmp_path) as here:
        shared |= {"alertmanager__url": here.monitoring.url, "worker__reconcile_s": 3600}
        web = here.serve("web", parts=("web",), **shared).start()
        sleeper = here.serve("sleeper", parts=("worker",), **shared).start()
        here.monitoring.hold("/api/v1/rules")
        web.alert("a1")
        until(lambda: here.monitoring.asked["/api/v1/rules"], what="it gathers")
        here.monitoring.hold("/api/v2/alerts")
        here.monitoring.release("/api/v1/rules")
        web.wait_status("a1", "proposed")
        until(lambda: here.monitoring.asked["/api/v2/alerts"], what="it is about to begin a run")
        sleeper.freeze()
        here.serve("two", parts=("worker",), **shared).start()
        held = owner(web, "a1")
        until(lambda: owner(web, "a1") != held, what="the other takes over")
        here.monitoring.release()
        web.wait_status("a1", "resolved")
        before = written(web, "a1")
        sleeper.thaw()
        wait_noticed(sleeper)
        assert written(web, "a1") == before
        assert node(sleeper) not in {row[2] for row in before[2]}
        check_everything(web)


def test_sigterm_hands_over(tmp_path, shared):
    """A worker that is told to end gives its incident to another at once, long before its lease runs out; a play is not cut."""
    with world(tmp_path, nap_s=8.0) as here:
        shared |= {"worker__lease_s": 900}
        web = here.serve("web", parts=("web",), **shared).start()
        one = here.serve("one", parts=("worker",), **shared).start()
        web.alert("a1", host="h0")
        until(lambda: here.ledger.has("a1", "begin"), what="the play has begun")
        here.monitoring.hold("/api/v1/rules")
        web.alert("a2", host="h1")
        until(lambda: here.monitoring.asked["/api/v1/rules"], what="it is in the middle of a step")
        two = here.serve("two", parts=("worker",), **shared).start()
        one.signal_end()
        until(lambda: owner(web, "a2") == "", what="it is given back")
        here.monitoring.release()
        assert one.wait_end() == 0
        assert web.wait_status("a2", "resolved")["run"]["node"] == node(two)
        until(lambda: here.ledger.has("a1", "end"), what="the play has ended in peace")
        one.start()
        assert web.wait_status("a1", "resolved")["run"]["outcome"] == "successful"
        check_everything(web)


def test_wrong_clocks_change_nothing(tmp_path, shared, shifted_clock):
    """Workers whose clocks differ by hours from each other and from the database's neither take anything over nor let anything expire."""
    argv = [*shifted_clock(18000), sys.executable, "-c", "import time; print(time.time())"]
    assert float(subprocess.check_output(argv, timeout=60)) > time.time() + 17000
    with world(tmp_path, nap_s=3.0) as here:
        web = here.serve("web", parts=("web",), **shared).start()
        for name, shift_s in (("early", -18000), ("late", 18000)):
            server = here.serve(name, parts=("worker",), worker__threads=2, **shared)
            server.prefix = shifted_clock(shift_s)
            server.start()
        for number in range(4):
            web.alert(f"a{number}", host=f"h{number}")
        web.alert("b1", name="Ask", host="h4")
        asked = web.wait_status("b1", "awaiting_approval")["approval"]
        shown = web.get(f"/api/v1/approvals/{asked}")
        web.post(f"/api/v1/approvals/{asked}/approve", {"digest": shown["digest"]}).raise_for_status()
        wait_all_ended(web)
        ended = check_everything(web)
        assert ended["resolved"] == 5, ended
        assert web.get("/api/v1/audit/verify")["ok"]
