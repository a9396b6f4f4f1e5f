"""Pages and files that are written from the code are the ones that are committed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from orchestrator.cli.reference import PAGES, commands
from orchestrator.settings import Settings, load


@pytest.mark.parametrize("name", list(PAGES))
def test_generated_file_is_up_to_date(name: str, repository: Path):
    """`make docs` would change nothing: no setting and no command is undocumented."""
    assert (repository / name).read_text(encoding="utf-8") == PAGES[name](), f"{name} is old. Mend: make docs"


def test_every_command_is_documented(repository: Path):
    """Each command stands in the reference under its full name."""
    text = (repository / "docs/reference/cli.md").read_text(encoding="utf-8")
    for path, _, _ in commands():
        assert f" orchestrator {path}\n" in text


def test_example_is_the_defaults(repository: Path):
    """The example, as it is shipped, changes no default."""
    assert load(repository / "orchestrator.example.toml", {}) == Settings()


def test_example_with_every_line_taken_in_is_the_defaults(repository: Path, tmp_path: Path):
    """Every commented default of the example is a real setting, with the value the program has anyway."""
    text = (repository / "orchestrator.example.toml").read_text(encoding="utf-8")
    opened = re.sub(r"^# (\w+ = .*)$", r"\1", text, flags=re.MULTILINE).split("# [[policy.windows]]")[0]
    assert len(tomllib.loads(opened)) > 10
    (tmp_path / "all.toml").write_text(opened)
    assert load(tmp_path / "all.toml", {}) == Settings()


def test_example_of_a_window_loads(repository: Path, tmp_path: Path):
    """The commented maintenance window is one that the program takes."""
    text = (repository / "orchestrator.example.toml").read_text(encoding="utf-8")
    window = "[[policy.windows]]" + text.split("# [[policy.windows]]")[1].replace("\n# ", "\n")
    (tmp_path / "window.toml").write_text(window)
    assert load(tmp_path / "window.toml", {}).policy.windows[0].name == "patch night"
