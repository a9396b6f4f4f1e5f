"""What is shipped for running the program itself."""

from __future__ import annotations

import configparser
import json
import re
from pathlib import Path

import pytest
import yaml

from orchestrator.cli.vocabulary import SAMPLE
from orchestrator.metrics import Metrics


def known_metrics() -> set[str]:
    """Return the names of our own metrics, samples included."""
    metrics = Metrics(lambda: SAMPLE)
    return {sample.name for family in metrics.registry.collect() for sample in family.samples} | {
        name for family in metrics.registry.collect() for name in (family.name, f"{family.name}_total", f"{family.name}_bucket")
    }


def used_metrics(text: str) -> set[str]:
    """Return the names of our metrics in a text."""
    return set(re.findall(r"\borchestrator_[a-z_]+\b", text))


@pytest.mark.parametrize("name", ["prometheus-rules.yml", "grafana-dashboard.json"])
def test_rules_and_dashboard_use_metrics_that_exist(name: str, repository: Path):
    """No rule and no panel asks for a metric that the program does not have."""
    text = (repository / "deploy" / name).read_text(encoding="utf-8")
    used = used_metrics(text)
    assert used
    assert used <= known_metrics(), used - known_metrics()


@pytest.mark.parametrize("name", ["orchestrator", "orchestrator-web", "orchestrator-worker"])
def test_units_never_cut_a_play(name: str, repository: Path):
    """Systemd tells only the server itself to stop, and keeps the folders of plays over a restart."""
    unit = configparser.ConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(repository / "deploy" / f"{name}.service")
    assert unit["Service"]["KillMode"] == "process"
    assert "PrivateTmp" not in unit["Service"]
    assert unit["Service"]["UMask"] == "0077"


def test_alertmanager_keeps_the_pagers_route(repository: Path):
    """The orchestrator's route continues to the next: it is never the only path to a person."""
    config = yaml.safe_load((repository / "deploy/alertmanager.yml").read_text(encoding="utf-8"))
    ours = next(route for route in config["route"]["routes"] if route["receiver"] == "orchestrator")
    assert ours["continue"] is True
    json.loads((repository / "deploy/grafana-dashboard.json").read_text(encoding="utf-8"))
