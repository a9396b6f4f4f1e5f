"""Real plays on local hosts: what comes back from them, and what cannot get into them."""

from __future__ import annotations

import pytest

from orchestrator.errors import ExecutionError
from orchestrator.execute import Executor
from orchestrator.model import Outcome, RunKind, RunState

SECRET = "s3cr3t-canary-value"


def test_a_good_play_is_done_and_successful(site):
    """A play that ends well is done, with its counts, its facts, its times and its stream; its folder is private and goes when settled."""
    run = site.run(
        """
- name: Say what was found
  ansible.builtin.set_stats:
    data: {found: [1, "two"], token: "is s3cr3t-canary-value"}
    per_host: true
- name: Change something
  ansible.builtin.copy: {content: "new\\n", dest: "{{ playbook_dir | dirname | dirname | dirname | dirname }}/file-{{ inventory_hostname }}", mode: "0600"}
""",
        hosts=("web1", "web2"),
    )
    assert (run.state, run.outcome, run.message, run.rc, run.node) == (RunState.DONE, Outcome.SUCCESSFUL, "", 0, "here")
    assert {host: (stats.ok, stats.changed) for host, stats in run.hosts.items()} == {"web1": (2, 1), "web2": (2, 1)}
    assert run.facts["web1"] == {"found": [1, "two"], "token": "is [redacted]"}
    assert "+new" in run.diffs[0].diff
    assert run.started_at
    assert run.ended_at
    assert run.started_at < run.ended_at
    assert [event.seq for event in site.events] == list(range(1, len(site.events) + 1))
    assert {"play", "task", "ok", "changed", "stats"} <= {event.kind for event in site.events}
    folder = site.folders / "inc1+1+apply+1"
    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "events.jsonl").stat().st_mode & 0o077 == 0
    site.executor.settle(run.id)
    assert not folder.exists()


def test_a_check_changes_nothing_and_shows_the_diff(site):
    """A check run leaves the host alone and gives back what would change, as a diff or in words; `diff: false` and `no_log` are kept."""
    (site.root / "motd").write_text("old\n")
    run = site.run(
        f"""
- name: Write the message
  ansible.builtin.copy: {{content: "new {SECRET}\\n", dest: "{site.root}/motd", mode: "0644"}}
- name: Write a key
  ansible.builtin.copy: {{content: "hidden-one\\n", dest: "{site.root}/key", mode: "0600"}}
  diff: false
- name: Write a password
  ansible.builtin.copy: {{content: "hidden-two\\n", dest: "{site.root}/password", mode: "0600"}}
  no_log: true
""",
        kind=RunKind.CHECK,
        id="inc1:1:check:1",
    )
    assert run.outcome is Outcome.SUCCESSFUL
    assert (site.root / "motd").read_text() == "old\n"
    assert "-old" in run.diffs[0].diff
    assert "+new [redacted]" in run.diffs[0].diff
    assert [diff.diff for diff in run.diffs[1:]] == ["would change", "would change, hidden by no_log"]
    assert "hidden-" not in repr(run)


def test_a_failure_tells_its_task_and_its_words_without_secrets(site):
    """A failed play carries the first failure's task and message, redacted, in one paragraph; the stream is redacted too."""
    run = site.run(
        f"""
- name: Ignored
  ansible.builtin.command: {{argv: ["false"]}}
  ignore_errors: true
- name: Preflight
  ansible.builtin.assert:
    that: [false]
    fail_msg: "already healthy,\\n  key {SECRET}"
"""
    )
    assert (run.state, run.outcome) == (RunState.DONE, Outcome.FAILED)
    assert run.message == "Preflight (web1): already healthy, key [redacted]"
    assert run.hosts["web1"].failures == 1
    assert any("already healthy" in event.text for event in site.events)
    assert SECRET not in repr(site.events)


def test_a_host_that_does_not_answer_is_unreachable(site, free_port):
    """No ssh server on the port: the outcome is unreachable, not failed."""
    (site.root / "inventory.yml").write_text(f"all: {{hosts: {{web1: {{ansible_host: 127.0.0.1, ansible_port: {free_port}}}}}}}\n")
    run = site.run("- name: Ping\n  ansible.builtin.ping:")
    assert (run.state, run.outcome) == (RunState.DONE, Outcome.UNREACHABLE)
    assert run.hosts["web1"].unreachable == 1
    assert "Ping (web1)" in run.message


def test_a_play_that_leaves_an_asked_host_out_is_a_failure(site):
    """Ansible ends well where no host matches; for us a repair that did nothing is no success."""
    run = site.run("- name: Ping\n  ansible.builtin.ping:", play_hosts="nobody")
    assert run.outcome is Outcome.FAILED
    assert "did nothing on web1" in run.message


def test_a_play_on_more_hosts_than_asked_is_a_loud_failure(site):
    """A group's name that got past every check is seen in the counts: nobody calls the run known, and it says which hosts."""
    run = site.run("- name: Ping\n  ansible.builtin.ping:", hosts=("webs",))
    assert run.outcome is Outcome.UNKNOWN
    assert "NOBODY ASKED FOR: web1, web2" in run.message


def test_a_playbook_that_does_not_parse_fails_with_ansibles_words(site):
    """Nothing began, so nothing is unknown."""
    run = site.run("- name: Wrong\n  ansible.builtin.no_such_module: {}")
    assert (run.state, run.outcome) == (RunState.DONE, Outcome.FAILED)
    assert "no_such_module" in run.message


def test_no_parameter_is_a_template(site):
    """Whatever a value holds, it arrives as it is: no lookup, no filter, no new line of YAML is executed on the way."""
    canary = site.root / "canary"
    touch = f"touch {canary}"
    hostile = {
        "try_it_pipe": "{{ lookup('pipe', '" + touch + "') }}",
        "try_it_block": "{% for x in [1] %}{{ lookup('ansible.builtin.pipe', '" + touch + "') }}{% endfor %}",
        "try_it_raw": "{% raw %}x{% endraw %}{{ query('pipe', '" + touch + "') }}",
        "try_it_lines": "a\n--- !unsafe\nansible_connection: ssh\n\tb: {{ lookup('pipe', '" + touch + "') }}",
        "try_it_tag": "{\"__ansible_unsafe\": \"{{ lookup('pipe', '" + touch + "') }}\"}",
        "try_it_list": ["{{ lookup('pipe', '" + touch + "') }}", 7, True, None, 1.5],
        "try_it_nested": {"{{ lookup('pipe', '" + touch + "') }}": {"a": "{{ lookup('pipe', '" + touch + "') }}"}},
        "try_it_shell": f"$({touch}) `{touch}` ; {touch}",
        "try_it_nul": "a\x00b\x85\u2028é",
    }
    names = ", ".join(f"{name[7:]}: '{{{{ {name} }}}}'" for name in hostile)
    run = site.run(
        f"""
- name: Use each
  ansible.builtin.set_stats: {{data: {{{names}}}, per_host: true}}
- name: Show each
  ansible.builtin.debug: {{msg: ["{{{{ try_it_pipe }}}}", "{{{{ try_it_list }}}}", "{{{{ try_it_nested }}}}"]}}
- name: Pass each
  ansible.builtin.command: {{argv: [printf, "%s", "{{{{ try_it_pipe }}}}", "{{{{ try_it_shell }}}}", "{{{{ try_it_block }}}}", "{{{{ try_it_lines }}}}"]}}
""",
        parameters=hostile,
    )
    assert run.outcome is Outcome.SUCCESSFUL, run.message
    assert run.facts["web1"] == {name[7:]: value for name, value in hostile.items()}
    assert not canary.exists()


def test_our_environment_does_not_reach_the_play(site, monkeypatch):
    """A secret in our environment, or a setting of Ansible there, is neither seen by the play nor written to its folder."""
    monkeypatch.setenv("MISTRAL_API_KEY", SECRET)
    monkeypatch.setenv("ANSIBLE_HOST_KEY_CHECKING", "False")
    run = site.run(
        """
- name: Look
  ansible.builtin.set_stats:
    data:
      key: "{{ lookup('env', 'MISTRAL_API_KEY') }}"
      checking: "{{ lookup('config', 'HOST_KEY_CHECKING') }}"
      id: "{{ lookup('env', 'ORCHESTRATOR_RUN') }}"
    per_host: true
"""
    )
    assert run.facts["web1"] == {"key": "", "checking": True, "id": "inc1:1:apply:1"}
    assert not [path for path in (site.folders / "inc1+1+apply+1").rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def test_a_play_that_was_begun_is_never_begun_again(site):
    """The same id runs once, however often it is asked for; a read-only play may be repeated after its end."""
    tasks = (
        f"- name: Count\n  ansible.builtin.lineinfile: {{path: {site.root}/count, line: 'x', create: true, insertafter: EOF, mode: '0600'}}"
    )
    request = site.request(tasks)
    assert site.executor.run(request, site.events.append, lambda: False).outcome is Outcome.SUCCESSFUL
    with pytest.raises(ExecutionError, match="begun before"):
        site.executor.run(request, site.events.append, lambda: False)
    again = site.executor.recover(request, site.events.append, lambda: False)
    assert again.outcome is Outcome.SUCCESSFUL
    assert again.hosts["web1"].changed == 1
    half = len(site.events) // 2
    assert site.events[:half] == site.events[half:]


def test_an_inventory_that_does_not_exist_is_refused(site):
    """ansible-runner would invent an inventory with a host that is named like the path."""
    request = site.request("- name: Ping\n  ansible.builtin.ping:")
    other = Executor(data_dir=site.root / "data", inventory_paths=(site.root / "none",), roles=site.root, node="here", redact=str)
    with pytest.raises(ExecutionError, match="does not exist"):
        other.run(request, site.events.append, lambda: False)
    assert not site.folders.exists()
