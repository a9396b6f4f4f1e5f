"""`kill -9` at any moment: nothing acknowledged is lost, nothing runs twice, everything ends resolved or with a person.

20 kills at random moments, 200 with ORCHESTRATOR_LONG=1; half of them of one process, half of web, worker or both. Then kills at each station of an
incident's life. Figures are printed and written to `build/durability/`; ORCHESTRATOR_SEED repeats a series of random moments.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
import time

import psutil
import pytest
from durability.checks import Takeovers, check_everything, report, wait_all_ended, wait_tidy
from durability.harness import LONG, world
from services import until

KILLS = 100 if LONG else 10
"""In each of the two series."""
LONGEST_S = 540.0 if LONG else 120.0
"""After this long no more kills are made, so that a slow machine ends in time too."""


def finish(server):
    """Wait until all is over and tidy, assert what must hold, and return the counts."""
    wait_all_ended(server)
    wait_tidy(server)
    counts = check_everything(server)
    verified = server.command("audit", "verify", "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    return counts


def kill_again_and_again(server, chance, takeovers):
    """Kill at random moments while alerts come in; return how many kills there were."""
    kills, number, begun = 0, 0, time.monotonic()
    choices = [server.parts] if len(server.parts) == 1 else [server.parts, *[(part,) for part in server.parts]]
    while kills < KILLS and time.monotonic() - begun < LONGEST_S:
        victims = chance.choice(choices)
        server.spawn()
        early = chance.random() < 0.2
        posted = [] if early or number > KILLS * 3 // 2 else [f"a{number + n}" for n in range(chance.randint(1, 3))]
        number += len(posted)
        if not early:
            server.wait_ready()
        post = threading.Thread(target=lambda items: [server.alert(item) for item in items], args=(posted,))
        post.start()
        time.sleep(chance.uniform(0.0, 1.5 if early else 3.0))
        server.kill(*victims)
        kills += 1
        if victims != ("web",):
            takeovers.note()
        post.join()
    return kills


@pytest.mark.timeout(1500 if LONG else 600)
@pytest.mark.parametrize("parts", [("serve",), ("web", "worker")], ids="+".join)
def test_kills_at_random_moments(tmp_path, capsys, parts):
    """Killed again and again at random moments, starting up included, it loses nothing and does nothing twice."""
    seed = int(os.environ.get("ORCHESTRATOR_SEED", "0")) or random.randrange(1, 10**6)
    begun = time.monotonic()
    with capsys.disabled():
        print(f"\nORCHESTRATOR_SEED={seed}")
    with world(tmp_path) as here:
        server = here.serve(parts=parts).start()
        with Takeovers(server.rows) as takeovers:
            kills = kill_again_and_again(server, random.Random(seed), takeovers)
            server.start()
            counts = finish(server)
        figures = {"seed": seed, "kills": kills, **counts, **takeovers.summary(), "took s": round(time.monotonic() - begun)}
    report(f"random-{'+'.join(parts)}", figures, capsys.disabled)
    assert counts["runs begun"] == counts["runs ended"], figures
    assert counts["acknowledged"] >= kills / 4, f"too few alerts for the kills to mean much: {figures}"


@pytest.mark.parametrize("victims", [("serve",), ("web",), ("worker",), ("web", "worker")], ids="+".join)
def test_one_life_killed_at_every_station(tmp_path, capsys, victims):
    """Killed at each station of one incident's life, all in one process, or web, worker or both: it goes on each time, and is repaired once."""
    with world(tmp_path, nap_s=4.0) as here:
        parts = victims if victims == ("serve",) else ("web", "worker")
        server = here.serve(parts=parts, alertmanager__url=here.monitoring.url, worker__reconcile_s=3600).start()
        with Takeovers(server.rows) as takeovers:

            def kill_at(status):
                server.wait_status("a1", status)
                server.kill(*victims)
                if victims != ("web",):
                    takeovers.note()

            stations = {"received": "/api/v2/alerts", "investigating": "/api/v1/rules", "proposed": "/api/v2/alerts"}
            here.monitoring.hold(stations["received"])
            server.alert("a1", name="Ask")
            for (status, path), following in zip(stations.items(), [*list(stations.values())[1:], ""], strict=True):
                server.wait_status("a1", status)
                until(lambda path=path: here.monitoring.asked[path], what=f"{path} was asked")
                kill_at(status)
                if following:
                    here.monitoring.hold(following)
                here.monitoring.release(path)
                server.start()
            kill_at("awaiting_approval")
            server.start()
            asked = server.incident("a1")["approval"]
            shown = server.get(f"/api/v1/approvals/{asked}")
            server.post(f"/api/v1/approvals/{asked}/approve", {"digest": shown["digest"]}).raise_for_status()
            until(lambda: here.ledger.has("a1", "begin"), what="the play has begun")
            kill_at("executing")
            here.monitoring.hold("/api/v1/alerts")
            server.start()
            kill_at("verifying")
            here.monitoring.release()
            server.start()
            assert server.wait_status("a1", "resolved")["approval"] == asked
            counts = finish(server)
        one_run(server, "a1")
        report(f"one-life-{'+'.join(victims)}", {"kills": 6, **counts, **takeovers.summary()}, capsys.disabled)


def one_run(server, item):
    """Assert that an item was repaired by one run."""
    assert [what for _, name, what in server.world.ledger.lines() if name == item] == ["begin", "end"]


def test_play_that_ended_while_the_server_was_down(tmp_path):
    """A play that outlived the server and ended before its next start is taken in by that, and not repeated."""
    with world(tmp_path, nap_s=1.0) as here:
        server = here.serve().start()
        server.alert("a1")
        until(lambda: here.ledger.has("a1", "begin"), what="the play has begun")
        server.kill()
        until(lambda: here.ledger.has("a1", "end"), what="the play has ended")
        server.start()
        assert server.wait_status("a1", "resolved")["run"]["outcome"] == "successful"
        finish(server)
        one_run(server, "a1")


def test_kill_with_everything_below(tmp_path):
    """Killed together with its play, nobody knows how far that came: a person is asked, and the host stays locked until the answer.

    What the killed play left in temporary folders goes with its answer.
    """
    with world(tmp_path, nap_s=30.0) as here:
        server = here.serve().start()
        server.alert("a1", host="h0")
        found = kill_with_play(server, "a1")
        server.alert("b1", host="h0")
        until(lambda: server.incident("b1")["blocked_by"] == "host:h0", what="the second incident waits for the host")
        assert not here.ledger.has("b1", "begin")
        assert server.post(f"/api/v1/incidents/{found['id']}/close").status_code == 409
        settle(server, found)
        second = kill_with_play(server, "b1")
        assert [line for line in here.ledger.lines() if line[1] == "a1"] == [(found["run"]["id"], "a1", "begin")]
        assert server.rows("SELECT incident FROM slot WHERE name = 'host:h0'") == [(second["id"],)]
        settle(server, second)
        until(lambda: not server.rows("SELECT id FROM run WHERE state != 'done'"), what="both are settled")
        assert server.rows("SELECT name FROM slot") == []
        wait_tidy(server)


def kill_with_play(server, item):
    """Kill the server and the play of an item, start it again, and return the incident, which is with a person."""
    until(lambda: server.world.ledger.has(item, "begin"), what="the play has begun")
    (run,) = (run for run, name, _ in server.world.ledger.lines() if name == item)
    temp = server.data_dir / "runs" / run.replace(":", "+") / "tmp"
    assert list(temp.glob("ansible_*_payload_*")), "what a module unpacks lies in its run's folder"
    server.kill()
    kill_plays(server.world)
    server.start()
    found = server.wait_status(item, "escalated")
    assert found["reason"] == "unknown_run"
    return found


def settle(server, incident):
    """Say as a person that a run was not done."""
    body = {"outcome": "not-done", "reason": "the ledger has no end"}
    server.post(f"/api/v1/runs/{incident['run']['id']}/settle", body).raise_for_status()


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
