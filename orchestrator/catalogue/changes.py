"""What changed between two states of the catalogue: entries, their digests, and the files behind them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestrator.catalogue.files import walk_files
from orchestrator.model import Catalogue

_DIGITS = 16


def state_of(catalogue: Catalogue, roles: Path) -> dict[str, Any]:
    """Return a catalogue as plain JSON, small enough to be kept in a row.

    Args:
        catalogue: as it was loaded.
        roles: the folder of roles.

    Returns:
        `{"revision", "entries": {id: {"digest", "files": {path: short hash}}}, "broken": {id: first problem}}`.
    """
    entries = {
        entry.id: {"digest": entry.digest, "files": _hashes(Path(entry.folder), "") | _of_roles(roles, entry.roles)}
        for entry in catalogue.entries.values()
    }
    broken = {one.id: (one.problems or ("",))[0] for one in catalogue.broken}
    return {"revision": catalogue.revision, "entries": entries, "broken": broken}


def _of_roles(roles: Path, names: tuple[str, ...]) -> dict[str, str]:
    return {path: text for name in names for path, text in _hashes(roles / name, f"roles/{name}/").items()}


def _hashes(folder: Path, prefix: str) -> dict[str, str]:
    found = {}
    for file in walk_files(folder):
        content = str(file.readlink()).encode() if file.is_symlink() else file.read_bytes()
        found[f"{prefix}{file.relative_to(folder).as_posix()}"] = hashlib.sha256(content).hexdigest()[:_DIGITS]
    return found


def difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return what changed between two states, ready for the audit log; empty where nothing did.

    Returns:
        `{"revision": [before, after], "added", "removed": [{"entry", "digest"}], "changed": [{"entry", "before", "after", "files"}],
        "broken": [{"entry", "problem"}], "mended": [name]}`; only what there is. A file shared by several entries stands with each of them.
    """
    old, new = before.get("entries", {}), after.get("entries", {})
    was_broken, is_broken = before.get("broken", {}), after.get("broken", {})
    found = {
        "added": [{"entry": name, "digest": new[name]["digest"]} for name in sorted(new.keys() - old.keys())],
        "removed": [{"entry": name, "digest": old[name]["digest"]} for name in sorted(old.keys() - new.keys())],
        "changed": [
            {"entry": name, "before": old[name]["digest"], "after": new[name]["digest"], "files": _changed_files(old[name], new[name])}
            for name in sorted(old.keys() & new.keys())
            if old[name]["digest"] != new[name]["digest"]
        ],
        "broken": [{"entry": name, "problem": text} for name, text in sorted(is_broken.items()) if was_broken.get(name) != text],
        "mended": sorted(was_broken.keys() - is_broken.keys()),
    }
    told = {key: value for key, value in found.items() if value}
    revisions = [before.get("revision", ""), after.get("revision", "")]
    return {"revision": revisions, **told} if told or revisions[0] != revisions[1] else {}


def _changed_files(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    old, new = before.get("files", {}), after.get("files", {})
    return sorted(path for path in old.keys() | new.keys() if old.get(path) != new.get(path))
