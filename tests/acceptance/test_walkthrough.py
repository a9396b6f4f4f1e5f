"""The walk-through that adds an entry from nothing is run as it stands: each file is written, each command run, each output seen."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs/how-to/add-a-playbook.md"
BLOCK = re.compile(r"^```(?P<kind>sh|text|yaml)(?: title=(?P<file>\S+))?\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def run(command: str, folder: Path, home: Path) -> tuple[str, Path]:
    """Run commands as a person types them; return what they print and the folder they end in."""
    bin_folder = Path(sys.executable).parent
    known = {name: value for name, value in os.environ.items() if not name.startswith("ORCHESTRATOR")}
    environment = {**known, "PATH": f"{bin_folder}:{os.environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "200", "ANSIBLE_HOME": str(home)}
    done = subprocess.run(
        ["bash", "-euc", f"{command}\necho; pwd"], cwd=folder, env=environment, capture_output=True, text=True, timeout=800, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    said, _, place = done.stdout.rstrip().rpartition("\n")
    return said + done.stderr, Path(place)


@pytest.mark.timeout(900)
def test_the_walk_through_works_as_it_is_written(tmp_path: Path):
    """Whoever follows the page ends with an entry that lints, passes its tests and is admitted."""
    blocks = list(BLOCK.finditer(PAGE.read_text(encoding="utf-8")))
    assert {block["kind"] for block in blocks} == {"sh", "text", "yaml"}
    folder, said = tmp_path, ""
    for block in blocks:
        match block["kind"]:
            case "sh":
                said, folder = run(block["body"], folder, tmp_path / "ansible")
            case "yaml":
                file = folder / block["file"]
                assert file.parent.is_dir(), file
                file.write_text(block["body"], encoding="utf-8")
            case _:
                for line in block["body"].splitlines():
                    assert line in said, f"{line!r} is not in:\n{said}"
