"""What a database holds, read beside the servers that use it."""

from __future__ import annotations

import contextlib
import sqlite3
from typing import Any

import psycopg2


class Rows:
    """A database, opened anew for each question.

    Args:
        place: path of a SQLite file, or a PostgreSQL address.
    """

    def __init__(self, place: str) -> None:
        self._place = place

    def __call__(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Return the rows of a query with `?` for each value."""
        if self._place.startswith("postgresql"):
            with contextlib.closing(psycopg2.connect(self._place, connect_timeout=30)) as connection, connection.cursor() as cursor:
                cursor.execute(query.replace("?", "%s"), values)
                return cursor.fetchall()
        with contextlib.closing(sqlite3.connect(f"file:{self._place}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(query, values).fetchall()
