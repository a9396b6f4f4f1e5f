"""Charts of stored evidence: series → SVG, drawn by pygal on this server.

A chart is an image of its own (`image/svg+xml`), so that the pages' content security policy stays without inline styles. What it shows
stands beside it as a table, too.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from orchestrator.context import promql
from orchestrator.errors import UsageError
from orchestrator.model import Evidence, Rule
from orchestrator.web import words

SIZES = {False: (720, 200), True: (400, 150)}
"""Whether it stands beside others → width and height."""
MOST_LINES = 8
TABLE_ROWS = 24
"""Points of a chart's table; more are thinned out."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""Content security policy of an image: it may style itself and nothing else."""

_STEPS_S = (15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21_600, 43_200, 86_400)
_LIGHT = {"ink": "#51605b", "line": "#d7ddd8", "bad": "#a1231a", "lines": ("#0a5f56", "#1b4f95", "#754700", "#6b2fa0", "#51605b")}
_DARK = {"ink": "#a4b3ae", "line": "#2f3c38", "bad": "#ffa298", "lines": ("#62d0c1", "#9ac3fa", "#f2c76c", "#cfa8f5", "#a4b3ae")}

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One series; points are pairs of Unix time in seconds and value, oldest first."""

    name: str
    points: Points

    @property
    def values(self) -> list[float]:
        """The values alone, oldest first."""
        return [value for _, value in self.points]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines that share one scale."""

    number: int
    """Place among the charts of its evidence, from 0."""
    title: str
    lines: tuple[Line, ...]
    threshold: float | None = None
    """What the rule compares with."""
    share: bool = False
    """Whether the values are shares of 1, told in percent."""
    small: bool = False
    """Whether it stands beside others."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the image."""
        return SIZES[self.small]

    def marked(self, value: float) -> str:
        """Return a value as an axis shows it."""
        return f"{value * 100:.3g} %" if self.share else f"{value:.3g}"

    def said(self, value: float) -> str:
        """Return a value as a person reads it."""
        return f"{value * 100:.4g} %" if self.share else f"{value:.6g}"

    @property
    def sentence(self) -> str:
        """What the chart shows, for those who do not see it."""
        told = [
            f"{line.name}: from {self.said(line.values[0])} to {self.said(line.values[-1])}, "
            f"least {self.said(min(line.values))}, most {self.said(max(line.values))}"
            for line in self.lines
        ]
        border = f" The rule compares with {self.said(self.threshold)}." if self.threshold is not None else ""
        return "; ".join(told) + "." + border

    @property
    def table(self) -> list[tuple[datetime, list[str]]]:
        """Rows of time and each line's value, thinned out to `TABLE_ROWS`."""
        moments = sorted({at for line in self.lines for at, _ in line.points})
        every = max(math.ceil(len(moments) / TABLE_ROWS), 1)
        chosen = {*moments[::every], *moments[-1:]}
        known = [dict(line.points) for line in self.lines]
        return [
            (datetime.fromtimestamp(at, UTC), [self.said(points[at]) if at in points else "" for points in known]) for at in sorted(chosen)
        ]


def charts(evidence: Evidence, rule: Rule | None = None) -> tuple[Chart, ...]:
    """Return the charts of a piece of evidence, none where it holds no series.

    Args:
        evidence: its data may hold `{"series": [{"labels": {…}, "points": [[unix_s, value], …]}]}`.
        rule: the alert's rule; its threshold is drawn on the rule's own chart.
    """
    found = list(_series(evidence.data))
    if not found:
        return ()
    titles = [labels.get("__name__", "") for labels, _ in found]
    if not all(" " in title for title in titles):
        lines = tuple(Line(_name(labels), points) for labels, points in found[:MOST_LINES])
        own = rule is not None and evidence.title == f"Rule {rule.name}"
        return (Chart(0, evidence.title, lines, _threshold(rule) if own else None),)
    # several measures in one piece, each under its title: a scale of its own for each
    grouped: dict[str, list[Line]] = {}
    for title, (labels, points) in zip(titles, found, strict=True):
        grouped.setdefault(title, []).append(Line(_name({**labels, "__name__": ""}), points))
    return tuple(
        Chart(number, title, tuple(lines[:MOST_LINES]), share="(share)" in title, small=len(grouped) > 1)
        for number, (title, lines) in enumerate(grouped.items())
    )


def _series(data: Any) -> Iterable[tuple[Mapping[str, str], Points]]:
    listed = data.get("series") if isinstance(data, dict) else None
    for one in listed if isinstance(listed, list) else ():
        labels = one.get("labels") if isinstance(one, dict) else None
        points = _points(one.get("points")) if isinstance(one, dict) else ()
        if points:
            yield {str(name): str(value) for name, value in labels.items()} if isinstance(labels, dict) else {}, points


def _points(given: Any) -> Points:
    found = []
    for one in given if isinstance(given, list) else ():
        match one:
            case [int() | float() as at, int() | float() as value] if math.isfinite(at) and math.isfinite(value) and 0 <= at < 2**33:
                found.append((float(at), float(value)))
    return tuple(sorted(found))


def _name(labels: Mapping[str, str]) -> str:
    told = ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name not in ("__name__", "job"))
    return words.visible(words.short(told or labels.get("__name__") or "value", 60))  # type: ignore[no-any-return]


def _threshold(rule: Rule | None) -> float | None:
    if rule is None:
        return None
    try:
        part = promql.split(rule.expr)
        value = float(part.right) if part.operator in promql.COMPARISONS else math.nan
    except (UsageError, ValueError):
        return None
    return value if math.isfinite(value) else None


# ---------------------------------------------------------------- drawing


def svg(chart: Chart, mark: datetime | None, *, dark: bool) -> bytes:
    """Return the chart as an SVG document, without script.

    Args:
        chart: what to draw.
        mark: a moment to mark: since when the alert fires; left out where it lies outside of the chart.
        dark: whether it is for dark paper.
    """
    colours = _DARK if dark else _LIGHT
    first, last = chart.lines[0].points[0][0], max(line.points[-1][0] for line in chart.lines)
    low, high = _range(chart)
    drawn = _pygal().XY(
        style=_style(chart, colours),
        width=chart.size[0],
        height=chart.size[1],
        margin=6,
        show_legend=len(chart.lines) > 1,
        legend_at_bottom=True,
        legend_at_bottom_columns=4,
        legend_box_size=9,
        truncate_legend=30,
        show_dots=False,
        js=(),
        no_prefix=True,
        xrange=(first, max(last, first + 1)),
        range=(low, high),
        x_labels=_ticks(first, last, 3 if chart.small else 6),
        y_labels=[low, (low + high) / 2, high],
        x_value_formatter=lambda at: datetime.fromtimestamp(at, UTC).strftime("%H:%M"),
        value_formatter=chart.marked,
        show_x_guides=False,
        print_values=False,
    )
    for line in chart.lines:
        drawn.add(line.name, list(line.points), fill=len(chart.lines) == 1)
    if chart.threshold is not None:
        drawn.add(None, [(first, chart.threshold), (last, chart.threshold)], stroke_style={"width": 1.5, "dasharray": "6,4"})
    if mark is not None and first <= mark.timestamp() <= last:
        drawn.add(None, [(mark.timestamp(), low), (mark.timestamp(), high)], stroke_style={"width": 1.5, "dasharray": "2,3"})
    drawn.add_xml_filter(lambda root: _described(root, chart))
    return bytes(drawn.render())


@functools.cache
def _pygal() -> Any:
    """Return pygal, loaded once.

    It adds a finder of its own plug-ins to Python's import that speaks a protocol Python has dropped: with it, every import that finds
    nothing warns. No plug-in is used, so the finder is taken out again.
    """
    import pygal  # type: ignore[import-untyped]

    sys.meta_path[:] = [finder for finder in sys.meta_path if type(finder).__module__ != "pygal"]
    return pygal


def _style(chart: Chart, colours: Mapping[str, Any]) -> Any:
    style = _pygal().style.Style
    lines = tuple(colours["lines"][number % len(colours["lines"])] for number in range(len(chart.lines)))
    return style(
        background="transparent",
        plot_background="transparent",
        foreground=colours["ink"],
        foreground_strong=colours["ink"],
        foreground_subtle=colours["line"],
        guide_stroke_color=colours["line"],
        major_guide_stroke_color=colours["line"],
        guide_stroke_dasharray="0",
        major_guide_stroke_dasharray="0",
        colors=(*lines, colours["bad"], colours["bad"]),
        font_family="Inter, system-ui, sans-serif",
        label_font_size=12,
        major_label_font_size=12,
        legend_font_size=12,
        opacity=".14",
        opacity_hover=".14",
        stroke_opacity="1",
        stroke_width=2,
    )


def _range(chart: Chart) -> tuple[float, float]:
    values = [value for line in chart.lines for value in line.values]
    values += [chart.threshold] if chart.threshold is not None else []
    low, high = min(values), max(values)
    if chart.share or (low >= 0 and high <= 1):
        return 0.0, 1.0
    low = 0.0 if 0 <= low <= high * 0.6 else low
    if high <= low:
        return low - 1, high + 1
    grain = 10 ** math.floor(math.log10(high - low)) / 2  # the axis ends at round numbers
    return math.floor(low / grain) * grain, math.ceil(high / grain) * grain


def _ticks(first: float, last: float, most: int) -> list[float]:
    step = next((step for step in _STEPS_S if (last - first) / step <= most), _STEPS_S[-1])
    begin = math.ceil(first / step) * step
    return [begin + number * step for number in range(int((last - begin) // step) + 1)] or [first]


def _described(root: Any, chart: Chart) -> Any:
    """Take pygal's script out, and say what the image shows."""
    from xml.etree import ElementTree as ET

    for parent in list(root.iter()):
        for child in list(parent):
            if isinstance(child.tag, str) and child.tag.rpartition("}")[2] == "script":
                parent.remove(child)
    root.set("role", "img")
    for index, (tag, said) in enumerate((("title", chart.title), ("desc", chart.sentence))):
        element = ET.Element(tag)
        element.text = "".join(character for character in words.visible(said) if character.isprintable())
        root.insert(index, element)
    return root
