"""`orchestrator init DIR`: a working folder from what comes with the program."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

import click

from orchestrator.cli.command import Verb, pass_session
from orchestrator.cli.session import Session
from orchestrator.errors import UsageError

FOLDERS: Final = ("playbooks", "roles", "prompts", "inventory")


@click.command(cls=Verb)
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@pass_session
def init(session: Session, folder: Path) -> None:
    r"""Write settings, catalogue, roles, prompts and an example inventory into DIR.

    Nothing is overwritten: where one of them is there already, nothing is written at all.

    \b
    Example:
      orchestrator init recovery && cd recovery && orchestrator doctor
    """
    written = write(folder)
    steps = f"Written to {folder}: {', '.join(written)}.\nNext: cd {folder}; orchestrator doctor; orchestrator serve"
    session.done({"folder": str(folder), "written": written}, steps)


def write(folder: Path) -> list[str]:
    """Copy the shipped files into `folder` and return their names.

    Raises:
        UsageError: one of them is there already, or the folder cannot be written.
    """
    from orchestrator.shipped import folder as shipped

    names = ["orchestrator.toml", "ansible.cfg", *FOLDERS]
    there = [name for name in names if (folder / name).exists()]
    if there:
        raise UsageError(f"{folder}: holds {', '.join(there)} already. Mend: name another folder; nothing was written.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(shipped("orchestrator.example.toml"), folder / "orchestrator.toml")
        shutil.copyfile(shipped("ansible.cfg"), folder / "ansible.cfg")
        for name in FOLDERS:
            shutil.copytree(shipped(name), folder / name, ignore=shutil.ignore_patterns("__pycache__", ".ansible"))
    except OSError as error:
        raise UsageError(f"{folder}: cannot be written ({error}). Mend: name a folder that you may write.") from error
    return names
