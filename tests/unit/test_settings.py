"""Settings: one file and the environment, all problems at once."""

from __future__ import annotations

import pytest

from orchestrator.errors import SettingsError
from orchestrator.settings import Settings, load
from orchestrator.shipped import folder


def problems(path, environment=None) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        load(path, environment or {})
    return caught.value.problems


def test_defaults_need_no_file():
    """Without a file and variables the defaults hold, and nothing runs by itself."""
    settings = load(None, {})
    assert settings.policy.mode == "approve"
    assert settings.database_url() == "sqlite:///var/orchestrator.db"


def test_environment_wins_over_the_file(tmp_path):
    """A variable outranks the file, typed as the setting is."""
    path = tmp_path / "orchestrator.toml"
    path.write_text("[server]\nport = 1234\n")
    environment = {
        "ORCHESTRATOR_SERVER__PORT": "4321",
        "ORCHESTRATOR_NOTIFY__MAIL_TO": "a@example.org, b@example.org",
        "ORCHESTRATOR_INVENTORY__PATHS": '["one", "two"]',
        "ORCHESTRATOR_SERVER__COOKIE_SECURE": "true",
    }
    settings = load(path, environment)
    assert settings.server.port == 4321
    assert settings.notify.mail_to == ("a@example.org", "b@example.org")
    assert settings.inventory.paths == ("one", "two")
    assert settings.server.cookie_secure is True


def test_all_problems_are_told_together(tmp_path):
    """Every wrong key and value is named in one go, each with its mend."""
    path = tmp_path / "orchestrator.toml"
    path.write_text("colour = 1\n[server]\nport = 99999\nprot = 1\n[policy]\nmode = 'yolo'\n")
    told = problems(path)
    assert len(told) == 4
    assert all("Mend:" in line for line in told)
    assert any("server.prot" in line for line in told)
    assert any("policy.mode" in line and "yolo" in line for line in told)


@pytest.mark.parametrize(
    "name", ["ORCHESTRATOR_SERVRE__PORT", "ORCHESTRATOR_SERVER__PROT", "ORCHESTRATOR_SERVER", "ORCHESTRATOR_SERVER__PORT__X"]
)
def test_unknown_variable_is_refused(name):
    """A variable that names no setting is refused by its name."""
    assert name in problems(None, {name: "1"})[0]


def test_secrets_come_from_files_and_are_not_shown(tmp_path):
    """A secret can be given as a file, and never stands in the settings' own text."""
    secret = tmp_path / "token"
    secret.write_text("sesame\n")
    settings = load(None, {"ORCHESTRATOR_SERVER__WEBHOOK_TOKEN_FILE": str(secret)})
    assert settings.server.webhook_token.get_secret_value() == "sesame"
    assert "sesame" not in repr(settings)
    assert "cannot be read" in problems(None, {"ORCHESTRATOR_SERVER__WEBHOOK_TOKEN_FILE": "/does/not/exist"})[0]


def test_broken_toml_names_the_line(tmp_path):
    """A file that is not TOML is refused with the place."""
    path = tmp_path / "orchestrator.toml"
    path.write_text("[server\n")
    assert "line 1" in problems(path)[0]


def test_a_value_in_place_of_a_section_is_refused(tmp_path):
    """A value where a section belongs is a problem, not a crash."""
    path = tmp_path / "orchestrator.toml"
    path.write_text("server = 1\n")
    assert "server" in problems(path)[0]
    assert problems(path, {"ORCHESTRATOR_SERVER__PORT": "1"})


def test_example_file_is_valid_and_complete():
    """The commented example loads, and names every section."""
    path = folder("orchestrator.example.toml")
    load(path, {})
    text = path.read_text(encoding="utf-8")
    for name, info in Settings.model_fields.items():
        if info.annotation is not str:
            assert f"[{name}]" in text, name
