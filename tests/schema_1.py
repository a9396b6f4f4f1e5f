"""A database as the first release left it: schema 1, with incidents in every state of their life.

`web1` resolved; `web2` waits for an answer; `web3` was rejected and is with a person; `web4` was in its play when the process was
killed; `web5` and `web6` were received and nobody has looked at them yet.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg2

FOLDER = Path(__file__).parent / "fixtures" / "schema-1"


def load_schema_1(url: str) -> None:
    """Fill an empty database with it."""
    if url.startswith("sqlite:///"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript((FOLDER / "sqlite.sql").read_text(encoding="utf-8"))
        return
    with closing(psycopg2.connect(url)) as database, database.cursor() as cursor:
        cursor.execute((FOLDER / "postgresql.sql").read_text(encoding="utf-8"))
        database.commit()
