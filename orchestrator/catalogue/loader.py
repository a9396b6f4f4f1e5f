"""Reading the catalogue: a folder per entry, each good or broken by itself."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from orchestrator.catalogue.block import Block
from orchestrator.catalogue.files import digest_of, read_yaml, revision_of, walk_files
from orchestrator.catalogue.injection import check_injection
from orchestrator.catalogue.options import OptionReader
from orchestrator.catalogue.overlap import overlapping
from orchestrator.catalogue.plays import Play, Shelf, read_play
from orchestrator.catalogue.readonly import check_read_only
from orchestrator.errors import CatalogueError
from orchestrator.model import BrokenEntry, Catalogue, Entry, EntryKind, Targets, VerifySpec

META = "playbook.meta.yml"
_ID = re.compile(r"(?!ansible)[a-z][a-z0-9_]{0,63}")
_META_KEYS = frozenset({"short_description", "description", "argument_specs", "author", "version_added"})
_SPEC_KEYS = frozenset({"short_description", "description", "options", "examples", "catalogue", "author", "version_added"})


@dataclass(slots=True)
class Loaded:
    """One entry folder and what became of it."""

    id: str
    folder: Path
    entry: Entry | None = None
    problems: list[CatalogueError] = field(default_factory=list)


def load(path: Path, roles: Path) -> Catalogue:
    """Read every entry below `path`; a broken one is listed with every reason and takes no other down.

    Args:
        path: the folder of entries (`playbooks/`).
        roles: the folder of roles.

    Returns:
        Entries by id, sorted; what is broken; the checkout's revision; a digest over all entries.

    Raises:
        CatalogueError: `path` itself is no folder.
    """
    found = load_folders(path, roles)
    entries = {one.id: one.entry for one in found if one.entry is not None}
    broken = tuple(BrokenEntry(one.id, str(one.folder.resolve()), tuple(map(str, one.problems))) for one in found if one.entry is None)
    total = hashlib.sha256("".join(f"{name}={entry.digest}\n" for name, entry in entries.items()).encode()).hexdigest()
    return Catalogue(entries, broken, revision_of(path), total)


def load_folders(path: Path, roles: Path) -> list[Loaded]:
    """Read every entry folder below `path`, sorted by id, each with its entry or its problems.

    Raises:
        CatalogueError: `path` itself is no folder.
    """
    if not path.is_dir():
        raise CatalogueError(str(path), "", "there is no such folder.", "set catalogue.path to the folder of entries.")
    shelf = Shelf(roles)
    found = [load_folder(folder, shelf) for folder in sorted(path.iterdir()) if folder.is_dir() and folder.name[0] not in "._"]
    _refuse_overlaps(found)
    return found


def load_folder(folder: Path, shelf: Shelf) -> Loaded:
    """Read one entry folder; never raises."""
    loaded = Loaded(folder.name, folder)
    try:
        loaded.entry = _read_entry(folder, shelf, loaded.problems)
    except CatalogueError as exc:
        loaded.problems.append(exc)
    except Exception as exc:  # noqa: BLE001 - whatever is wrong with one entry, the others go on
        problem = f"it cannot be read: {type(exc).__name__}: {exc}."
        loaded.problems.append(CatalogueError(str(folder), "", problem, "mend or remove the folder."))
    if loaded.problems:
        loaded.entry = None
    return loaded


def _read_entry(folder: Path, shelf: Shelf, problems: list[CatalogueError]) -> Entry | None:
    """Return the entry of a folder, or None where it has problems."""
    if not _ID.fullmatch(folder.name):
        raise CatalogueError(str(folder), "", f"{folder.name!r} is no id.", "name the folder in small letters, digits and _; not ansible….")
    problems += _check_folder(folder)
    meta, spec = _read_meta(folder, problems)
    parameters = OptionReader(str(folder / META), folder.name, problems).read(spec.get("options"))
    block = _read_block(folder, spec.get("catalogue"), problems)
    names = ["playbook.yml"]
    if block is not None:
        names += [name for name in (block.verify.playbook if block.verify else None, block.undo) if name]
    plays = dict(_read_plays(folder, names, problems))
    roles = _check_plays(plays, block, shelf, problems)
    if problems or block is None:
        return None
    verify = block.verify
    return Entry(
        id=folder.name,
        title=str(meta.get("short_description") or spec["short_description"]),
        description=_words(meta.get("description") or spec.get("description") or ""),
        folder=str(folder.resolve()),
        digest=digest_of(folder, roles),
        parameters=parameters,
        targets=Targets(block.targets.source, block.targets.groups, block.targets.max_hosts),
        undo=block.undo or "",
        verify=VerifySpec(verify.playbook, verify.promql, verify.settle_s, verify.within_s) if verify else None,
        examples=str(spec.get("examples") or ""),
        roles=tuple(sorted(roles)),
        **{name: getattr(block, name) for name in _SAME},
    )


_SAME = (
    "kind",
    "use_when",
    "never_when",
    "matchers",
    "risk",
    "reversible",
    "undo_policy",
    "check_mode",
    "timeout_s",
    "cooldown_s",
    "preconditions",
    "order",
    "diagnostics",
    "approvers",
    "owners",
    "max_parallel",
    "read_as_root",
)
"""Fields that the block and the entry call the same."""


def _check_folder(folder: Path) -> list[CatalogueError]:
    """Refuse links, which could lead out of what the digest covers, and roles that would hide shared ones."""
    problems = [
        CatalogueError(str(file), "", "symbolic links are refused.", "copy the file.") for file in walk_files(folder) if file.is_symlink()
    ]
    if (folder / "roles").exists():
        problems.append(CatalogueError(str(folder / "roles"), "", "an entry has no roles of its own.", "move them to the folder of roles."))
    return problems


def _read_meta(folder: Path, problems: list[CatalogueError]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the spec file and the spec of the entry inside it.

    Raises:
        CatalogueError: it cannot be read or has no spec for this entry.
    """
    file = folder / META
    meta = read_yaml(file)
    if not isinstance(meta, Mapping):
        raise CatalogueError(str(file), "", "this is no mapping.", "write short_description, description and argument_specs.")
    problems += _unknown(file, "", meta, _META_KEYS)
    specs = meta.get("argument_specs")
    if not isinstance(specs, Mapping) or list(specs) != [folder.name] or not isinstance(specs[folder.name], Mapping):
        raise CatalogueError(
            str(file), "argument_specs", "it does not hold exactly this entry.", f"write argument_specs: {{{folder.name}: …}}."
        )
    spec = specs[folder.name]
    where = f"argument_specs.{folder.name}"
    problems += _unknown(file, where, spec, _SPEC_KEYS)
    for key in ("short_description", "examples"):
        for place, mapping in (("", meta), (f"{where}.", spec)):
            if key in mapping and (not isinstance(mapping[key], str) or not mapping[key].strip()):
                problems.append(CatalogueError(str(file), f"{place}{key}", f"{mapping[key]!r} is no text.", "write words."))
    if not meta.get("short_description") and not spec.get("short_description"):
        problems.append(CatalogueError(str(file), "short_description", "it is missing.", "say in a few words what the entry does."))
    return meta, spec


def _unknown(file: Path, where: str, mapping: Mapping[Any, Any], known: frozenset[str]) -> Iterator[CatalogueError]:
    for key in mapping:
        if key not in known:
            yield CatalogueError(str(file), f"{where}.{key}".lstrip("."), "this key is not known.", f"use {', '.join(sorted(known))}.")


def _words(text: Any) -> str:
    """Return a description, which Ansible also allows as a list of paragraphs."""
    return "\n".join(map(str, text)) if isinstance(text, list) else str(text)


def _read_block(folder: Path, raw: Any, problems: list[CatalogueError]) -> Block | None:
    """Return the catalogue block, or None where it is refused."""
    file, where = str(folder / META), f"argument_specs.{folder.name}.catalogue"
    if raw is None:
        problems.append(
            CatalogueError(
                file,
                where,
                "it is missing.",
                "add the catalogue block: kind, use_when, matchers, verify, ….",
            )
        )
        return None
    try:
        return Block.model_validate(raw)
    except ValidationError as exc:
        for error in exc.errors(include_url=False, include_context=False):
            place = ".".join([where, *map(str, error["loc"])])
            message = error["msg"].removeprefix("Value error, ").rstrip(".")
            unknown = error["type"] == "extra_forbidden"
            problem = "this key is not known." if unknown else f"{_short(error['input'])}: {message}."
            mend = (
                f"use {', '.join(Block.model_fields)}."
                if unknown and len(error["loc"]) == 1
                else "see the reference of the catalogue block."
            )
            problems.append(CatalogueError(file, place, problem, mend))
        return None


def _short(value: Any) -> str:
    """Return a value for a message: one line, short."""
    text = ascii(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."  # noqa: PLR2004 - one line of a message


def _read_plays(folder: Path, names: list[str], problems: list[CatalogueError]) -> Iterator[tuple[str, Play]]:
    """Yield the playbooks that can be read."""
    for name in dict.fromkeys(names):
        try:
            yield name, read_play(folder / name)
        except CatalogueError as exc:
            problems.append(exc)


def _check_plays(plays: Mapping[str, Play], block: Block | None, shelf: Shelf, problems: list[CatalogueError]) -> dict[str, Path]:
    """Check every playbook and return the folders of all roles they use, by name."""
    roles: dict[str, Path] = {}
    for name, play in plays.items():
        try:
            used = shelf.closure(play.roles)
            reading = block is not None and (
                (name == "playbook.yml" and block.kind is EntryKind.DIAGNOSTIC)
                or (block.verify is not None and name == block.verify.playbook)
            )
            problems += check_injection(play.tasks)
            if reading and block is not None:
                problems += check_read_only(play, shelf, root=block.read_as_root)
        except CatalogueError as exc:
            problems.append(exc)
            continue
        for role in used.values():
            if role.name not in roles:
                problems += check_injection(role.all_tasks)
                problems += [
                    CatalogueError(str(file), "", "symbolic links are refused.", "copy the file.")
                    for file in walk_files(role.folder)
                    if file.is_symlink()
                ]
            roles[role.name] = role.folder
    return roles


def _refuse_overlaps(found: list[Loaded]) -> None:
    """Break the later of two entries of one kind whose matchers could fit one alert with no order between them."""
    kept: list[Entry] = []
    for one in found:
        if one.entry is None:
            continue
        entry = one.entry
        for other in kept:
            lines = overlapping(other, entry) if (other.order, other.kind) == (entry.order, entry.kind) else None
            if lines is None:
                continue
            field_name = f"argument_specs.{entry.id}.catalogue.matchers"
            problem = (
                f"{list(lines[1])} of {entry.id} and {list(lines[0])} of {other.id} could fit one alert, and both have order {entry.order}."
            )
            mend = f"give {entry.id} or {other.id} another order; smaller wins."
            one.problems.append(CatalogueError(str(one.folder / META), field_name, problem, mend))
        if one.problems:
            one.entry = None
        else:
            kept.append(entry)
