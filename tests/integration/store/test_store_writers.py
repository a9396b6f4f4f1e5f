"""Many writers of one process on SQLite: each has its turn, none is sent away."""

from __future__ import annotations

import threading
import time

from services import until

from orchestrator.store import Store
from orchestrator.store.turnstile import Turnstile


def test_writers_have_their_turn_in_order():
    """Who came first is let through first."""
    gate, order, threads = Turnstile(), [], []

    def take(name):
        with gate:
            order.append(name)

    with gate:
        for number in range(5):
            threads.append(threading.Thread(target=take, args=(number,)))
            threads[-1].start()
            until(lambda number=number: len(gate._waiting) == number + 1, what="it waits in the row")
    for thread in threads:
        thread.join(60)
    assert order == [0, 1, 2, 3, 4]
    with gate:
        assert gate._taken


def test_error_inside_lets_the_next_one_through():
    """A writer that fails gives its turn to the next."""
    gate = Turnstile()
    for _ in range(2):
        try:
            with gate:
                raise ValueError
        except ValueError:
            pass
    assert not gate._taken


def test_no_writer_is_sent_away_in_a_crowd(tmp_path):
    """Writers whose transactions together last longer than SQLite's own patience all come through."""
    store = Store(f"sqlite:///{tmp_path}/store.db")
    store.db.create()
    store.db.raw.execute_sql("PRAGMA busy_timeout = 200")
    failed = []

    def write(number):
        store.db.raw.execute_sql("PRAGMA busy_timeout = 200")
        try:
            for turn in range(4):
                with store.db.transaction():
                    store.people.set_flag(f"{number}", str(turn))
                    time.sleep(0.02)
        except Exception as error:
            failed.append(error)
        finally:
            store.db.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert {store.people.flag(str(number)) for number in range(16)} == {"3"}
    store.db.close()
