"""The catalogue's changes on record: which entries, which files, from which digest to which."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

from orchestrator.catalogue import CatalogueCache
from orchestrator.catalogue.changes import difference, state_of
from orchestrator.errors import CatalogueError
from orchestrator.model import Catalogue, Happening
from orchestrator.store import Store

log = logging.getLogger(__name__)


class CatalogueWatch:
    """Compares the catalogue with the one that was last put on record, also over a restart.

    Args:
        store: where the last one is kept, and the log.
        cache: the catalogue as it stands on disk.
        roles: the folder of roles.
        node: this machine's name: each machine has files of its own.
        note: puts something on record, in the caller's transaction.
    """

    def __init__(self, store: Store, cache: CatalogueCache, roles: Path, node: str, note: Callable[[Happening], None]) -> None:
        self._store, self._cache, self._roles, self._node, self._note = store, cache, roles, node, note
        self._last: Catalogue | None = None

    def run(self) -> None:
        """Put on record what changed since the last time; the first catalogue ever seen is only kept."""
        try:
            found = self._cache.get()
        except CatalogueError as error:
            log.warning("the catalogue cannot be read: %s", error)
            return
        if found is self._last:
            return
        name, now = f"catalogue@{self._node}", state_of(found, self._roles)
        with self._store.db.transaction():
            self._store.db.lock("catalogue")
            known = self._store.people.flag(name)
            changes = difference(json.loads(known), now) if known else {}
            if changes or not known:
                self._store.people.set_flag(name, json.dumps(now))
            if changes:
                self._note(Happening("catalogue.changed", data={"node": self._node, **changes}))
        self._last = found
