"""The store: peewee tables and the questions asked of them, nowhere else."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable

from orchestrator.store.chain import Chain
from orchestrator.store.database import Database
from orchestrator.store.earning import Earning
from orchestrator.store.errands import Errand, Errands, Posting
from orchestrator.store.incidents import Claim, Incidents
from orchestrator.store.intake import Linking
from orchestrator.store.outbox import Letter, Outbox
from orchestrator.store.people import People
from orchestrator.store.runs import Past, Runs
from orchestrator.store.seats import Seats
from orchestrator.store.sessions import Sessions
from orchestrator.store.standing import Standing
from orchestrator.store.storms import Storm, Storms
from orchestrator.store.track import TrackRecord

__all__ = [
    "Chain",
    "Claim",
    "Database",
    "Errand",
    "Errands",
    "Incidents",
    "Letter",
    "Linking",
    "Outbox",
    "Past",
    "People",
    "Posting",
    "Runs",
    "Seats",
    "Sessions",
    "Standing",
    "Store",
    "Storm",
    "Storms",
    "TrackRecord",
    "new_id",
]

DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"


def new_id() -> str:
    """Return 16 characters that sort by time: 10 of milliseconds, 6 of chance (Crockford's base 32)."""
    number = (int(time.time() * 1000) << 30) | secrets.randbits(30)
    return "".join(DIGITS[(number >> shift) & 31] for shift in range(75, -5, -5))


class Store:
    """Everything that is kept, over one database.

    Args:
        url: `sqlite:///PATH` or `postgresql://…`.
        synchronous: SQLite's `synchronous`.
        route: (kind of event, severity) → names of the channels that want it.
    """

    def __init__(
        self, url: str, *, synchronous: str = "FULL", route: Callable[[str, str], tuple[str, ...]] = lambda _kind, _severity: ()
    ) -> None:
        self.db = Database(url, synchronous=synchronous)
        self.chain = Chain(self.db)
        self.runs = Runs(self.db)
        self.seats = Seats(self.db)
        self.outbox = Outbox(self.db, route)
        self.storms = Storms(self.db)
        self.people = People(self.db)
        self.sessions = Sessions(self.db)
        self.errands = Errands(self.db)
        self.standing = Standing(self.db)
        self.earning = Earning(self.db)
        self.track = TrackRecord(self.db)
        self.incidents = Incidents(self.db, self.chain, self.runs, self.outbox, new_id)
