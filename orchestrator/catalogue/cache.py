"""The catalogue as it stands on disk now, without reading it each time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from orchestrator.catalogue.files import head_fingerprint, stat_fingerprint
from orchestrator.catalogue.loader import load
from orchestrator.model import Catalogue


class CatalogueCache:
    """Loads again when a file was added, removed or changed: an entry dropped in is found without a restart.

    Args:
        path: the folder of entries.
        roles: the folder of roles.
        fresh_s: how long a look at the files holds: a large catalogue has thousands, and every step of every incident asks.
        clock: seconds that only go up.
    """

    def __init__(self, path: Path, roles: Path, *, fresh_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._roles = path, roles
        self._fresh_s, self._clock, self._looked_at = fresh_s, clock, float("-inf")
        self._lock = threading.Lock()
        self._fingerprint: object = None
        self._catalogue: Catalogue | None = None

    def get(self) -> Catalogue:
        """Return the catalogue; one object as long as nothing changes on disk.

        Raises:
            CatalogueError: the folder itself is gone.
        """
        with self._lock:
            now = self._clock()
            if self._catalogue is not None and now - self._looked_at < self._fresh_s:
                return self._catalogue
            # Taken before reading: what changes in between is found the next time.
            fingerprint = (stat_fingerprint((self._path, self._roles)), head_fingerprint(self._path))
            if self._catalogue is None or fingerprint != self._fingerprint:
                self._catalogue = load(self._path, self._roles)
                self._fingerprint = fingerprint
            self._looked_at = now
            return self._catalogue
