"""The digest of a snapshot covers every file, and a snapshot is what its name says."""

from __future__ import annotations

import os

import pytest

from orchestrator.errors import ExecutionError
from orchestrator.model import Host


def test_the_same_content_gives_the_same_snapshot(shelf):
    """Taking it twice gives one digest and one folder, with verify, undo, role and configuration in it."""
    first = shelf.take()
    assert shelf.take() == first
    assert first.path.name == first.digest
    names = {path.relative_to(first.path).as_posix() for path in first.path.rglob("*") if path.is_file()}
    assert names == {
        "ansible.cfg",
        "playbooks/mend/playbook.yml",
        "playbooks/mend/verify.yml",
        "playbooks/mend/undo.yml",
        "playbooks/mend/templates/unit.j2",
        "roles/service/tasks/main.yml",
    }
    assert [path.name for path in first.path.parent.iterdir()] == [first.digest]


@pytest.mark.parametrize(
    "name",
    [
        "playbooks/mend/playbook.yml",
        "playbooks/mend/verify.yml",
        "playbooks/mend/undo.yml",
        "playbooks/mend/templates/unit.j2",
        "roles/service/tasks/main.yml",
        "ansible.cfg",
    ],
)
def test_a_change_in_any_file_is_another_digest(shelf, name):
    """No file that a play could use is outside of what was approved."""
    before = shelf.take().digest
    with (shelf.root / name).open("a") as file:
        file.write(" ")
    assert shelf.take().digest != before


def test_names_and_modes_count_and_other_roles_do_not(shelf):
    """A renamed, added or executable file is another digest; a role that the entry does not use is none of it."""
    seen = {shelf.take().digest}
    (shelf.root / "roles" / "other" / "x").write_text("x")
    (shelf.folder / "__pycache__").mkdir()
    (shelf.folder / "__pycache__" / "x.pyc").write_text("x")
    assert shelf.take().digest in seen
    (shelf.folder / "undo.yml").rename(shelf.folder / "undo2.yml")
    seen.add(shelf.take().digest)
    (shelf.folder / "empty").touch()
    seen.add(shelf.take().digest)
    (shelf.folder / "empty").chmod(0o755)
    seen.add(shelf.take().digest)
    assert len(seen) == 4


def _change(path):
    path.chmod(0o600)
    path.write_text("evil\n")


@pytest.mark.parametrize(
    "tamper",
    [
        lambda path: _change(path / "playbooks/mend/verify.yml"),
        lambda path: (path / "playbooks/mend/undo.yml").unlink(),
        lambda path: (path / "playbooks/mend/library").mkdir() or (path / "playbooks/mend/library/ping.py").touch(),
        lambda path: (path / "roles/service/tasks/more.yml").symlink_to(path / "ansible.cfg"),
        lambda path: (path / "playbooks/mend/playbook.yml").chmod(0o700),
    ],
    ids=["changed", "removed", "added", "linked", "executable"],
)
def test_a_snapshot_that_was_tampered_with_is_refused(shelf, tamper):
    """Neither taken again nor run from."""
    request = shelf.request()
    tamper(shelf.take().path)
    with pytest.raises(ExecutionError):
        shelf.take()
    with pytest.raises(ExecutionError):
        shelf.executor.run(request, print, lambda: False)
    assert not (shelf.root / "data" / "runs").exists()


def test_links_lead_nowhere_else(shelf):
    """A link inside the folder is copied as its content; one that leads out, to a folder or to nothing is refused."""
    link = shelf.folder / "link.yml"
    link.symlink_to("playbook.yml")
    copied = shelf.take().path / "playbooks" / "mend" / "link.yml"
    assert not copied.is_symlink()
    assert copied.read_text() == "# playbook.yml\n"
    for target in ("/etc/passwd", "../../ansible.cfg", "templates", "nothing"):
        link.unlink()
        link.symlink_to(target)
        with pytest.raises(ExecutionError, match=r"link\.yml|nothing"):
            shelf.take()


def test_what_is_no_plain_file_or_missing_is_refused(shelf):
    """A pipe would block, a missing role would be found elsewhere, a role's link would leave the folder of roles."""
    os.mkfifo(shelf.folder / "pipe")
    with pytest.raises(ExecutionError, match="plain file"):
        shelf.take()
    (shelf.folder / "pipe").unlink()
    from dataclasses import replace

    for role in ("missing", "../playbooks/mend", "..", "a/b"):
        with pytest.raises(ExecutionError):
            shelf.executor.snapshot(replace(shelf.entry, roles=(role,)))
    (shelf.root / "roles" / "out").symlink_to("/etc")
    with pytest.raises(ExecutionError, match="leads outside"):
        shelf.executor.snapshot(replace(shelf.entry, roles=("out",)))


def test_the_digest_of_hosts_is_keyed_and_covers_their_variables(shelf):
    """Order does not matter; a name, a variable's value or another key does; the values cannot be read from it."""
    web, db = Host("web", variables={"a": [1, {"b": "x"}], "password": "p"}), Host("db", variables={})
    digest = shelf.executor.hosts_digest
    assert digest([web, db], b"k") == digest([db, Host("web", ("g",), {"password": "p", "a": (1, {"b": "x"})})], b"k")
    others = [
        digest([web], b"k"),
        digest([web, db], b"other"),
        digest([Host("web", variables={"a": [1, {"b": "y"}], "password": "p"}), db], b"k"),
        digest([Host("web2", variables=web.variables), db], b"k"),
    ]
    assert len({digest([web, db], b"k"), *others}) == 5
