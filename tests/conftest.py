"""What every test may use."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from postgresql import PostgresServer

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED_INPUTS = REPOSITORY.parent / "shared" / "inputs"


def needs_root() -> None:
    """Skip, by name, a test that cannot run without root."""
    if os.geteuid() != 0:
        pytest.skip("needs root: it makes network namespaces or hosts of its own")


def needs_program(*names: str) -> str:
    """Return the path of the first of `names` that is installed, or skip the test by name."""
    for name in names:
        found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        if found:
            return found
    pytest.skip(f"needs {' or '.join(names)} (Debian package); `make check` installs it")


@pytest.fixture
def free_port() -> int:
    """Return a TCP port on loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_inputs() -> Path:
    """Return the folder of sample inputs, or skip where it is not there."""
    if not SHARED_INPUTS.is_dir():
        pytest.skip(f"needs the sample inputs in {SHARED_INPUTS}")
    return SHARED_INPUTS


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """Yield a PostgreSQL for the whole session; skip by name where it is not installed."""
    from postgresql import PostgresServer, find_postgres

    if find_postgres() is None:
        pytest.skip("needs postgresql (Debian package); `make check` installs it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with PostgresServer(port) as server:
        yield server
