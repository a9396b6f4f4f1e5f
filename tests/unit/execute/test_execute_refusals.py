"""What never reaches Ansible: patterns for hosts, foreign parameters, values that are not plain, paths from elsewhere."""

from __future__ import annotations

import enum
import json
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.errors import ExecutionError
from orchestrator.execute import folder
from orchestrator.execute.folder import Surroundings
from orchestrator.model import RunKind


class Word(enum.StrEnum):
    A = "a"


def refuse(shelf, **changes):
    """Expect a refusal, before anything is on disk."""
    request = shelf.request(**changes)
    with pytest.raises(ExecutionError):
        shelf.executor.run(request, print, lambda: False)
    assert not (shelf.root / "data" / "runs").exists()


@pytest.mark.parametrize(
    "hosts",
    [
        (),
        ("",),
        ("*",),
        ("all",),
        ("ungrouped",),
        ("web*",),
        ("[::1]:9100",),
        ("~web.*",),
        ("a,b",),
        ("a:b",),
        ("!web1",),
        ("&web1",),
        ("@/etc/passwd",),
        ("web1\n",),
        ("web1 ",),
        ("web[1:9]",),
        ("-vvv",),
        (".web1",),
        ("web1", "web1"),
        ("wéb",),
        (None,),
        ("web1\x00",),
        ("{{ x }}",),
    ],
)
def test_a_limit_is_literal_names_only(shelf, hosts):
    """Every word of Ansible's pattern language is refused, and so is nothing at all, which means everything."""
    refuse(shelf, hosts=hosts)


@pytest.mark.parametrize(
    "name", ["ansible_connection", "service_name", "mend", "mendx", "mend_Name", "mend_a b", "mend_a\n", "Mend_a", "mend_é", "", 7]
)
def test_only_the_entrys_own_parameters_pass(shelf, name):
    """A name that does not start with the entry's id could be Ansible's own, which runs code on this machine."""
    refuse(shelf, parameters={name: "x"})


DEEP = {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": {"a": 1}}}}}}}}}


@pytest.mark.parametrize(
    "value",
    [("a",), {"a"}, b"a", Word.A, float("nan"), float("inf"), "\ud800", {("a",): 1}, {"a": [Path("/")]}, DEEP],
    ids=range(10),
)
def test_only_plain_values_pass(shelf, value):
    """What YAML would write with a tag, or in a way of its own, is refused."""
    refuse(shelf, parameters={"mend_a": value})


@pytest.mark.parametrize("id", ["", "..", ".", "a/b", "../x", "a:..", "a:", ":a", "a+b", "a\n", "é"])
def test_an_id_is_no_path(shelf, id):
    """The id names a folder; nothing in it leads out of the folder of runs."""
    refuse(shelf, id=id)
    with pytest.raises(ExecutionError):
        shelf.executor.settle(id)


@pytest.mark.parametrize(
    "playbook", ["../mend/playbook.yml", "/etc/passwd", "nothing.yml", "templates/unit.j2", "-playbook.yml", "playbook.yml\n", ""]
)
def test_a_playbook_is_one_of_the_entrys_own(shelf, playbook):
    """Only a file name in the entry's folder of the snapshot."""
    refuse(shelf, playbook=playbook)


def test_a_snapshot_is_one_of_ours(shelf):
    """A play runs from no other folder, not even from a copy of a snapshot."""
    path = shelf.take().path
    for other in (str(shelf.root), f"{path}/../{path.name}", f"{path}/", "", str(path.with_name("0" * 64))):
        if Path(other) == path:
            continue
        refuse(shelf, snapshot=other)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan"), float("inf")])
def test_every_play_has_a_time_out(shelf, timeout_s):
    """None, or one that never comes, is refused."""
    refuse(shelf, timeout_s=timeout_s)


def test_inventory_and_key_files_exist(shelf):
    """None is refused, as is a missing path and one that Ansible would take for a list of hosts."""
    request = shelf.request()
    there = shelf.root / "inventory"
    (shelf.root / "a,b").touch()
    for wrong in (
        Surroundings(()),
        Surroundings((there, shelf.root / "none")),
        Surroundings((shelf.root / "a,b",)),
        Surroundings((there,), vault_password_file="/none"),
        Surroundings((there,), ssh_key_file="/none"),
    ):
        with pytest.raises(ExecutionError):
            folder.check(request, shelf.root / "data" / "snapshots", wrong)
    folder.check(request, shelf.root / "data" / "snapshots", Surroundings((there,)))


def test_a_filled_folder_says_what_runs(shelf):
    """Check mode, limit and the tag that keeps parameters from being templates are in the files that Ansible reads."""
    kinds = {
        RunKind.CHECK: "--check --diff",
        RunKind.APPLY: "--diff",
        RunKind.UNDO: "--diff",
        RunKind.VERIFY: "",
        RunKind.CONTEXT: "",
        RunKind.DIAGNOSE: "",
    }
    for kind, switches in kinds.items():
        place = shelf.root / kind
        place.mkdir()
        request = replace(shelf.request(hosts=("web1", "web2")), kind=kind, parameters={"mend_a": "{{ 1 }}"})
        folder.fill(place, request, Surroundings((shelf.root / "inventory",)))
        asked = json.loads((place / "request.json").read_text())
        assert (asked["cmdline"], asked["limit"]) == (switches, "web1,web2")
        assert (place / "env" / "extravars").read_text().startswith("--- !unsafe\n")
        assert (place / "env" / "extravars").stat().st_mode & 0o777 == 0o600


def test_the_environment_is_ours_alone(shelf, monkeypatch):
    """Of our own environment only the path and the home go in."""
    monkeypatch.setenv("MISTRAL_API_KEY", "secret")
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", "/evil")
    found = folder.environment(shelf.root / "x", shelf.request(), Surroundings((shelf.root,), "/vault", "/key"))
    assert {name for name in found if not name.startswith("ANSIBLE_")} == {"PATH", "HOME", "LANG", "TMPDIR", "ORCHESTRATOR_RUN"}
    assert "ANSIBLE_CALLBACK_PLUGINS" not in found
    assert found["ANSIBLE_CONFIG"].startswith(str(shelf.root / "data" / "snapshots"))
    assert (found["ANSIBLE_VAULT_PASSWORD_FILE"], found["ANSIBLE_PRIVATE_KEY_FILE"]) == ("/vault", "/key")


def test_temporary_files_stay_in_the_runs_folder(shelf):
    """What a killed play leaves behind goes with its folder; on other machines Ansible's own place holds."""
    for local in (True, False):
        found = folder.environment(shelf.root / "x", shelf.request(), Surroundings((shelf.root,), is_local=lambda _, local=local: local))
        inside = str(shelf.root / "x" / "tmp")
        assert (found["TMPDIR"], found["ANSIBLE_LOCAL_TEMP"]) == (inside, inside)
        assert found.get("ANSIBLE_REMOTE_TMP") == (inside if local else None)


def test_a_control_path_that_somebody_else_may_enter_is_refused(shelf, monkeypatch):
    """Who can write there could take our connections over."""
    monkeypatch.setattr("tempfile.tempdir", str(shelf.root))
    folder.make_control_path(shelf.root / "run")
    assert folder.control_path(shelf.root / "run").stat().st_mode & 0o777 == 0o700
    folder.control_path(shelf.root / "run").parent.chmod(0o755)
    with pytest.raises(ExecutionError, match="not private"):
        folder.make_control_path(shelf.root / "run")
