"""The catalogue that the settings name, for the commands that read it from disk."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.session import Session
from orchestrator.errors import NotFound
from orchestrator.model import Entry

if TYPE_CHECKING:
    from orchestrator.model import Catalogue


def places(session: Session) -> tuple[Path, Path]:
    """Return the folder of entries and the folder of roles."""
    settings = session.settings()
    return Path(settings.catalogue.path), Path(settings.catalogue.roles)


def loaded(session: Session) -> Catalogue:
    """Return the catalogue as it stands on disk."""
    from orchestrator.catalogue import load

    return load(*places(session))


def picked(found: Catalogue, ids: Sequence[str]) -> list[Entry]:
    """Return the entries of these ids, or all of them.

    Raises:
        NotFound: there is no such entry, or it is broken.
    """
    for name in ids:
        broken = next((item for item in found.broken if item.id == name), None)
        if broken:
            raise NotFound(f"{name} is broken: {'; '.join(broken.problems)}")
        if name not in found.entries:
            raise NotFound(f"there is no entry {name}. Mend: see `orchestrator catalogue list`.")
    return [found.entries[name] for name in (ids or found.entries)]
