"""The documentation: every link leads somewhere, every call of the API is told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import REPOSITORY
from fake_orchestrator import FakeOrchestrator

from orchestrator.web import create_app

PAGES = [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted((REPOSITORY / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page: Path):
    """A relative link names a file or folder that exists."""
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_every_call_is_documented():
    """Each route of the API stands in the reference with its method."""
    text = (REPOSITORY / "docs/reference/http.md").read_text(encoding="utf-8")
    app = create_app(FakeOrchestrator())  # type: ignore[arg-type]
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith(
            ("/api/", "/alert", "/slack", "/healthz", "/readyz", "/metrics", "/openapi", "/docs")
        ) and not rule.rule.startswith("/alerts"):
            for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
                assert f"`{method} {rule.rule}`" in text, f"{method} {rule.rule}"


@pytest.mark.parametrize("page", sorted((REPOSITORY / "docs/adr").glob("*.md")), ids=lambda page: page.stem)
def test_decisions_have_their_four_parts(page: Path):
    """Each decision has status, context, decision and consequences."""
    assert re.findall(r"^## (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE) == ["Status", "Context", "Decision", "Consequences"]


def test_commands_in_the_docs_exist():
    """Every `orchestrator noun verb` that a page shows is a command."""
    from orchestrator.cli.reference import commands

    known = {path for path, _, _ in commands()}
    nouns = {path.split()[0] for path in known}
    groups = {path.split()[0] for path in known if " " in path}
    for page in PAGES:
        for line in re.findall(r"^    orchestrator (.+)$|`orchestrator ([^`]+)`", page.read_text(encoding="utf-8"), re.MULTILINE):
            words = [word for word in " ".join(line).split() if not word.startswith("-")]
            assert words[0] in nouns or words[0].startswith("<"), f"{page}: {line}"
            if words[0] in groups and len(words) > 1:
                assert " ".join(words[:2]) in known, f"{page}: {line}"
