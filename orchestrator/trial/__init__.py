"""Trials: play tests of entries, carried out on throw-away hosts with the product's own executor."""

from orchestrator.trial.carrying_out import Trials
from orchestrator.trial.outcome import Step, Trial
from orchestrator.trial.site import lacking

__all__ = ["Step", "Trial", "Trials", "lacking"]
