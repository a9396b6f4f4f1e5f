"""Recovery orchestrator: from an alert to a verified repair, with a person where policy says so."""

__version__ = "0.1.0"
