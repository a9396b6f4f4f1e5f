"""What fails around the program, and how it ends and starts: nothing is half done, and somebody is told."""

from __future__ import annotations

import contextlib
import itertools
import socket
import sqlite3

import psycopg2
import pytest
from durability.checks import check_everything, wait_all_ended
from durability.harness import world
from postgresql import PostgresServer, find_postgres
from services import free_port, until

NUMBER = itertools.count()


def test_locked_database_answers_503_and_keeps_nothing(tmp_path):
    """While the database cannot be written a delivery is refused whole, so that Alertmanager sends it again; then it is taken."""
    with world(tmp_path) as here:
        server = here.serve().start()
        rows = server.rows
        before = rows("SELECT (SELECT count(*) FROM incident), (SELECT count(*) FROM delivery), (SELECT count(*) FROM audit)")
        with contextlib.closing(sqlite3.connect(server.data_dir / "orchestrator.db", timeout=60, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert server.alert("a1").status_code == 503
            assert rows("SELECT (SELECT count(*) FROM incident), (SELECT count(*) FROM delivery), (SELECT count(*) FROM audit)") == before
            other.execute("ROLLBACK")
        until(lambda: server.alert("a1").status_code == 202, what="the delivery is taken")
        wait_all_ended(server)
        assert check_everything(server)["resolved"] == 1


def test_monitoring_gone_asks_a_person(tmp_path):
    """Where monitoring cannot confirm that the alert fires, nothing runs by itself."""
    with world(tmp_path) as here:
        server = here.serve(prometheus__url=f"http://127.0.0.1:{free_port()}").start()
        server.alert("a1")
        asked = server.wait_status("a1", "awaiting_approval", "escalated")
        assert {"cannot_confirm", "rule_unread"} & set(asked["verdict"]["reasons"])
        assert not here.ledger.lines()


def test_sigterm_leaves_the_play_and_the_next_start_adopts_it(tmp_path):
    """SIGTERM ends the server within a bound and with 0; the play is not cut, and its result is taken in by the next start."""
    with world(tmp_path, nap_s=30.0) as here:
        server = here.serve().start()
        server.alert("a1")
        until(lambda: here.ledger.has("a1", "begin"), what="the play has begun")
        assert server.terminate() == 0
        assert not here.ledger.has("a1", "end"), "the stop did not wait for the play"
        server.start()
        assert server.wait_status("a1", "resolved")["run"]["outcome"] == "successful"
        assert check_everything(server)["runs ended"] == 1


@pytest.mark.parametrize("how", ["by the running server", "by a file, with the server down"])
def test_paused_starts_nothing_and_resumes(tmp_path, how):
    """The kill switch holds every run back, also across a start, and lets it go on afterwards."""
    with world(tmp_path) as here:
        server = here.serve().start()
        if how.startswith("by a file"):
            assert server.terminate() == 0
        paused = server.command("pause", "--reason", "tests")
        assert paused.returncode == 0, paused.stderr
        if how.startswith("by a file"):
            server.start()
        server.alert("a1")
        until(lambda: server.incident("a1")["blocked_by"].startswith("paused"), what="the incident waits for the kill switch")
        assert not here.ledger.lines()
        assert server.command("resume").returncode == 0
        server.wait_status("a1", "resolved")
        assert check_everything(server)["runs ended"] == 1


def test_second_server_on_one_folder_refuses(tmp_path):
    """Two workers never share a data folder: the second one says so and ends; the first goes on."""
    with world(tmp_path) as here:
        server = here.serve().start()
        second = here.serve(server__port=0)
        ended = second.command("serve")
        assert ended.returncode not in (0, None)
        assert "another worker already uses" in ended.stderr
        assert "Traceback" not in ended.stderr
        server.alert("a1")
        server.wait_status("a1", "resolved")


@pytest.fixture(scope="module")
def database():
    """The address of an empty database on a PostgreSQL of our own; skipped by name where that is not installed."""
    if find_postgres() is None:
        pytest.skip("needs postgresql (Debian package); `make check` installs it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with PostgresServer(port) as server:
        yield server.database(f"faults{next(NUMBER)}")


@pytest.mark.foreign
def test_other_machine_takes_over(tmp_path, database):
    """Two machines share a database; one is killed in the middle: the other takes its incidents over and repeats no run.

    A play that ran on the dead machine is unknown once its time is over, and keeps its host.
    """
    with world(tmp_path, nap_s=3.0, timeout_s=20.0) as here:
        one, two = (here.serve(name, database__url=database, worker__threads=2) for name in ("one", "two"))
        one.spawn()
        two.spawn()  # both make the tables of an empty database at once
        one.wait_ready()
        two.wait_ready()
        for number in range(4):
            (one if number % 2 else two).alert(f"a{number}", host=f"h{number}")
        until(lambda: _begun_by(database, one), what="the first machine runs a play")
        one.kill()
        for number in range(4, 6):
            two.alert(f"a{number}", host=f"h{number}")
        ends = {item: two.wait_status(item, "resolved", "escalated", within_s=180) for item in here.acknowledged}
        assert len(ends) == 6
        assert here.ledger.twice() == []
        assert {found["reason"] for found in ends.values()} <= {"verified", "unknown_run"}
        unknown = {found["id"] for found in ends.values() if found["reason"] == "unknown_run"}
        assert unknown, "what ran on the dead machine cannot be known"
        assert {row[0] for row in _rows(database, "SELECT incident FROM slot")} == unknown
        assert two.get("/api/v1/audit/verify")["ok"]


def _rows(url, query, *values):
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()


def _begun_by(url, server):
    node = (server.data_dir / "node").read_text().strip()
    return _rows(url, "SELECT id FROM run WHERE kind = 'apply' AND state = 'running' AND node = %s", node)
