"""From one machine's SQLite to PostgreSQL: everything that is kept, in one transaction, checked before it counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from peewee import AutoField, DataError, fn

from orchestrator.errors import UsageError
from orchestrator.model import Happening
from orchestrator.store.chain import Chain
from orchestrator.store.database import Database

ROWS_AT_ONCE = 500
MOVED = "moved_to"
"""The flag that keeps a database that was moved away from being used again by mistake."""


def move(source: Database, target: Database, *, flags: Mapping[str, str], tokens: Mapping[str, str]) -> dict[str, int]:
    """Copy everything from a SQLite database to an empty PostgreSQL one; the source is kept, and marked as moved.

    Args:
        source: of this version, and open nowhere else.
        target: without any table of ours.
        flags: named values that the target gets beside those of the source.
        tokens: new names for tokens: several machines may share the target.

    Returns:
        Table → how many rows were copied.

    Raises:
        UsageError: another program has the source open, the target is in use, or a row cannot be stored there; nothing was moved.
        StoreUnavailable: the target cannot be written; nothing was moved.
    """
    if others := source.others():
        raise UsageError(f"the database is in use by {others}. Mend: stop the server first.")
    with target.transaction():
        target.lock("schema")
        if target.version() or any(table.table_exists() for table in target.tables.all()):
            raise UsageError(f"{_shown(target)} holds tables of this program already. Mend: name an empty database.")
        target.raw.create_tables(target.tables.all())
        pairs = list(zip(source.tables.all(), target.tables.all(), strict=True))
        counts = {_name(theirs): _copy(ours, theirs) for ours, theirs in pairs}
        _prepare(target, flags, tokens)
        target.make_missing()
        _check(source, target, counts)
        Chain(target).append("system", Happening("database.moved", data={"to": _shown(target), "rows": sum(counts.values())}))
    with source.transaction():
        flag = source.tables.flag
        flag.insert(name=MOVED, value=_shown(target), at=source.now_ms()).execute()
    return counts


def _copy(ours: Any, theirs: Any) -> int:
    """Copy a table; return how many rows it has."""
    fields = list(theirs._meta.sorted_fields)  # noqa: SLF001 - peewee's documented way
    rows: Iterator[tuple[Any, ...]] = iter(ours.select(*[getattr(ours, field.name) for field in fields]).tuples().iterator())
    count = 0
    while batch := list(islice(rows, ROWS_AT_ONCE)):
        try:
            theirs.insert_many(batch, fields=fields).execute()
        except (DataError, ValueError) as error:
            raise UsageError(f"table {_name(theirs)}: a row cannot be stored in PostgreSQL ({error}); nothing was moved.") from error
        count += len(batch)
    return count


def _prepare(target: Database, flags: Mapping[str, str], tokens: Mapping[str, str]) -> None:
    """Let the target's counters go on where the rows end, and give it what a shared database needs."""
    for table in target.tables.all():
        key = table._meta.primary_key  # noqa: SLF001
        if isinstance(key, AutoField):
            newest = table.select(fn.MAX(key)).scalar()
            if newest:
                sequence = fn.pg_get_serial_sequence(_name(table), key.column_name)
                table.select(fn.setval(sequence, newest)).limit(1).scalar()
    for old, new in tokens.items():
        target.tables.token.update(name=new).where(target.tables.token.name == old).execute()
    for name, value in flags.items():
        target.tables.flag.insert(name=name, value=value, at=target.now_ms()).on_conflict_ignore().execute()


def _check(source: Database, target: Database, counts: Mapping[str, int]) -> None:
    for ours, theirs in zip(source.tables.all(), target.tables.all(), strict=True):
        name = _name(theirs)
        if name != "flag" and not ours.select().count() == theirs.select().count() == counts[name]:
            raise UsageError(f"table {name}: the target does not hold what the source does; nothing was moved.")
    before, after = Chain(source).verify(), Chain(target).verify()
    if not after["ok"] or (before["head"], before["events"]) != (after["head"], after["events"]):
        raise UsageError(f"the audit log does not verify: {'; '.join(after['problems'][:3]) or 'its head differs'}; nothing was moved.")


def _name(table: Any) -> str:
    return str(table._meta.table_name)  # noqa: SLF001 - peewee's documented way


def _shown(db: Database) -> str:
    """Return a database's address without the login."""
    scheme, _, rest = db.url.partition("://")
    return f"{scheme}://{rest.rsplit('@', 1)[-1]}"
