"""A play test finds what is wrong with an entry; each kind of fault is built in once."""

from __future__ import annotations

import pytest

from orchestrator.errors import CatalogueError

TOUCH = {"name": "Touch", "ansible.builtin.file": {"path": "{{ throwaway_folder }}/state", "state": "touch"}}
FAIL = {"name": "Refuse", "ansible.builtin.assert": {"that": False, "fail_msg": "not on this host"}}
WRITE = {"name": "Write", "ansible.builtin.copy": {"content": "on\n", "dest": "{{ throwaway_folder }}/state"}}


def wrong(trial):
    """Return the steps that went wrong, by name."""
    return {step.name: step for step in trial.steps if not step.ok}


def test_an_entry_that_does_what_it_says_passes_every_step(carried_out):
    """Broken, checked, repaired, run again, undone: all steps, in this order."""
    trial = carried_out()
    assert wrong(trial) == {}
    names = ["prepare", "verify before", "check", "apply", "verify after", "again", "undo", "restored"]
    assert [step.name for step in trial.steps] == names


FAULTS = {
    "a second run changes something": ({"playbook": [WRITE, TOUCH]}, {}, "again"),
    "check mode acts": ({"playbook": [{**WRITE, "check_mode": False}]}, {}, "check"),
    "check mode predicts nothing": (
        {"playbook": [{"name": "Write", "ansible.builtin.shell": "echo on > {{ throwaway_folder }}/state", "changed_when": True}]},
        {},
        "check",
    ),
    "verification holds though it is broken": (
        {"verify": [{"name": "Say yes", "ansible.builtin.debug": {"msg": "yes"}}]},
        {},
        "verify before",
    ),
    "verification changes something": (
        {"verify": [{"name": "Note", "ansible.builtin.copy": {"content": "", "dest": "{{ throwaway_folder }}/note"}}, FAIL]},
        {},
        "verify before",
    ),
    "it changes nothing": (
        {"playbook": [{"name": "Say", "ansible.builtin.debug": {"msg": "done"}}]},
        {"expect": {"check": "skip"}},
        "apply",
    ),
    "it does not help": (
        {"playbook": [{**WRITE, "ansible.builtin.copy": {"content": "no\n", "dest": "{{ throwaway_folder }}/state"}}]},
        {},
        "verify after",
    ),
    "undo does not restore": ({"undo": [TOUCH]}, {}, "restored"),
    "undo changes nothing": ({"undo": [WRITE]}, {}, "undo"),
    "it does not refuse": ({}, {"expect": {"apply": "refuses", "check": "skip"}}, "apply"),
    "it refuses too late": ({"playbook": [WRITE, FAIL]}, {"expect": {"apply": "refuses", "check": "skip"}}, "apply"),
    "it refuses for another reason": ({"playbook": [FAIL]}, {"expect": {"apply": "refuses", "says": "disk is full"}}, "check"),
    "the test itself cannot prepare": ({}, {"prepare": [FAIL]}, "prepare"),
    "an assertion on the repaired host": ({}, {"applied": [FAIL]}, "applied"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_in_its_step(carried_out, fault):
    """An entry with one fault fails exactly the step that is there to find it, and no later step is taken."""
    plays, test, step = FAULTS[fault]
    trial = carried_out(plays, **test)
    assert list(wrong(trial)) == [step]
    assert trial.steps[-1].name == step


def test_a_failure_names_file_task_host_and_words(carried_out):
    """Whoever reads a failure knows where to look."""
    step = wrong(carried_out({"playbook": [FAIL]}))["check"]
    assert "switch_on/playbook.yml: Refuse (web1): not on this host" in step.detail


def test_a_refusal_in_preflight_is_what_was_expected(carried_out):
    """A play that refuses before it changed anything passes a test that expects it; nothing is verified or undone."""
    trial = carried_out({"playbook": [FAIL]}, expect={"apply": "refuses", "says": "not on this host"})
    assert wrong(trial) == {}
    assert [step.name for step in trial.steps] == ["prepare", "check", "apply"]


def test_what_a_machine_lacks_is_said(carried_out):
    """A package that is not installed skips the test, by name."""
    assert carried_out(packages=["no-such-package-here"]).skipped == "needs no-such-package-here (Debian package)"


def test_cleanup_runs_though_the_test_failed(carried_out, tmp_path):
    """What a test made outside its host it takes away, however it ended."""
    mark = tmp_path / "cleaned"
    clean = [{"name": "Clean", "ansible.builtin.copy": {"content": "", "dest": str(mark)}}]
    assert list(wrong(carried_out({"playbook": [FAIL]}, cleanup=clean))) == ["check"]
    assert mark.exists()


REFUSED = {
    "an unknown key": ({"hots": {}}, "hots"),
    "a parameter the entry does not have": ({"parameters": {"switch_on_pace": 1}}, "parameters.switch_on_pace"),
    "an expectation of the other kind": ({"expect": {"apply": "holds"}}, "expect"),
    "a host that is not there": ({"limit": ["web9"]}, ""),
    "several hosts of a plain user": ({"hosts": {"a": {}, "b": {}}}, ""),
    "no sentence about it": ({"about": ""}, "about"),
    "a task with two modules": ({"prepare": [{"debug": {}, "copy": {}}]}, "prepare.0"),
    "a file that is not there": ({"prepare": "tasks/none.yml"}, ""),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_file_that_is_no_play_test_is_refused(carried_out, case):
    """What is wrong in the file is named before any host is made."""
    test, field = REFUSED[case]
    with pytest.raises(CatalogueError) as refused:
        carried_out(**test)
    assert refused.value.field == field
