"""The catalogue on disk changes under a running program: every change is on record, and no broken entry stops the others."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from orchestrator.catalogue import CatalogueCache, Sketch, scaffold
from orchestrator.desk.catalogue_watch import CatalogueWatch
from orchestrator.store import Store


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Return the folders of a catalogue of two entries."""
    path, roles = tmp_path / "playbooks", tmp_path / "roles"
    path.mkdir()
    roles.mkdir()
    for name in ("start_one", "start_two"):
        scaffold(path, roles, Sketch(name))
    return path, roles


@pytest.fixture
def store(tmp_path: Path):
    """Return an empty database."""
    made = Store(f"sqlite:///{tmp_path / 'test.db'}")
    made.db.create()
    yield made
    made.db.close()


def watch(store: Store, places: tuple[Path, Path], cache: CatalogueCache | None = None) -> CatalogueWatch:
    return CatalogueWatch(store, cache or CatalogueCache(*places), places[1], "here", lambda event: store.chain.append("system", event))


def changes(store: Store) -> list[dict]:
    return [dict(event.data) for event in store.chain.events(incident="system") if event.kind == "catalogue.changed"]


def test_a_change_is_on_record_with_entry_digests_and_files(store, places):
    """Who reads the log sees which entry changed, from which digest to which, and in which files."""
    cache = CatalogueCache(*places)
    looking = watch(store, places, cache)
    looking.run()
    assert changes(store) == []
    before = cache.get().entries["start_one"].digest
    file = places[1] / "start_one/tasks/main.yml"
    file.write_text(file.read_text() + "\n")
    looking.run()
    looking.run()
    (told,) = changes(store)
    assert told["changed"] == [
        {
            "entry": "start_one",
            "before": before,
            "after": cache.get().entries["start_one"].digest,
            "files": ["roles/start_one/tasks/main.yml"],
        }
    ]
    assert "added" not in told


def test_a_broken_entry_is_told_and_leaves_the_others(store, places):
    """A slip of the pen takes one entry away, is on record with its reason, and so is its mending."""
    cache = CatalogueCache(*places)
    looking = watch(store, places, cache)
    looking.run()
    file = places[0] / "start_two/playbook.meta.yml"
    good = file.read_text()
    file.write_text(good.replace("risk: high", "risk: huge"))
    looking.run()
    assert list(cache.get().entries) == ["start_one"]
    file.write_text(good)
    looking.run()
    broken, mended = changes(store)
    assert [item["entry"] for item in broken["broken"]] == ["start_two"]
    assert "risk" in broken["broken"][0]["problem"]
    assert [item["entry"] for item in broken["removed"]] == ["start_two"]
    assert mended["mended"] == ["start_two"]
    assert [item["entry"] for item in mended["added"]] == ["start_two"]


def test_a_change_while_nothing_ran_is_on_record_at_the_next_start(store, places):
    """Stopping the program hides no change of what it will run."""
    watch(store, places).run()
    scaffold(*places, Sketch("start_three"))
    watch(store, places).run()
    (told,) = changes(store)
    assert [item["entry"] for item in told["added"]] == ["start_three"]


def test_a_new_commit_is_a_new_revision_though_no_file_changed(store, places):
    """The revision that decisions name is that of the checkout now, and a dirty one says so."""
    root = places[0].parent
    git = ["git", "-C", str(root), "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run([*git, "init", "-q"], check=True)
    cache = CatalogueCache(*places)
    looking = watch(store, places, cache)
    subprocess.run([*git, "add", "playbooks", "roles"], check=True)
    subprocess.run([*git, "commit", "-qm", "one"], check=True)
    looking.run()
    first = cache.get().revision
    assert len(first) == 40
    subprocess.run([*git, "commit", "-qm", "two", "--allow-empty"], check=True)
    looking.run()
    second = cache.get().revision
    assert second not in ("", first)
    assert changes(store) == [{"node": "here", "revision": [first, second]}]
    file = places[0] / "start_one/verify.yml"
    file.write_text(file.read_text() + "\n")
    assert cache.get().revision == f"{second}+"
