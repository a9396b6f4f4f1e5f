"""The catalogue follows the disk."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from orchestrator.catalogue import CatalogueCache, load
from orchestrator.errors import CatalogueError


def test_nothing_is_read_again_while_nothing_changes(shop):
    """The same object comes back, so that asking costs next to nothing."""
    cache = CatalogueCache(shop.path, shop.roles)
    assert cache.get() is cache.get()


def test_an_entry_dropped_in_is_found_and_one_taken_out_is_gone(shop):
    """No restart is needed."""
    cache = CatalogueCache(shop.path, shop.roles)
    cache.get()
    shop.add("zeta", matchers=[["alertname=Other"]])
    assert list(cache.get().entries) == ["restart_service", "zeta"]
    shutil.rmtree(shop.entry)
    assert list(cache.get().entries) == ["zeta"]


def test_a_change_of_the_same_length_is_found(shop):
    """A digest that an admin admitted must not stand for another content."""
    cache = CatalogueCache(shop.path, shop.roles)
    before = cache.get().entries["restart_service"].digest
    file = shop.roles / "restart_service" / "tasks" / "main.yml"
    text = file.read_text(encoding="utf-8").replace("restarted", "reloaded!")
    written = file.stat().st_mtime_ns
    while file.stat().st_mtime_ns == written:  # the file system's clock ticks every few milliseconds
        file.write_text(text, encoding="utf-8")
    assert cache.get().entries["restart_service"].digest != before


def test_a_catalogue_that_is_gone_is_an_error(shop):
    """An empty catalogue would look like health."""
    cache = CatalogueCache(shop.path, shop.roles)
    cache.get()
    shutil.rmtree(shop.path)
    with pytest.raises(CatalogueError):
        cache.get()


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def test_the_revision_is_git_s_and_says_when_it_is_dirty(shop):
    """What ran can be found again in the history, or is known to be nowhere in it."""
    root = shop.path.parent
    assert shop.load().revision == ""
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "catalogue: begin")
    head = git(root, "rev-parse", "HEAD")
    assert shop.load().revision == head
    shop.write(shop.entry / "new.yml", "x: 1")
    assert shop.load().revision == f"{head}+"


def test_the_shipped_catalogue_loads(repository):
    """What comes with the program is never broken."""
    catalogue = load(repository / "playbooks", repository / "roles")
    assert catalogue.broken == ()


def test_a_look_holds_for_a_moment(shop):
    """Where many ask, the files are looked at now and then, and a change is found at the next look."""
    now = [0.0]
    cache = CatalogueCache(shop.path, shop.roles, fresh_s=0.5, clock=lambda: now[0])
    first = cache.get()
    (shop.path / "dropped_in").mkdir()
    now[0] = 0.4
    assert cache.get() is first
    now[0] = 0.6
    assert cache.get() is not first
