"""Throw-away hosts for our own tests, by the product's harness; a test is skipped by name where they cannot be made.

These share this machine's files and processes' view, but have their own network: an address that exists nowhere else, no default route, so
that nothing leaves them, and a real sshd.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from conftest import needs_program, needs_root

from orchestrator import throwaway
from orchestrator.throwaway import Root, ThrowawayHost, ThrowawayHosts


def _names(count: int) -> list[str]:
    return [f"host{number}" for number in range(1, count + 1)]


@contextmanager
def throwaway_hosts(count: int) -> Iterator[ThrowawayHosts]:
    """Make `count` hosts named `host1`, `host2`, …, and remove every trace of them in the end; skips where it cannot."""
    if reason := throwaway.missing():
        pytest.skip(reason)
    with throwaway.throwaway_hosts(_names(count), Root.SHARED) as made:
        yield made


@contextmanager
def networks(count: int) -> Iterator[tuple[str, list[ThrowawayHost]]]:
    """Make `count` networks of their own and nothing in them; yield this machine's address on the bridge between them, and them."""
    needs_root()
    needs_program("ip")
    with throwaway.networks(_names(count)) as made:
        yield made
