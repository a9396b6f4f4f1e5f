"""`kill -9` at any moment: nothing acknowledged is lost, nothing runs twice, everything ends resolved or with a person.

20 kills at random moments; 200 with ORCHESTRATOR_LONG=1. Then one kill at each station of an incident's life.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time

import psutil
import pytest
from durability.harness import Rows, check_everything, wait_all_ended, wait_tidy, world
from services import until

KILLS = 200 if os.environ.get("ORCHESTRATOR_LONG") else 20
ALERTS_AT_MOST = KILLS * 3 // 2
LONGEST_S = KILLS * 5.0
"""After this long no more kills are made, so that a slow machine ends in time too."""


def finish(server):
    """Wait until all is over and tidy, assert what must hold, and return the counts."""
    wait_all_ended(server)
    wait_tidy(server)
    counts = check_everything(server)
    verified = server.command("audit", "verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    return counts


@pytest.mark.timeout(900 if KILLS == 20 else 7200)
def test_kills_at_random_moments(tmp_path, capsys):
    """Killed again and again at random moments, starting up included, it loses nothing and does nothing twice."""
    seed = int(os.environ.get("ORCHESTRATOR_SEED", "0")) or random.randrange(1, 10**6)
    chance, kills, number, begun = random.Random(seed), 0, 0, time.monotonic()
    with world(tmp_path) as here:
        server = here.serve()
        server.start()
        while kills < KILLS and time.monotonic() - begun < LONGEST_S:
            if server.process is None:
                server.spawn()
                if chance.random() < 0.2:
                    time.sleep(chance.uniform(0.0, 1.5))
                    server.kill()
                    kills += 1
                    continue
                server.wait_ready()
            posted = [f"a{number + n}" for n in range(chance.randint(1, 3)) if number + n < ALERTS_AT_MOST]
            number += len(posted)
            post = threading.Thread(target=lambda items: [server.alert(item) for item in items], args=(posted,))
            post.start()
            time.sleep(chance.uniform(0.0, 3.0))
            server.kill()
            kills += 1
            post.join()
        server.start()
        counts = finish(server)
        counts = {"seed": seed, "kills": kills, **counts, "took s": round(time.monotonic() - begun)}
    assert counts["runs begun"] == counts["runs ended"], counts
    assert counts["acknowledged"] >= kills / 4, f"too few alerts for the kills to mean much: {counts}"
    with capsys.disabled():
        print("\n" + "\n".join(f"  {name:<14}{value:>6}" for name, value in counts.items()))


def one_run(server, item):
    """Assert that an item was repaired by one run."""
    assert [what for _, name, what in server.world.ledger.lines() if name == item] == ["begin", "end"]


@pytest.mark.parametrize(
    ("station", "held"), [("received", "/api/v2/alerts"), ("investigating", "/api/v1/rules"), ("proposed", "/api/v1/alerts")]
)
def test_kill_before_anything_ran(tmp_path, station, held):
    """Killed while it asks monitoring, the incident goes on after the next start and is repaired once."""
    with world(tmp_path) as here:
        server = here.serve(alertmanager__url=here.monitoring.url, worker__reconcile_s=3600).start()
        here.monitoring.hold(held)
        server.alert("a1")
        server.wait_status("a1", station)
        until(lambda: here.monitoring.asked[held], what=f"{held} was asked")
        server.kill()
        here.monitoring.release()
        assert not here.ledger.lines()
        server.start()
        server.wait_status("a1", "resolved")
        finish(server)
        one_run(server, "a1")


def test_kill_while_a_person_is_asked(tmp_path):
    """A pending approval outlives the kill, and its answer starts the run once."""
    with world(tmp_path) as here:
        server = here.serve().start()
        server.alert("a1", name="Ask")
        asked = server.wait_status("a1", "awaiting_approval")["approval"]
        server.kill()
        server.start()
        assert server.incident("a1")["approval"] == asked
        shown = server.get(f"/api/v1/approvals/{asked}")
        server.post(f"/api/v1/approvals/{asked}/approve", {"digest": shown["digest"]}).raise_for_status()
        server.wait_status("a1", "resolved")
        finish(server)
        one_run(server, "a1")


@pytest.mark.parametrize("back", ["while it runs", "after its end"])
def test_kill_while_the_play_runs(tmp_path, back):
    """The play outlives the kill; the next start adopts it, whether it still runs or has ended, and does not repeat it."""
    with world(tmp_path, nap_s=6.0 if back == "while it runs" else 1.0) as here:
        server = here.serve().start()
        server.alert("a1")
        until(lambda: here.ledger.has("a1", "begin"), what="the play has begun")
        server.kill()
        if back == "after its end":
            until(lambda: here.ledger.has("a1", "end"), what="the play has ended")
        server.start()
        found = server.wait_status("a1", "resolved")
        assert found["run"]["outcome"] == "successful"
        finish(server)
        one_run(server, "a1")


def test_kill_while_verifying(tmp_path):
    """Killed while it verifies, it verifies again; the repair is not repeated."""
    with world(tmp_path, nap_s=1.5) as here:
        server = here.serve().start()
        server.alert("a1")
        until(lambda: here.ledger.has("a1", "begin"), what="the play has begun")
        here.monitoring.hold("/api/v1/alerts")
        server.wait_status("a1", "verifying")
        server.kill()
        here.monitoring.release()
        server.start()
        server.wait_status("a1", "resolved")
        finish(server)
        one_run(server, "a1")


def test_kill_with_everything_below(tmp_path):
    """Killed together with its play, nobody knows how far that came: a person is asked, and the host stays locked until the answer."""
    with world(tmp_path, nap_s=20.0) as here:
        server = here.serve().start()
        server.alert("a1", host="h0")
        until(lambda: here.ledger.has("a1", "begin"), what="the play has begun")
        server.kill()
        kill_plays(here)
        server.start()
        found = server.wait_status("a1", "escalated")
        assert found["reason"] == "unknown_run"
        server.alert("b1", name="Auto", host="h0")
        until(lambda: server.incident("b1")["blocked_by"] == "host:h0", what="the second incident waits for the host")
        assert not here.ledger.has("b1", "begin")
        assert server.post(f"/api/v1/incidents/{found['id']}/close").status_code == 409
        settled = server.post(f"/api/v1/runs/{found['run']['id']}/settle", {"outcome": "not-done", "reason": "the ledger has no end"})
        settled.raise_for_status()
        until(lambda: here.ledger.has("b1", "begin"), what="the host is free")
        assert [line for line in here.ledger.lines() if line[1] == "a1"] == [(found["run"]["id"], "a1", "begin")]
        assert Rows(server.data_dir)("SELECT count(*) FROM slot WHERE incident = ?", found["id"]) == [(0,)]
        server.kill()
        kill_plays(here)


def kill_plays(here):
    """Kill every process of the world's plays, as a power cut would."""

    def plays():
        found = []
        for process in psutil.process_iter(["cmdline"]):
            words = " ".join(process.info["cmdline"] or ())
            if str(here.folder) in words and process.pid != os.getpid():
                found.append(process)
        for process in found:
            with contextlib.suppress(psutil.Error):
                process.kill()
        return found

    until(lambda: not plays(), every_s=0.2, what="no play is left")
