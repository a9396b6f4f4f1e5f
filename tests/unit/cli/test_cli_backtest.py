"""`eval record` and `eval compare --alerts`: recorded alerts, decided by two revisions of the catalogue."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from orchestrator.model import Alert, AlertStatus, Context, Incident, Rule, Status
from orchestrator.store import Store


@pytest.fixture
def checkout(call, tmp_path: Path) -> Path:
    """Return a git checkout with one entry, committed and tagged `before`."""
    for folder in ("playbooks", "roles"):
        (tmp_path / folder).mkdir()
    (tmp_path / "hosts.yml").write_text("all: {hosts: {web1: {}}}\n")
    (tmp_path / "orchestrator.toml").write_text('[inventory]\npaths = ["hosts.yml"]\n')
    assert call("catalogue", "new", "wake_service", "--alert", "ServiceDown").code == 0
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "playbooks", "roles")
    git(tmp_path, "commit", "-qm", "one")
    git(tmp_path, "tag", "before")
    return tmp_path


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"]
    subprocess.run(["git", "-C", str(folder), *who, *words], check=True)


def write_alerts(folder: Path, *names: str) -> None:
    rows = [
        {"fingerprint": f"{n:016x}", "labels": {"alertname": name, "instance": "web1:9100", "service": "nginx"}}
        for n, name in enumerate(names)
    ]
    (folder / "alerts.json").write_text(json.dumps(rows))


def test_a_revision_is_compared_with_the_working_tree(call, checkout: Path):
    """The alert that no longer has an entry is the one change; the checkout is not touched."""
    write_alerts(checkout, "ServiceDown", "DiskFull")
    same = call("eval", "compare", "before", ".", "--alerts", "alerts.json")
    assert (same.code, "No decision changes" in same.out) == (0, True)
    meta = checkout / "playbooks/wake_service/playbook.meta.yml"
    meta.write_text(meta.read_text().replace("ServiceDown", "ServiceAsleep"))
    changed = call("eval", "compare", "before", ".", "--alerts", "alerts.json", "--json")
    assert changed.code == 1
    assert [(item["alertname"], item["kind"], item["after"]["entry"]) for item in changed.json["items"]] == [
        ("ServiceDown", "lost", "none")
    ]
    shown = call("eval", "compare", "before", ".", "--alerts", "alerts.json", "--markdown").out
    assert shown.startswith("### Backtest: `before` → `.`")
    assert "2 recorded alerts: **1 decisions change**, 1 stay." in shown


@pytest.mark.parametrize("revision", ["nowhere", "--output=x", "before:playbooks"])
def test_what_is_no_revision_is_refused(call, checkout: Path, revision: str):
    """Neither a name that is not there nor an option passes for a revision."""
    write_alerts(checkout, "ServiceDown")
    said = call("eval", "compare", "--alerts", "alerts.json", "--", revision, ".")
    assert said.code == 2
    assert not (checkout / "x").exists()


def test_recorded_incidents_are_exported(call, checkout: Path):
    """Each set of labels comes once, with the rule that was known and the entry that was chosen; compare reads it."""
    assert call("eval", "record", "--out", "alerts.json").code == 0
    assert json.loads((checkout / "alerts.json").read_text()) == []
    store = Store(f"sqlite:///{checkout / 'var/orchestrator.db'}")
    rule = Rule("ServiceDown", "up == 0", {"severity": "critical"})
    alert = Alert(
        "0" * 16, AlertStatus.FIRING, {"alertname": "ServiceDown", "instance": "web1:9100", "service": "nginx"}, {"summary": "down"}
    )
    with store.db.transaction():
        for name in ("a", "b"):
            at = store.db.now()
            one = Incident(name, alert, status=Status.CLOSED, context=Context(rule=rule), created_at=at, updated_at=at)
            store.incidents.insert(one, store.db.now_ms())
    store.db.close()
    assert call("eval", "record", "--out", "alerts.json").code == 0
    (written,) = json.loads((checkout / "alerts.json").read_text())
    assert (written["labels"], written["rule"]["expr"], written["decided"]) == (dict(alert.labels), "up == 0", "none")
    assert call("eval", "compare", "before", ".", "--alerts", "alerts.json").code == 0
