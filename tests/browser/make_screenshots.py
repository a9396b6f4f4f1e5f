"""Write pictures of the pages: `python tests/browser/make_screenshots.py [FOLDER]`."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent.parent)]

from stage import browser, furnished, staged  # noqa: E402 - the path is set above

SHOTS = (
    ("overview", "", 1280, 1130, False),
    ("overview-dark", "", 1280, 1130, True),
    ("overview-phone", "", 390, 1100, False),
    ("incident", "incidents/inc0000000000001", 1280, 1520, False),
    ("incident-phone", "incidents/inc0000000000001", 390, 2900, True),
    ("approval", "approvals/inc0000000000001:1", 1280, 1560, False),
    ("approval-dark", "approvals/inc0000000000001:1", 1280, 1560, True),
    ("approval-phone", "approvals/inc0000000000001:1", 390, 2600, False),
    ("run", "runs/inc0000000000003:1:apply:1", 1280, 900, False),
    ("catalogue", "catalogue", 1280, 640, False),
    ("entry", "catalogue/restart_service", 1280, 1320, False),
    ("audit", "audit", 1280, 760, False),
    ("system", "system", 1280, 880, True),
    ("login", "login", 1280, 640, False),
)


def main(folder: Path, chosen: list[str]) -> int:
    """Write each picture into `folder`."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        print("needs chromium", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    with staged(furnished()) as address:
        for name, path, width, height, dark in SHOTS:
            if chosen and name not in chosen:
                continue
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
                # 0 is dark, 1 is light.
                flags = [f"--screenshot={folder / name}.png", f"--window-size={width},{height}", "--timeout=3000"]
                flags.append(f"--blink-settings=preferredColorScheme={0 if dark else 1}")
                command = browser(program, profile, *flags, f"{address}/as/ada/{path}")
                subprocess.run(command, check=True, timeout=120, capture_output=True)
            print(folder / f"{name}.png")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images"), sys.argv[2:]))
