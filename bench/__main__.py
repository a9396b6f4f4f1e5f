"""Measure intake, waking, waiting approvals, stored incidents, workers and plays; each against a baseline of the same run where one exists."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bench import parts
from bench.figures import Figure
from bench.inventory import inventory

RESULTS = Path(__file__).parent / "results.json"


def markdown(figures: list[Figure]) -> str:
    """Return the figures as a table of Markdown."""
    lines = ["| what | value | baseline | ratio | n |", "|---|---|---|---|---|"]
    for item in figures:
        baseline = f"{item.baseline:.3g} {item.unit}" if item.baseline else ""
        lines.append(f"| {item.name} | {item.value:.3g} {item.unit} | {baseline} | {item.ratio or ''} | {item.n} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--long", action="store_true", help="also with 10,000 incidents waiting, 10,000 approvals and 100,000 stored")
    parser.add_argument("--only", default="", help="measure only the parts whose name holds this")
    parser.add_argument("--markdown", action="store_true", help="print the table as docs/benchmarks.md holds it")
    chosen = parser.parse_args()
    long = chosen.long
    measured: list[tuple[str, Callable[[], list[Figure]]]] = [
        ("intake, nothing waiting", lambda: parts.intake(0, 400 if long else 200)),
        ("intake, 1,000 waiting", lambda: parts.intake(1000, 400 if long else 200)),
        *([("intake, 10,000 waiting", lambda: parts.intake(10_000, 400))] if long else []),
        ("storm", lambda: parts.storm(10_000 if long else 1000)),
        ("waking", lambda: parts.waking(50)),
        ("waiting approvals", lambda: parts.approvals(10_000 if long else 1000)),
        ("stored incidents", lambda: parts.stored((1000, 10_000, 100_000) if long else (1000, 10_000))),
        ("workers", lambda: parts.workers(400 if long else 200)),
        ("inventory", inventory),
        ("plays", lambda: parts.plays(9)),
    ]
    console, figures, begun = Console(), [], time.monotonic()
    for name, part in measured:
        if chosen.only in name:
            start = time.monotonic()
            figures += part()
            console.print(f"measured: {name} ({time.monotonic() - start:.0f} s)", style="dim")
    if chosen.markdown:
        print(markdown(figures))
    table = Table("what", "value", "unit", "baseline", "ratio", "n", "note")
    for item in figures:
        table.add_row(item.name, f"{item.value:g}", item.unit, f"{item.baseline or ''}", f"{item.ratio or ''}", str(item.n), item.note)
    if not chosen.markdown:
        console.print(table)
    memory = psutil.virtual_memory().total / 2**30
    machine = f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"
    console.print(f"{machine}; load {os.getloadavg()[0]:.1f} at the end; {time.monotonic() - begun:.0f} s in all")
    if not chosen.only:
        RESULTS.write_text(json.dumps([asdict(item) for item in figures], indent=2) + "\n")


if __name__ == "__main__":
    main()
