"""What intake is measured against: the least that stores a body durably before it answers."""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from waitress.server import create_server


@contextmanager
def echo_with_fsync() -> Iterator[str]:
    """Run a bare WSGI server that writes each body to SQLite with synchronous=FULL; yield its address."""
    with tempfile.TemporaryDirectory() as folder:
        local = threading.local()

        def database() -> sqlite3.Connection:
            if not hasattr(local, "connection"):
                local.connection = sqlite3.connect(f"{folder}/bare.db", timeout=10)
                local.connection.executescript(
                    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE IF NOT EXISTS body (data BLOB)"
                )
            return local.connection

        def app(environ, start_response):
            body = environ["wsgi.input"].read()
            with database() as connection:
                connection.execute("INSERT INTO body VALUES (?)", (body,))
            start_response("202 Accepted", [("Content-Type", "application/json")])
            return [b"{}"]

        server = create_server(app, host="127.0.0.1", port=0, threads=8)
        threading.Thread(target=server.run, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.effective_port}/"
        finally:
            server.close()
