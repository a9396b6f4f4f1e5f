"""Commands that work on files and the database, without a server."""

from __future__ import annotations

import io
import json
import stat
from pathlib import Path

import pytest

from orchestrator.cli.decide import read_cases, webhook
from orchestrator.cli.doctor import clock, data_dir, targets_of
from orchestrator.errors import UsageError
from orchestrator.model import Host
from orchestrator.shipped import folder as shipped

HOSTS = """\
all:
  children:
    recoverable:
      hosts:
        web1:
          prometheus_instance: "web1:9100"
          ansible_connection: local
          recoverable_services: [nginx]
"""


@pytest.fixture
def work(call, tmp_path: Path, free_port: int) -> Path:
    """Return the present folder with settings on the shipped catalogue and an inventory of one host."""
    (tmp_path / "hosts.yml").write_text(HOSTS)
    (tmp_path / "orchestrator.toml").write_text(
        f'[server]\nport = {free_port}\n[catalogue]\npath = "{shipped("playbooks")}"\nroles = "{shipped("roles")}"\n'
        f'prompts = "{shipped("prompts")}"\n[inventory]\npaths = ["hosts.yml"]\n[decision]\nengine = "matchers"\n'
    )
    return tmp_path


def test_init_writes_a_working_folder(call, tmp_path: Path):
    """`init` brings settings, catalogue, roles, prompts and inventory, and the linter is content with them."""
    said = call("init", "recovery")
    assert said.code == 0
    for name in ("orchestrator.toml", "ansible.cfg", "playbooks/restart_service/playbook.yml", "roles", "prompts", "inventory"):
        assert (tmp_path / "recovery" / name).exists(), name


def test_init_overwrites_nothing(call, tmp_path: Path):
    """Where one file is there already, nothing is written at all."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "orchestrator.toml").write_text("# mine\n")
    said = call("init", "mine")
    assert said.code == 2
    assert "orchestrator.toml" in said.err
    assert [item.name for item in (tmp_path / "mine").iterdir()] == ["orchestrator.toml"]
    assert (tmp_path / "mine" / "orchestrator.toml").read_text() == "# mine\n"


def test_doctor_finds_what_is_missing(call, work: Path):
    """Doctor tells each thing with its state; warnings alone are no failure."""
    said = call("doctor", "--json")
    found = {item["name"]: item for item in said.json["items"]}
    assert said.code == 0, said.out
    assert found["catalogue"]["state"] == "ok"
    assert found["inventory"]["detail"] == "1 hosts"
    assert found["prometheus"]["state"] == "warn"
    assert found["prometheus"]["mend"]
    assert found["ansible-playbook"]["state"] == "ok"


def test_doctor_fails_on_a_broken_entry(call, work: Path):
    """A broken catalogue entry fails, by name."""
    (work / "entries" / "nonsense").mkdir(parents=True)
    (work / "orchestrator.toml").write_text('[catalogue]\npath = "entries"\n[inventory]\npaths = ["hosts.yml"]\n')
    said = call("doctor", "--json")
    assert said.code == 1
    assert any(item["state"] == "fail" and "nonsense" in item["detail"] for item in said.json["items"])


def test_doctor_wants_a_closed_data_folder(tmp_path: Path):
    """A data folder that others can read fails: it holds tokens."""
    (tmp_path / "var").mkdir()
    (tmp_path / "var").chmod(0o755)
    assert data_dir(tmp_path / "var").state == "fail"
    assert "chmod" in data_dir(tmp_path / "var").mend
    (tmp_path / "var").chmod(0o700)
    assert data_dir(tmp_path / "var").state == "ok"
    assert data_dir(tmp_path / "new").state == "ok"


@pytest.mark.parametrize(("seconds", "state"), [([], "warn"), ([0.4], "ok"), ([-20.0, 1.0], "warn"), ([300.0], "fail")])
def test_doctor_compares_clocks(seconds, state):
    """A clock that is off spoils rates and windows; far off is a failure."""
    assert clock(seconds).state == state


def test_targets_are_read_as_an_alert_s_label_is():
    """Doctor names the targets that no host stands behind, and those that several could: neither is guessed."""
    hosts = [
        Host("web1.example.org", (), {"ansible_host": "10.0.0.1", "prometheus_instance": "web1:9100"}),
        Host("web2.a.example.org", (), {}),
        Host("web2.b.example.org", (), {}),
    ]
    good = {"web1:9100", "10.0.0.1:9256", "web1.example.org:80"}
    (fine,) = targets_of(good, hosts, "prometheus_instance")
    assert (fine.state, fine.detail) == ("ok", "all 3 targets of Prometheus are inventory hosts")
    unmapped, ambiguous = targets_of({*good, "web9:9100", "web2:9100"}, hosts, "prometheus_instance")
    assert (unmapped.state, "web9:9100" in unmapped.detail, "web2" in unmapped.detail) == ("warn", True, False)
    assert (ambiguous.state, "web2.a.example.org, web2.b.example.org" in ambiguous.detail) == ("warn", True)


def test_catalogue_list_show_lint_test_docs(call, work: Path):
    """The shipped catalogue is listed, described, lints clean, and its own tests hold."""
    assert "restart_service" in call("catalogue", "list").out
    shown = call("catalogue", "show", "restart_service", "--json").json
    assert shown["id"] == "restart_service"
    assert call("catalogue", "lint").code == 0
    tested = call("catalogue", "test", "--json")
    assert tested.code == 0, tested.out
    assert len(tested.json["items"]) >= 3
    assert "# Restart one service" in call("catalogue", "docs", "restart_service").out
    assert call("catalogue", "docs", "--out", "pages").code == 0
    assert (work / "pages" / "restart_service.md").is_file()
    assert call("catalogue", "show", "nonsense").code == 1


def test_new_entry_lints_and_waits_for_admission(call, tmp_path: Path):
    """A scaffolded entry loads and tests well, is not admitted by itself, and is after `admit`."""
    (tmp_path / "playbooks").mkdir()
    (tmp_path / "roles").mkdir()
    (tmp_path / "hosts.yml").write_text(HOSTS)
    (tmp_path / "orchestrator.toml").write_text('[inventory]\npaths = ["hosts.yml"]\n')
    assert call("catalogue", "new", "wipe_cache", "--title", "Wipe the cache").code == 0
    assert call("catalogue", "lint").code == 0
    tested = call("catalogue", "test")
    assert tested.code == 0, tested.out
    listed = call("catalogue", "list", "--json").json["items"]
    assert [(item["id"], item["admitted"]) for item in listed] == [("wipe_cache", False)]
    assert call("catalogue", "admit", "wipe_cache").code == 0
    assert call("catalogue", "list", "--json").json["items"][0]["admitted"] is True
    assert call("catalogue", "new", "wipe_cache").code == 2


def test_lint_errors_are_1(call, tmp_path: Path):
    """A broken entry ends `lint` and `list` with 1 and names file and mend."""
    (tmp_path / "playbooks" / "nonsense").mkdir(parents=True)
    (tmp_path / "roles").mkdir()
    said = call("catalogue", "lint")
    assert said.code == 1
    assert "nonsense" in said.out
    assert "Mend:" in said.out
    assert call("catalogue", "list").code == 1


def test_coverage_reads_rule_files(call, work: Path):
    """Each alerting rule is listed with the entries that could answer it."""
    rules = {
        "groups": [
            {
                "name": "x",
                "rules": [
                    {"alert": "ServiceDown", "expr": "up == 0", "labels": {"service": "nginx"}},
                    {"alert": "Nobody", "expr": "1"},
                    {"record": "a", "expr": "1"},
                ],
            }
        ]
    }
    (work / "rules.yml").write_text(json.dumps(rules))
    items = {item["alert"]: item["entries"] for item in call("catalogue", "coverage", "rules.yml", "--json").json["items"]}
    assert "restart_service" in items["ServiceDown"]
    assert set(items) == {"ServiceDown", "Nobody"}
    (work / "wrong.yml").write_text("nonsense")
    assert call("catalogue", "coverage", "wrong.yml").code == 2


def test_decide_runs_nothing(call, work: Path):
    """A dry decision tells entry, hosts and what the policy says, and stores no incident."""
    labels = {"alertname": "ServiceDown", "instance": "web1:9100", "service": "nginx"}
    (work / "alert.json").write_bytes(webhook(labels))
    item = call("decide", "alert.json", "--json").json["items"][0]
    assert item["proposal"]["entry"] == "restart_service"
    assert item["proposal"]["hosts"] == ["web1"]
    assert item["verdict"]["effect"] == "ask"
    assert "restart_service" in call("decide", "alert.json").out
    assert call("decide", "absent.json").code == 2


def test_policy_test_compares(call, work: Path):
    """A policy test ends with 0 where every case comes out as written, else with 1."""
    (work / "cases.yml").write_text(
        "- {name: asked, labels: {alertname: ServiceDown, service: nginx, instance: 'web1:9100'}, effect: ask, entry: restart_service}\n"
        "- {name: unknown, labels: {alertname: Strange, instance: 'web1:9100'}, effect: none}\n"
    )
    said = call("policy", "test", "cases.yml")
    assert said.code == 0, said.out
    (work / "cases.yml").write_text("- {name: x, labels: {alertname: ServiceDown, service: nginx, instance: 'web1:9100'}, effect: allow}\n")
    assert call("policy", "test", "cases.yml").code == 1


@pytest.mark.parametrize("text", ["a: 1", "- {labels: {a: b}}", "- {effect: ask}", "- {labels: {}, effect: ask, nonsense: 1}", "[", "- 1"])
def test_policy_cases_are_read_strictly(text):
    """What is no list of cases is refused with a mend."""
    with pytest.raises(UsageError, match="Mend:"):
        read_cases(text.encode(), "cases.yml")


def test_users_and_tokens(call, work: Path, monkeypatch: pytest.MonkeyPatch):
    """Users and tokens are made, listed and revoked; a token is shown once, a password never."""
    monkeypatch.setattr("sys.stdin", io.StringIO("correct horse battery staple\n"))
    assert call("user", "add", "anna", "--role", "approver", "--group", "oncall").code == 0
    listed = call("user", "list")
    assert "anna" in listed.out
    assert "oncall" in listed.out
    monkeypatch.setattr("sys.stdin", io.StringIO("another long password\n"))
    assert call("user", "passwd", "anna").code == 0
    monkeypatch.setattr("sys.stdin", io.StringIO("\n"))
    assert call("user", "passwd", "anna").code == 2
    secret = call("token", "create", "grafana", "--role", "viewer").out.strip()
    assert len(secret) > 20
    listed = call("token", "list")
    assert "grafana" in listed.out
    assert secret not in listed.out
    assert call("token", "revoke", "grafana").code == 0
    assert call("token", "create", "x", "--role", "emperor").code == 2


def test_audit_verify_and_export(call, work: Path):
    """The chain of a fresh database is whole, and every line of the export is JSON."""
    call("token", "create", "grafana", "--role", "viewer")
    assert call("audit", "verify").code == 0
    assert call("audit", "verify", "--json").json["ok"] is True
    for form in ("jsonl", "ecs"):
        said = call("audit", "export", "--format", form)
        lines = [json.loads(line) for line in said.out.splitlines()]
        assert lines, form
    assert call("audit", "export", "--since", "2999-01-01").out == ""
    assert call("audit", "export", "--since", "yesterday").code == 2


def test_db_upgrade_is_safe_to_repeat(call, work: Path):
    """Upgrading says what it did, twice."""
    assert call("db", "upgrade").code == 0
    assert call("db", "upgrade").code == 0


def test_backup_and_restore(call, work: Path):
    """What the backup held is back, what came after it is gone, and nothing runs by itself until an admin resumes."""
    assert call("token", "create", "before", "--role", "viewer").code == 0
    assert call("db", "backup", "copy.db").code == 0
    assert call("db", "backup", "copy.db").code == 2
    assert call("token", "create", "after", "--role", "viewer").code == 0
    assert call("db", "restore", "copy.db", "--yes").code == 0
    listed = call("token", "list").out
    assert "before" in listed
    assert "after" not in listed
    assert call("db", "restored", "--from", "tape").code == 0
    assert "database.restored" in call("audit", "export").out
    assert call("audit", "verify").code == 0
    assert call("resume").code == 0


def test_pause_works_with_the_server_down(call, work: Path):
    """With no server the kill switch is a file in the data folder; `resume` takes it back."""
    said = call("pause", "--reason", "storm")
    assert said.code == 0
    assert "storm" in (work / "var" / "paused").read_text()
    assert call("resume").code == 0
    assert not (work / "var" / "paused").exists()


def test_receiver_is_ready_to_paste(call, work: Path):
    """The receiver holds the address and the token that the server takes, and is YAML."""
    import yaml

    said = call("alert", "receiver")
    assert said.code == 0
    webhook_config = yaml.safe_load(said.out)["receivers"][0]["webhook_configs"][0]
    token = (work / "var" / "webhook.token").read_text().strip()
    assert webhook_config["http_config"]["authorization"]["credentials"] == token
    assert webhook_config["url"].endswith("/alert")
    assert stat.S_IMODE((work / "var" / "webhook.token").stat().st_mode) == 0o600


def test_eval_run_and_compare(call, work: Path):
    """Labelled alerts are scored; a case that got worse ends `compare` with 1."""
    labels = {"alertname": "ServiceDown", "instance": "web1:9100", "service": "nginx"}
    cases = [
        {"n": 1, "gold": "restart_service", "alert": {"labels": labels}},
        {"n": 2, "gold": "none", "alert": {"labels": {"alertname": "X"}}},
    ]
    (work / "cases.json").write_text(json.dumps(cases))
    said = call("eval", "run", "cases.json", "--matchers", "--out", "before.json", "--json")
    assert said.code == 0
    assert said.json["right_rate"] == 1.0
    assert call("eval", "compare", "before.json", "before.json").code == 0
    (work / "after.json").write_text((work / "before.json").read_text().replace('"right"', '"missed"'))
    assert call("eval", "compare", "before.json", "after.json").code == 1
    assert call("eval", "compare", "before.json", "cases.json").code == 2
