"""The tables, built for one database: nothing global, so that one process can hold several stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from peewee import (
    AutoField,
    BigIntegerField,
    BooleanField,
    CompositeKey,
    Database,
    IntegerField,
    Model,
    SqliteDatabase,
    TextField,
)

SCHEMA_VERSION = 2
"""What this version of the program writes; a database with a higher one is refused. What is added needs a step in `migrations.py`."""


@dataclass(frozen=True, slots=True)
class Tables:
    """One model class per table, each bound to the same database. Times are milliseconds since 1970 in UTC."""

    incident: Any
    signal: Any
    delivery: Any
    rejected: Any
    slot: Any
    seat: Any
    run: Any
    run_host: Any
    run_event: Any
    approval: Any
    audit: Any
    seal: Any
    outbox: Any
    storm: Any
    user: Any
    token: Any
    flag: Any
    admission: Any
    session: Any
    errand: Any
    posted: Any
    standing_grant: Any
    autonomy: Any

    def all(self) -> list[Any]:
        """Return every model class."""
        return [getattr(self, name) for name in self.__slots__]


def make_tables(db: Database) -> Tables:
    """Return the tables of `db`."""

    class Base(Model):
        class Meta:
            database = db
            legacy_table_names = False

    class Incident(Base):
        id = TextField(primary_key=True)
        fingerprint = TextField()
        open_key = TextField(null=True, unique=True)
        alertname = TextField()
        severity = TextField()
        target = TextField()
        status = TextField()
        reason = TextField(null=True)
        detail = TextField()
        entry = TextField()
        attempt = IntegerField()
        blocked_by = TextField()
        parent = TextField()
        previous = TextField()
        firing = BooleanField()
        priority = IntegerField()
        data = TextField()
        owner = TextField(default="")
        lease = BigIntegerField(default=0)
        run_at = BigIntegerField(null=True)
        created_at = BigIntegerField()
        updated_at = BigIntegerField()

        class Meta:
            table_name = "incident"
            indexes = (
                (("run_at", "lease"), False),
                (("priority", "run_at"), False),
                (("blocked_by",), False),
                (("parent",), False),
                (("alertname", "id"), False),
                (("fingerprint", "id"), False),
                (("status", "id"), False),
                (("status", "firing", "target"), False),
                (("target", "status"), False),
            )

    class Signal(Base):
        id = AutoField()
        incident = TextField(index=True)
        kind = TextField()
        data = TextField()
        at = BigIntegerField()

        class Meta:
            table_name = "signal"

    class Delivery(Base):
        id = AutoField()
        incident = TextField(index=True)
        fingerprint = TextField()
        alertname = TextField(index=True)
        status = TextField()
        labels = TextField()
        annotations = TextField()
        starts_at = TextField()
        ends_at = TextField()
        received_at = BigIntegerField()
        repeats = IntegerField(default=0)

        class Meta:
            table_name = "delivery"
            indexes = ((("fingerprint", "starts_at", "status", "incident"), True),)

    class Rejected(Base):
        id = AutoField()
        received_at = BigIntegerField()
        position = IntegerField()
        reason = TextField()
        body = TextField()

        class Meta:
            table_name = "rejected"

    class Slot(Base):
        name = TextField(primary_key=True)
        incident = TextField(index=True)
        run = TextField()
        at = BigIntegerField()

        class Meta:
            table_name = "slot"

    class Seat(Base):
        name = TextField(primary_key=True)
        incident = TextField(index=True)
        until = BigIntegerField()

        class Meta:
            table_name = "seat"

    class Run(Base):
        id = TextField(primary_key=True)
        incident = TextField(index=True)
        kind = TextField()
        entry = TextField(index=True)
        state = TextField(index=True)
        outcome = TextField(null=True)
        node = TextField(default="")
        request = TextField()
        result = TextField()
        created_at = BigIntegerField()
        started_at = BigIntegerField(null=True)
        ended_at = BigIntegerField(null=True)

        class Meta:
            table_name = "run"

    class RunHost(Base):
        run = TextField()
        host = TextField(index=True)
        entry = TextField()
        by_person = BooleanField()
        at = BigIntegerField()
        effective = BooleanField(null=True)
        changed = IntegerField(default=0)

        class Meta:
            table_name = "run_host"
            primary_key = CompositeKey("run", "host")

    class RunEvent(Base):
        run = TextField()
        seq = IntegerField()
        data = TextField()

        class Meta:
            table_name = "run_event"
            primary_key = CompositeKey("run", "seq")

    class Approval(Base):
        id = TextField(primary_key=True)
        incident = TextField(index=True)
        state = TextField(index=True)
        data = TextField()
        expires_at = BigIntegerField()
        created_at = BigIntegerField()
        reminded = IntegerField(default=0)

        class Meta:
            table_name = "approval"
            indexes = ((("state", "reminded", "expires_at", "created_at"), False),)

    class Audit(Base):
        id = AutoField()
        incident = TextField()
        seq = IntegerField()
        at = BigIntegerField()
        kind = TextField()
        actor = TextField()
        data = TextField(null=True)
        salt = TextField()
        digest = TextField()
        prev = TextField()
        hash = TextField()

        class Meta:
            table_name = "audit"
            indexes = ((("incident", "seq"), True),)

    class Seal(Base):
        id = AutoField()
        at = BigIntegerField()
        upto = IntegerField()
        heads = TextField()
        prev = TextField()
        hash = TextField()

        class Meta:
            table_name = "seal"

    class Outbox(Base):
        id = AutoField()
        event = IntegerField()
        incident = TextField()
        kind = TextField()
        channel = TextField()
        state = TextField(default="pending", index=True)
        attempts = IntegerField(default=0)
        due = BigIntegerField()
        error = TextField(default="")
        created_at = BigIntegerField()

        class Meta:
            table_name = "outbox"
            indexes = ((("event", "channel"), True), (("channel", "created_at"), False))

    class Storm(Base):
        channel = TextField(primary_key=True)
        began_at = BigIntegerField()
        told_at = BigIntegerField(null=True)
        due = BigIntegerField(index=True)
        attempts = IntegerField(default=0)

        class Meta:
            table_name = "storm"

    class User(Base):
        name = TextField(primary_key=True)
        password = TextField()
        role = TextField()
        groups = TextField(default="[]")
        created_at = BigIntegerField()
        subject = TextField(default="")
        disabled = BooleanField(default=False)

        class Meta:
            table_name = "account"

    class Token(Base):
        name = TextField(primary_key=True)
        role = TextField()
        hash = TextField(unique=True)
        created_at = BigIntegerField()
        last_used_at = BigIntegerField(null=True)
        revoked = BooleanField(default=False)

        class Meta:
            table_name = "token"

    class Flag(Base):
        name = TextField(primary_key=True)
        value = TextField()
        at = BigIntegerField()

        class Meta:
            table_name = "flag"

    class Admission(Base):
        entry = TextField()
        digest = TextField()
        by = TextField()
        at = BigIntegerField()

        class Meta:
            table_name = "admission"
            primary_key = CompositeKey("entry", "digest")

    class Standing(Base):
        id = TextField(primary_key=True)
        entry = TextField()
        state = TextField()
        used = IntegerField(default=0)
        max_runs = IntegerField()
        until = BigIntegerField()
        data = TextField()
        created_at = BigIntegerField()

        class Meta:
            table_name = "standing_grant"
            indexes = ((("entry", "state"), False),)

    class Autonomy(Base):
        alertname = TextField()
        entry = TextField()
        group_name = TextField()
        level = TextField()
        digest = TextField()
        since = BigIntegerField()
        by = TextField(default="")
        why = TextField(default="")

        class Meta:
            table_name = "autonomy"
            primary_key = CompositeKey("alertname", "entry", "group_name")

    class Session(Base):
        id = TextField(primary_key=True)
        user = TextField(index=True)
        way = TextField()
        created_at = BigIntegerField()
        seen_at = BigIntegerField()

        class Meta:
            table_name = "session"

    class Errand(Base):
        id = TextField(primary_key=True)
        kind = TextField()
        data = TextField()
        state = TextField(default="pending", index=True)
        attempts = IntegerField(default=0)
        due = BigIntegerField()
        error = TextField(default="")
        created_at = BigIntegerField()

        class Meta:
            table_name = "errand"

    class Posted(Base):
        id = AutoField()
        channel = TextField()
        approval = TextField(index=True)
        place = TextField()
        shown = TextField()
        state = TextField(default="open", index=True)
        attempts = IntegerField(default=0)
        due = BigIntegerField()

        class Meta:
            table_name = "posted"

    return Tables(
        Incident,
        Signal,
        Delivery,
        Rejected,
        Slot,
        Seat,
        Run,
        RunHost,
        RunEvent,
        Approval,
        Audit,
        Seal,
        Outbox,
        Storm,
        User,
        Token,
        Flag,
        Admission,
        Session,
        Errand,
        Posted,
        Standing,
        Autonomy,
    )


def append_only(db: Database) -> list[str]:
    """Return the statements that make the audit log append-only; only the body of an event may be taken out."""
    unchanged = " AND ".join(
        f"NEW.{name} = OLD.{name}" for name in ("id", "incident", "seq", "at", "kind", "actor", "digest", "prev", "hash")
    )
    if isinstance(db, SqliteDatabase):
        refuse = "SELECT RAISE(ABORT, 'the audit log is append-only')"
        return [
            f"CREATE TRIGGER IF NOT EXISTS audit_no_delete BEFORE DELETE ON audit BEGIN {refuse}; END",
            f"CREATE TRIGGER IF NOT EXISTS audit_no_update BEFORE UPDATE ON audit WHEN NOT (NEW.data IS NULL AND {unchanged}) BEGIN {refuse}; END",
            f"CREATE TRIGGER IF NOT EXISTS seal_no_delete BEFORE DELETE ON seal BEGIN {refuse}; END",
            f"CREATE TRIGGER IF NOT EXISTS seal_no_update BEFORE UPDATE ON seal BEGIN {refuse}; END",
        ]
    refuse = "RAISE EXCEPTION 'the audit log is append-only'"
    function = "CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS"
    return [
        f"{function.format(name='audit_refuse')} $$ BEGIN {refuse}; END $$",
        f"{function.format(name='audit_redact_only')} $$ BEGIN IF NEW.data IS NULL AND {unchanged} THEN RETURN NEW; END IF; {refuse}; END $$",
        "CREATE OR REPLACE TRIGGER audit_no_delete BEFORE DELETE ON audit FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
        "CREATE OR REPLACE TRIGGER audit_no_update BEFORE UPDATE ON audit FOR EACH ROW EXECUTE FUNCTION audit_redact_only()",
        "CREATE OR REPLACE TRIGGER seal_no_change BEFORE UPDATE OR DELETE ON seal FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
    ]
