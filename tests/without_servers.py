"""A pytest plugin for `make test`: skip by name what needs root or a foreign server, even where it could run."""

from __future__ import annotations

import pytest

REASONS = {"root": "needs root: run by `make check`", "foreign": "needs a server from Debian's packages: run by `make check`"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each such test as skipped, with the reason."""
    for item in items:
        for name, reason in REASONS.items():
            if item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=reason))
