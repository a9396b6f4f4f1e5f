"""Read-only plays only read, and no parameter becomes code."""

from __future__ import annotations

import pytest
import yaml

GOOD = {"name": "Look", "ansible.builtin.stat": {"path": "/x"}}


def task(**keys):
    return {"name": "Look", **keys}


def command(*argv, **keys):
    return task(**{"ansible.builtin.command": {"argv": list(argv)}, "changed_when": False, **keys})


READING = {
    "stat": GOOD,
    "a short module name": task(stat={"path": "/x"}),
    "an argv list": command("df", "-P", "{{ restart_service_name }}"),
    "an argv list below args": task(command="", args={"argv": ["df"]}) | {"command": {"argv": ["df"]}},
    "a manager asked for a state": command("systemctl", "is-active", "nginx"),
    "an argv list with a time limit": command("timeout", "10", "df", "-P"),
    "a list written as one template": task(command={"argv": "{{ ['timeout', '10'] + ctl + ['status'] }}"}),
    "a block": {"block": [GOOD], "rescue": [task(fail={"msg": "x"})]},
    "uri that gets": task(uri={"url": "http://localhost"}),
    "the lookup of a variable": task(debug={"msg": "{{ lookup('ansible.builtin.vars', 'x') }}"}),
    "become that is off": task(stat={"path": "/x"}, become=False),
    "check_mode: false": task(stat={"path": "/x"}, check_mode=False),
    "facts given back": task(set_stats={"data": {"x": 1}, "per_host": True}),
}

ACTING = {
    "a module that acts": task(service={"name": "x", "state": "restarted"}),
    "a module of a collection": task(**{"community.general.ufw": {}}),
    "shell": task(shell="true"),
    "a free-form command": task(command="df -P"),
    "a command with cmd": task(command={"cmd": "df"}),
    "a whole argv from a variable": task(command={"argv": "{{ words }}"}),
    "a program that changes": command("rm", "-rf", "/x"),
    "a program that changes behind a time limit": command("timeout", "-k", "1", "10s", "/bin/rm", "/x"),
    "a shell in argv": command("bash", "-c", "df"),
    "a manager told to restart": command("systemctl", "restart", "nginx"),
    "a manager in a variable told to restart": task(command={"argv": "{{ ctl + ['restart', 'x'] }}"}),
    "a list in a template told to restart": task(command={"argv": "{{ ['timeout', '9'] + ctl + ['restart'] }}"}),
    "delegate_to": task(stat={"path": "/x"}, delegate_to="localhost"),
    "local_action": task(local_action="stat path=/x"),
    "a connection of its own": task(stat={"path": "/x"}, connection="local"),
    "become": task(stat={"path": "/x"}, become=True),
    "become by a template": task(stat={"path": "/x"}, become="{{ x }}"),
    "become in a block": {"become": True, "block": [GOOD]},
    "delegate_to in a block": {"delegate_to": "localhost", "block": [GOOD]},
    "an acting task in a rescue": {"block": [GOOD], "rescue": [task(file={"path": "/x", "state": "absent"})]},
    "notify": task(stat={"path": "/x"}, notify="restart"),
    "the lookup pipe": task(debug={"msg": "{{ lookup('pipe', 'id') }}"}),
    "the lookup url": task(debug={"msg": "{{ query('ansible.builtin.url', 'http://x') }}"}),
    "the lookup file in a condition": task(stat={"path": "/x"}, when="lookup('file', '/etc/passwd') is search('x')"),
    "the lookup env by q": task(debug={"msg": "{{ q('env', 'HOME') }}"}),
    "a lookup named by a variable": task(debug={"msg": "{{ lookup(which, 'x') }}"}),
    "with_pipe": task(debug={"msg": "{{ item }}"}, with_pipe="id"),
    "with_env": task(debug={"msg": "{{ item }}"}, with_env="HOME"),
    "uri that posts": task(uri={"url": "http://x", "method": "POST"}),
    "uri that writes a file": task(uri={"url": "http://x", "dest": "/x"}),
    "a connection set by a fact": task(set_fact={"ansible_connection": "local"}),
    "a connection set by a variable": task(stat={"path": "/x"}, vars={"ansible_host": "other"}),
    "a fact that stays": task(set_fact={"x": 1, "cacheable": True}),
    "meta that acts": task(meta="refresh_inventory"),
    "defaults for modules": task(stat={"path": "/x"}, module_defaults={"stat": {"path": "/y"}}),
    "no module": task(),
}


def write_play(shop, tasks, name="verify.yml", **keys):
    shop.write(shop.entry / name, yaml.safe_dump([{"name": "Play", "hosts": "all", "tasks": tasks, **keys}]))


@pytest.mark.parametrize("case", READING)
def test_what_only_reads_may_verify(shop, case):
    """The allow-list lets through what a health check needs."""
    write_play(shop, [READING[case]])
    assert shop.problems() == ""


@pytest.mark.parametrize("case", ACTING)
def test_what_may_act_may_not_verify(shop, case):
    """A verify play needs no grant, so nothing that could change a host or leave it gets in."""
    write_play(shop, [ACTING[case]])
    assert "verify.yml: 0.tasks.0" in shop.problems()


@pytest.mark.parametrize("case", ACTING)
def test_what_may_act_may_not_hide_in_a_role(shop, case):
    """The tasks of roles count, those reached through includes and other roles too."""
    shop.write(shop.roles / "deep" / "tasks" / "more.yml", yaml.safe_dump([ACTING[case]]))
    shop.write(shop.roles / "deep" / "tasks" / "main.yml", "- ansible.builtin.include_tasks: '{{ which }}.yml'\n")
    shop.write(shop.roles / "outer" / "tasks" / "main.yml", "- ansible.builtin.include_role:\n    name: deep\n")
    write_play(shop, [], roles=["outer"])
    assert "deep/tasks/more.yml: 0" in shop.problems()


@pytest.mark.parametrize("case", ["a module that acts", "shell", "become", "the lookup pipe"])
def test_a_diagnostic_only_reads(shop, case):
    """A diagnostic runs before deciding, without approval."""
    shop.add("look", kind="diagnostic", verify=None, matchers=[])
    write_play(shop, [ACTING[case]], name="../look/playbook.yml")
    assert "look/playbook.yml" in shop.problems("look")


def test_only_what_starts_where_the_play_says_counts(shop):
    """A verify play may use the looking part of a role that also acts."""
    shop.write(shop.roles / "restart_service" / "tasks" / "health.yml", yaml.safe_dump([GOOD]))
    write_play(shop, [task(include_role={"name": "restart_service", "tasks_from": "health.yml"})])
    assert shop.problems() == ""
    write_play(shop, [task(include_role={"name": "restart_service"})])
    assert "the module 'service' is refused" in shop.problems()
    write_play(shop, [task(include_role={"name": "restart_service", "tasks_from": "gone"})])
    assert "no tasks/gone.yml" in shop.problems()


def test_a_role_that_a_role_depends_on_counts(shop):
    """Dependencies run first, so they have to read only as well."""
    shop.write(shop.roles / "looker" / "tasks" / "main.yml", yaml.safe_dump([GOOD]))
    shop.write(shop.roles / "looker" / "meta" / "main.yml", "dependencies: [{role: restart_service}]\n")
    write_play(shop, [], roles=["looker"])
    assert "restart_service/tasks/main.yml: 0" in shop.problems()


@pytest.mark.parametrize(
    "keys",
    [
        {"become": True},
        {"connection": "local"},
        {"vars": {"x": "{{ lookup('pipe', 'id') }}"}},
        {"vars": {"ansible_user": "root"}},
        {"vars_files": ["/etc/x.yml"]},
    ],
)
def test_a_play_cannot_say_for_all_what_no_task_may(shop, keys):
    """Keywords of the play count like those of its tasks."""
    write_play(shop, [GOOD], **keys)
    assert "verify.yml: 0" in shop.problems()


def test_lookups_in_a_role_s_variables_count(shop):
    """A default is a template as well, run where it is used."""
    shop.write(shop.roles / "looker" / "tasks" / "main.yml", yaml.safe_dump([GOOD]))
    shop.write(shop.roles / "looker" / "defaults" / "main.yml", "looker_x: \"{{ lookup('pipe', 'id') }}\"\n")
    write_play(shop, [], roles=["looker"])
    assert "the lookup 'pipe' is refused" in shop.problems()


@pytest.mark.parametrize("folder", ["library", "action_plugins", "module_utils", "filter_plugins"])
def test_plugins_of_its_own_are_refused_where_a_play_reads(shop, folder):
    """A module called `stat` beside the playbook would be run instead of Ansible's own."""
    shop.write(shop.entry / folder / "stat.py", "")
    assert folder in shop.problems()


def test_root_has_to_be_asked_for(shop):
    """With `read_as_root` the entry loads, and the digest that an admin admits says so."""
    write_play(shop, [task(stat={"path": "/x"}, become=True)])
    assert "read_as_root" in shop.problems()
    shop.change(lambda meta, spec: spec["catalogue"].update(read_as_root=True))
    assert shop.load().entries["restart_service"].read_as_root is True


INJECTIONS = {
    "shell": task(shell="echo {{ restart_service_name }}"),
    "shell under its full name": task(**{"ansible.builtin.shell": "echo {{ restart_service_name }}"}),
    "shell with cmd": task(shell={"cmd": "echo {{ restart_service_name }}"}),
    "shell below args": task(shell="true", args={"executable": "{{ restart_service_name }}"}),
    "shell by another variable's name": task(shell="echo {{ name_of_the_role_for_it }}"),
    "shell with a statement": task(shell="{% if restart_service_name %}true{% endif %}"),
    "raw": task(raw="echo {{ restart_service_name }}"),
    "script": task(script="x.sh {{ restart_service_name }}"),
    "a free-form command": task(command="echo {{ restart_service_name }}"),
    "a command with cmd": task(command={"cmd": "echo {{ restart_service_name }}"}),
    "the old form of a task": task(action="shell echo {{ restart_service_name }}"),
    "the old local form": task(local_action="command echo {{ restart_service_name }}"),
    "the old form as a mapping": task(action={"module": "shell", "cmd": "echo {{ restart_service_name }}"}),
    "the script of a shell in argv": task(command={"argv": ["sh", "-c", "echo {{ restart_service_name }}"]}),
    "the script of a shell behind a time limit": task(command={"argv": ["timeout", "9", "/bin/bash", "-lc", "{{ restart_service_name }}"]}),
    "the script of a shell in a template": task(command={"argv": "{{ ['sh', '-c', restart_service_name] }}"}),
    "argv that is one variable": task(command={"argv": "{{ restart_service_name }}"}),
    "inside a block": {"block": [GOOD], "always": [task(shell="{{ restart_service_name }}")]},
}


@pytest.mark.parametrize("case", INJECTIONS)
@pytest.mark.parametrize("place", ["playbook", "role", "handler"])
def test_no_parameter_becomes_code(shop, case, place):
    """Quoting does not help: a value in a shell's text is a program."""
    if place == "playbook":
        write_play(shop, [INJECTIONS[case]], name="playbook.yml")
    else:
        folder = "tasks" if place == "role" else "handlers"
        shop.write(shop.roles / "restart_service" / folder / "extra.yml", yaml.safe_dump([INJECTIONS[case]]))
    assert "argv" in shop.problems()


@pytest.mark.parametrize(
    "good",
    [
        task(shell="set -e; df | tail -1", changed_when=False),
        task(shell="df", args={"chdir": "{{ folder }}"}, changed_when=False),
        task(command="df -P", changed_when=False),
        command("systemctl", "restart", "{{ restart_service_name }}"),
        command("sh", "-c", 'kill -0 "$1"', "sh", "{{ restart_service_name }}"),
    ],
)
def test_a_value_as_one_argument_is_no_code(shop, good):
    """What cannot be split or run may hold a parameter in an acting play."""
    write_play(shop, [good], name="playbook.yml")
    assert shop.problems() == ""


def test_check_mode_false_only_on_what_reads(shop):
    """A check run must not change anything, in any play."""
    write_play(shop, [task(service={"name": "x", "state": "restarted"}, check_mode=False)], name="playbook.yml")
    assert "check_mode: false on service" in shop.problems()
