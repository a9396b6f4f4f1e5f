"""Where the files that come with the program are: beside the package in a checkout, inside it in a wheel."""

from __future__ import annotations

from pathlib import Path


def folder(name: str) -> Path:
    """Return the path of a shipped file or folder: `playbooks`, `roles`, `prompts`, `inventory`, `orchestrator.example.toml`.

    Raises:
        FileNotFoundError: there is none of that name.
    """
    package = Path(__file__).resolve().parent
    for place in (package / "shipped" / name, package.parent / name):
        if place.exists():
            return place
    raise FileNotFoundError(f"{name} is not among the shipped files")
