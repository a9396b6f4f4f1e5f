"""The door of the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from orchestrator.cli.main import COMMANDS, exit_code
from orchestrator.cli.reference import commands
from orchestrator.errors import Conflict, NotAuthenticated, NotFound, ServerUnreachable, SettingsError, UsageError

FIXED = {
    "init": [],
    "serve": [],
    "web": [],
    "worker": [],
    "demo": [],
    "doctor": [],
    "alert": ["send", "receiver"],
    "incident": ["list", "show", "explain", "cancel", "close", "retry", "take", "note"],
    "approval": ["list", "show", "approve", "reject", "choose", "escalate", "snooze"],
    "grant": ["create", "list", "show", "confirm", "revoke"],
    "run": ["list", "show", "tail", "cancel", "undo", "settle", "start"],
    "catalogue": ["list", "show", "new", "lint", "test", "docs", "schema", "admit", "coverage"],
    "decide": [],
    "policy": ["test"],
    "autonomy": ["list", "accept", "decline", "demote"],
    "eval": ["run", "compare", "record"],
    "audit": ["verify", "export", "redact", "prune"],
    "pause": [],
    "resume": [],
    "user": ["add", "list", "passwd"],
    "token": ["create", "list", "revoke"],
    "db": ["upgrade", "backup", "restore", "move"],
}


def test_every_fixed_name_is_there():
    """The nouns and verbs that other programs use exist under exactly these names."""
    found = {path for path, _, _ in commands()}
    wanted = set(FIXED) | {f"{noun} {verb}" for noun, verbs in FIXED.items() for verb in verbs}
    assert wanted <= found
    assert set(COMMANDS) == set(FIXED)


@pytest.mark.parametrize(("path", "command"), [(path, command) for path, command, _ in commands()])
def test_every_command_has_help_and_the_shared_options(path: str, command: click.Command):
    """Each command says what it does, what each option means, and takes --json and --config."""
    assert command.help, path
    names = {parameter.name for parameter in command.params}
    assert {"json", "config"} <= names
    assert all(option.help for option in command.params if isinstance(option, click.Option)), path


def test_help_names_every_noun(call):
    """The first page lists every command and the exit codes."""
    said = call("--help")
    assert said.code == 0
    assert all(name in said.out for name in COMMANDS)
    assert "Exit codes" in said.out


def test_help_imports_nothing_heavy():
    """Help is quick, because no library but click is imported for it."""
    code = (
        "import sys\nfrom orchestrator.cli.main import run\nrun(['--help'])\n"
        "heavy = {'pydantic', 'requests', 'rich', 'flask', 'peewee', 'langchain', 'huey', 'yaml'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_module_is_runnable():
    """`python -m orchestrator.cli` is the same program."""
    done = subprocess.run([sys.executable, "-m", "orchestrator.cli", "--version"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert "orchestrator" in done.stdout


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NotFound("x"), 1),
        (Conflict("x"), 1),
        (UsageError("x"), 2),
        (SettingsError(["x"]), 2),
        (NotAuthenticated("x"), 2),
        (ServerUnreachable("x"), 3),
    ],
)
def test_exit_codes(error, code):
    """Not so is 1, usage and settings are 2, an unreachable server is 3."""
    assert exit_code(error) == code


@pytest.mark.parametrize(
    "arguments", [("nonsense",), ("incident", "nonsense"), ("incident", "list", "--nonsense"), ("approval", "reject", "x")]
)
def test_wrong_usage_is_2_with_a_mend(call, arguments):
    """A misspelt command or a missing option ends with 2 and one line that says where help is."""
    said = call(*arguments)
    assert said.code == 2
    assert said.err.startswith("error: ")
    assert said.err.count("\n") == 1
    assert "Mend: see `orchestrator" in said.err


def test_named_settings_file_must_exist(call):
    """A file that was named and is not there is an error of settings, not a silent default."""
    said = call("--config", "absent.toml", "catalogue", "lint")
    assert said.code == 2
    assert "absent.toml" in said.err
    assert "Mend:" in said.err


def test_settings_problems_come_together_one_a_line(call, tmp_path: Path):
    """Every problem of the settings is told at once, each as one line."""
    (tmp_path / "orchestrator.toml").write_text("nonsense = 1\n[server]\nport = 99999\n")
    said = call("doctor")
    assert said.code == 2
    lines = said.err.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("error: ") and "Mend:" in line for line in lines)


def test_errors_are_json_with_json(call):
    """With --json an error is one object on standard error, and standard output stays empty."""
    said = call("doctor", "--config", "absent.toml", "--json")
    told = json.loads(said.err)
    assert told["exit_code"] == said.code == 2
    assert "absent.toml" in told["error"]
    assert said.out == ""


@pytest.mark.parametrize("arguments", [("--json", "incident", "list"), ("incident", "--json", "list"), ("incident", "list", "--json")])
def test_json_stands_anywhere(call, server, arguments):
    """--json is taken before the noun, after it and after the verb."""
    said = call(*arguments)
    assert said.code == 0
    assert said.json["items"][0]["id"] == "inc0000000000001"


def test_unreachable_server_is_3(call, free_port: int, monkeypatch: pytest.MonkeyPatch):
    """A server that does not answer ends with 3 and says how to start one."""
    monkeypatch.setenv("ORCHESTRATOR_URL", f"http://127.0.0.1:{free_port}")
    for arguments in (("incident", "list"), ("approval", "show", "x"), ("run", "tail", "x")):
        said = call(*arguments)
        assert said.code == 3
        assert "orchestrator serve" in said.err


def test_variables_of_the_command_line_are_no_settings(call, monkeypatch: pytest.MonkeyPatch):
    """ORCHESTRATOR_URL and ORCHESTRATOR_TOKEN are not taken for misspelt settings."""
    monkeypatch.setenv("ORCHESTRATOR_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("ORCHESTRATOR_TOKEN", "x")
    assert call("incident", "list").code == 3
