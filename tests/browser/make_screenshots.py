"""Write pictures of the pages: `python tests/browser/make_screenshots.py [FOLDER] [NAME …]`."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

from browsing import PHONE, chromium, launched, visiting  # noqa: E402 - the path is set above
from stage import ASKED, ESCALATED, FAILED_RUN, QUESTION, RESOLVED, RUN, furnished, staged, stormy  # noqa: E402

PAGES = {
    "overview": "",
    "storm": "",
    "incident": f"incidents/{ASKED}",
    "incident-resolved": f"incidents/{RESOLVED}",
    "incident-escalated": f"incidents/{ESCALATED}",
    "approvals": "approvals",
    "approval": f"approvals/{QUESTION}",
    "run": f"runs/{RUN}",
    "run-failed": f"runs/{FAILED_RUN}",
    "catalogue": "catalogue",
    "entry": "catalogue/reload_configuration",
    "audit": "audit",
    "system": "system",
    "api": "docs",
    "login": "login",
    "not-found": "nowhere",
}
LOOKS = {
    "": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "-dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
    "-phone": {"viewport": PHONE, "color_scheme": "light", "is_mobile": True, "has_touch": True},
}
TALLEST = 2400
"""Pixels; what is below is left out of the picture."""


def main(folder: Path, chosen: list[str]) -> int:
    """Write each page in each look into `folder`."""
    program = chromium()
    if program is None:
        print("needs chromium", file=sys.stderr)
        return 2
    folder.mkdir(parents=True, exist_ok=True)
    with launched(program) as browser, staged(furnished()) as calm, staged(stormy()) as storm:
        for look, options in LOOKS.items():
            with visiting(browser, **options) as visit:
                visit.expected = ("",)
                for name, path in PAGES.items():
                    if not chosen or name in chosen:
                        take(visit.page, storm if name == "storm" else calm, name, path, folder / f"{name}{look}.png")
    return 0


def take_top(page, target: Path) -> None:
    """Write what a phone shows first, with the bar at its lower edge."""
    page.set_viewport_size(PHONE)
    page.screenshot(path=target)
    shrink(target)


def take(page, address: str, name: str, path: str, target: Path) -> None:
    """Write the picture of one page, made small."""
    if name == "login":
        page.context.clear_cookies()
        page.goto(f"{address}/login")
    else:
        page.goto(f"{address}/as/ada/{path}")
    page.locator("h1").wait_for()
    for image in page.locator("img").all():
        image.scroll_into_view_if_needed()
        image.evaluate("one => one.decode()")
    page.evaluate("scrollTo(0, 0)")
    width = page.viewport_size["width"]
    height = min(page.evaluate("document.documentElement.scrollHeight"), TALLEST)
    page.set_viewport_size({"width": width, "height": max(height, 640)})
    page.screenshot(path=target)
    page.set_viewport_size({"width": width, "height": 844})
    shrink(target)
    if name == "approval" and width == PHONE["width"]:
        take_top(page, target.with_name(f"{target.stem}-top.png"))


def shrink(target: Path) -> None:
    """Make a picture small, where a tool for it is installed."""
    if shutil.which("pngquant"):
        subprocess.run(["pngquant", "--force", "--skip-if-larger", "--quality=60-90", "--ext=.png", target], check=False)
    print(target)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("docs/images"), sys.argv[2:]))
