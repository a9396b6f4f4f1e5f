"""What must hold after whatever was done to the servers, and the figures of it."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from durability.harness import PATIENCE_S, Serve
from durability.rows import Rows
from services import until

from orchestrator.execute.folder import control_path

REPORTS = Path(__file__).resolve().parents[2] / "build" / "durability"


def wait_all_ended(server: Serve) -> list[tuple[Any, ...]]:
    """Wait until no incident can go on by itself; return (id, status, reason) of all.

    Where incidents wait for the host of an unknown run (killed between the commit of its begin and its start), it is settled as a person would.
    """

    def ended() -> list[tuple[Any, ...]]:
        if server.rows("SELECT id FROM incident WHERE status = 'executing' AND blocked_by LIKE 'host:h_'"):
            settle_unknown(server)
        found = server.rows("SELECT id, status, reason FROM incident")
        return found if all(status in ("resolved", "escalated") for _, status, _ in found) else []

    return until(ended, within_s=2 * PATIENCE_S, every_s=0.2, what=f"all incidents have ended, log: {server.log}")


def settle_unknown(server: Serve) -> None:
    """Say of every unknown run what the ledger says of it, as a person would who has looked."""
    ended = {run for run, _, what in server.world.ledger.lines() if what == "end"}
    for (run,) in server.rows("SELECT id FROM run WHERE kind = 'apply' AND state = 'unknown'"):
        body = {"outcome": "done" if run in ended else "not-done", "reason": "so says the ledger"}
        if server.post(f"/api/v1/runs/{run}/settle", body).ok:
            server.world.settled.add(run)


def wait_tidy(server: Serve) -> None:
    """Wait until nothing is left on disk but the folders of runs that are not settled."""
    unsettled = {row[0].replace(":", "+") for row in server.rows("SELECT id FROM run WHERE state != 'done'")}
    until(
        lambda: not leftovers(server, unsettled),
        within_s=2 * PATIENCE_S,
        every_s=0.5,
        what=f"nothing is left of runs, log: {server.log}",
    )


def leftovers(server: Serve, unsettled: set[str]) -> list[str]:
    """Return what is left of runs: in the data folder, in the temporary folder and at home, but for unsettled runs (folder names)."""
    runs, temp = server.data_dir / "runs", server.world.temp
    sockets = {control_path(runs / name).name for name in unsettled}
    left = {path for path in runs.glob("*") if path.name not in unsettled}
    left |= {path for path in temp.glob("orchestrator-*/*") if path.name not in sockets}
    left |= {path for path in temp.iterdir() if not path.name.startswith("orchestrator-")}
    left |= set((server.world.home / ".ansible" / "tmp").glob("*"))
    return sorted(map(str, left))


def check_everything(server: Serve) -> dict[str, Any]:
    """Assert what must hold whatever happened, and return counts for a report."""
    world, rows = server.world, server.rows
    ends = {row[0]: row[1:] for row in rows("SELECT id, status, reason, data FROM incident")}
    lost = [item for item, incident in world.acknowledged.items() if incident not in ends]
    assert not lost, f"acknowledged and lost: {lost}"
    assert all(status == "resolved" or (status == "escalated" and reason) for status, reason, _ in ends.values()), ends
    assert world.ledger.twice() == []
    assert world.ledger.at_once(world.monitoring.hosts) == []
    runs = {row[0]: row[1:] for row in rows("SELECT id, incident, state FROM run WHERE kind = 'apply'")}
    on_record = {
        kind: {json.loads(data)["run"] for (data,) in rows("SELECT data FROM audit WHERE kind = ?", kind)}
        for kind in ("run.intent", "run.started")
    }
    for run, _, _ in world.ledger.lines():
        assert run in runs, f"{run} ran without a row"
        assert run in on_record["run.intent"], f"{run} ran without an intent on record"
        assert run in on_record["run.started"], f"{run} ran without a start on record"
        assert json.loads(ends[runs[run][0]][2])["grant"], f"{run} ran without a grant"
    unknown = {incident for incident, state in runs.values() if state == "unknown"}
    held = {row[0] for row in rows("SELECT incident FROM slot")}
    assert held == unknown, "exactly the hosts of unknown runs stay locked"
    resolved = sum(status == "resolved" for status, _, _ in ends.values())
    return {
        "acknowledged": len(world.acknowledged),
        "found": len(set(world.acknowledged.values()) & set(ends)),
        "resolved": resolved,
        "with a person": len(ends) - resolved,
        "reasons": dict(Counter(reason for status, reason, _ in ends.values() if status != "resolved")),
        "runs begun": len({run for run, _, what in world.ledger.lines() if what == "begin"}),
        "runs ended": len({run for run, _, what in world.ledger.lines() if what == "end"}),
        "runs unknown": len({run for run, (_, state) in runs.items() if state == "unknown"} | world.settled),
    }


class Takeovers:
    """Measures how long the incidents of a killed worker stay with the dead.

    Use it as a context manager; call `note` right after the kill.
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._dead: dict[str, tuple[str, float]] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.times_s: list[float] = []

    def note(self, owners: Mapping[str, str] | None = None) -> int:
        """Take down who holds what now; return how many incidents those are."""
        held = dict(self._rows("SELECT id, owner FROM incident WHERE owner != ''")) if owners is None else owners
        with self._lock:
            self._dead = {incident: (owner, time.monotonic()) for incident, owner in held.items()}
            return len(self._dead)

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            with self._lock:
                if self._dead:
                    self._look()

    def _look(self) -> None:
        owners = dict(self._rows("SELECT id, owner FROM incident"))
        for incident, (dead, since) in list(self._dead.items()):
            if owners.get(incident) != dead:
                self.times_s.append(time.monotonic() - since)
                del self._dead[incident]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(60)

    def summary(self) -> dict[str, Any]:
        """Return figures for a report."""
        times = self.times_s
        return {
            "takeovers": len(times),
            "takeover median s": round(statistics.median(times), 1) if times else None,
            "takeover longest s": round(max(times), 1) if times else None,
        }


def report(name: str, figures: Mapping[str, Any], show: Callable[[], Any]) -> Path:
    """Print figures and write them to a file; `show` is pytest's `capsys.disabled`."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    path = REPORTS / f"{name}.json"
    path.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    with show():
        print(f"\n{name}: {json.dumps(figures)}")
    return path
