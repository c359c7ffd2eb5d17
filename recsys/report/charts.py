"""The charts: points with intervals, lines, bars. Each takes plain numbers and returns a Drawing."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.report import figures
from recsys.report.figures import FIRST, GRID, HALF, MUTED, PAGE, SECOND, THIRD, WIDE, Drawing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW: Final = 0.3
"""Height of a row of points, in inches."""
_HEAD: Final = 0.36
"""For the titles of the panels."""
_LEGEND: Final = 0.3
_FOOT: Final = 0.32
"""For the numbers of the axis."""
_CHARACTER: Final = 0.078
_LONGEST: Final = 28
_LOOKS: Final = ((FIRST, "o", FIRST), (SECOND, "s", PAGE), (THIRD, "D", PAGE))
"""Colour, marker and its filling, by series: told apart without colour, too."""


@dataclasses.dataclass(frozen=True)
class Points:
    """One series of points with intervals.

    Attributes:
        name: in the legend; empty without one.
        values: one for each row; None leaves the row out.
        low, high: ends of the intervals.
    """

    name: str
    values: Sequence[float | None]
    low: Sequence[float]
    high: Sequence[float]


@dataclasses.dataclass(frozen=True)
class Panel:
    """Points side by side with those of other panels, on the same rows.

    Attributes:
        title: above.
        series: at most three.
        line: where a vertical line is drawn; None: nowhere.
        emphasis: by row, whether the marker is filled; None: by series.
    """

    title: str
    series: Sequence[Points]
    line: float | None = None
    emphasis: Sequence[bool] | None = None


def points(name: str, label: str, rows: Sequence[str], panels: Sequence[Panel], width: float = WIDE) -> Drawing:
    """Panels of points with intervals, one row for each label, the first one on top.

    Args:
        name: see figures.render.
        label: what it shows.
        rows: labels.
        panels: from left to right; they share the rows.
        width: in inches.
    """
    labels = [_cut(row) for row in rows]
    left = 0.25 + _CHARACTER * max(map(len, labels), default=0)
    legend = any(one.name for panel in panels for one in panel.series)
    head = _HEAD + (_LEGEND if legend else 0.0)
    height = head + _FOOT + _ROW * max(len(rows), 1)
    figure = figures.blank(width, height)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    figure.subplots_adjust(left / width, _FOOT / height, 1 - 0.15 / width, 1 - head / height, wspace=0.12)
    for ax, panel in zip(axes, panels, strict=True):
        _panel(ax, panel, len(rows))
    axes[0].set_yticks(range(len(rows)), labels)
    axes[0].set_ylim(len(rows) - 0.5, -0.5)
    if legend:
        _legend(figure, panels[0].series, left / width)
    return figures.render(figure, name, label)


def curves(name: str, label: str, panels: Sequence[tuple[str, Mapping[str, Sequence[tuple[float, float]]]]]) -> Drawing:
    """Lines over epochs.

    Args:
        name, label: see figures.render.
        panels: title and, by the name of the line, its (epoch, value).
    """
    figure = figures.blank(WIDE, 3.0)
    axes = figure.subplots(1, len(panels), squeeze=False)[0]
    figure.subplots_adjust(0.06, 0.16, 0.985, 0.88, wspace=0.16)
    for ax, (title, lines) in zip(axes, panels, strict=True):
        for (line, found), (colour, marker, _) in zip(lines.items(), _LOOKS, strict=False):
            place = np.array(found)
            ax.plot(place[:, 0], place[:, 1], color=colour, marker=marker, markersize=3.5, label=line)
        ax.set_title(title)
        ax.set_xlabel("epoch")
        ax.locator_params(axis="x", integer=True)
        if len(lines) > 1:
            ax.legend(loc="upper right")
    return figures.render(figure, name, label)


def ranks(name: str, label: str, item_events: NDArray[np.int64]) -> Drawing:
    """Events of each item over its rank by popularity, both in powers of ten."""
    found = np.sort(item_events[item_events > 0])[::-1]
    figure, ax = _single(HALF, 3.0)
    if len(found):
        # A few hundred points look the same as all of them.
        place = np.unique(np.geomspace(1, len(found), 300).round().astype(np.int64))
        ax.plot(place, found[place - 1], color=FIRST, marker="o" if len(found) == 1 else "")
        ax.set_xscale("log")
        ax.set_yscale("log")
        _powers(ax)
    ax.set_title("Events by item")
    ax.set_xlabel("rank of the item, the most popular first")
    return figures.render(figure, name, label)


def bars(
    name: str, label: str, names: Sequence[str], panels: Sequence[tuple[str, Sequence[float], str]], width: float
) -> Drawing:
    """Bars to the right, a row for each name and a panel for each quantity, whose values stand beside the bars.

    Args:
        name, label: see figures.render.
        names: of the rows.
        panels: title, values by row, and the format of a value.
        width: in inches.
    """
    height = _HEAD + _FOOT + _ROW * max(len(names), 1)
    figure = figures.blank(width, height)
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    left = 0.25 + _CHARACTER * max(map(len, names), default=0)
    figure.subplots_adjust(left / width, _FOOT / height, 1 - 0.1 / width, 1 - _HEAD / height, wspace=0.12)
    for ax, (title, values, form) in zip(axes, panels, strict=True):
        ax.barh(range(len(names)), values, color=FIRST, height=0.66)
        for row, value in enumerate(values):
            ax.annotate(format(value, form), (value, row), (4, 0), textcoords="offset points", va="center")
        ax.set_xlim(0, 1.2 * (max(values, default=0) or 1))
        ax.set_title(title)
        ax.grid(visible=False, axis="y")
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=5)
        _thousands(ax.xaxis)
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    return figures.render(figure, name, label)


def over_time(name: str, label: str, days: NDArray[np.float64], counts: Sequence[int], ticks: dict[float, str]) -> Drawing:
    """Bars over time without gaps between them.

    Args:
        name, label: see figures.render.
        days: ends of the bars, one more than there are bars.
        counts: of events.
        ticks: names of some moments.
    """
    figure, ax = _single(WIDE, 2.4)
    ax.stairs(counts, days, color=FIRST, fill=True)
    ax.set_xlim(days[0], days[-1])
    ax.set_xticks(list(ticks), list(ticks.values()), ha="left")
    ax.grid(visible=False, axis="x")
    _thousands(ax.yaxis)
    ax.set_title("Events over time")
    return figures.render(figure, name, label)


def shares(name: str, label: str, rows: Mapping[str, Sequence[float]], parts: Sequence[str]) -> Drawing:
    """One bar of length 1 for each row, divided into parts."""
    labels = list(rows)
    height = 0.95 + 0.42 * len(rows)
    figure = figures.blank(WIDE, height)
    ax = figure.add_subplot()
    left = 0.25 + _CHARACTER * max(map(len, labels))
    figure.subplots_adjust(left / WIDE, 0.4 / height, 1 - 0.25 / WIDE, 1 - 0.5 / height)
    start = np.zeros(len(rows))
    for place, (part, (colour, _, _)) in enumerate(zip(parts, _LOOKS, strict=True)):
        size = np.array([found[place] for found in rows.values()])
        ax.barh(range(len(rows)), size, left=start, color=colour, edgecolor=PAGE, linewidth=1.5, height=0.62, label=part)
        for row, (begin, width) in enumerate(zip(start, size, strict=True)):
            if width >= 0.06:
                ax.text(begin + width / 2, row, f"{width:.0%}", color=PAGE, ha="center", va="center")
        start += size
    ax.set_yticks(range(len(rows)), labels)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(0, 1)
    ax.set_xticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)])
    ax.grid(visible=False, axis="y")
    figure.legend(loc="upper left", ncols=len(parts), bbox_to_anchor=(left / WIDE - 0.01, 1.0))
    return figures.render(figure, name, label)


def _panel(ax: Axes, panel: Panel, rows: int) -> None:
    if panel.line is not None:
        ax.axvline(panel.line, color=MUTED, linewidth=1.2, linestyle=(0, (4, 3)))
    offsets = (np.arange(len(panel.series)) - (len(panel.series) - 1) / 2) * 0.3
    for series, offset, (colour, marker, filling) in zip(panel.series, offsets, _LOOKS, strict=False):
        for row in range(rows):
            value = series.values[row]
            if value is None:
                continue
            filled = filling if panel.emphasis is None else colour if panel.emphasis[row] else PAGE
            ax.plot([series.low[row], series.high[row]], [row + offset] * 2, color=colour, solid_capstyle="butt")
            ax.plot([value], [row + offset], marker, color=colour, markerfacecolor=filled, markersize=5.5, markeredgewidth=1.4)
    ax.set_title(panel.title)
    ax.grid(axis="y", color=GRID, linewidth=0.6)
    ax.tick_params(axis="y", length=0)
    ax.locator_params(axis="x", nbins=5)


def _legend(figure: Figure, series: Sequence[Points], left: float) -> None:
    """The names of the series, above the panels."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, markerfacecolor=filling, markersize=5.5, label=_cut(one.name))
        for one, (colour, marker, filling) in zip(series, _LOOKS, strict=False)
    ]
    figure.legend(handles=handles, loc="upper left", ncols=len(handles), bbox_to_anchor=(left - 0.01, 1.0))


def _single(width: float, height: float) -> tuple[Figure, Axes]:
    figure = figures.blank(width, height)
    figure.subplots_adjust(0.75 / width, 0.55 / height, 1 - 0.12 / width, 1 - 0.38 / height)
    return figure, figure.add_subplot()


def _thousands(axis: Any) -> None:
    from matplotlib.ticker import StrMethodFormatter

    axis.set_major_formatter(StrMethodFormatter("{x:,g}"))


def _powers(ax: Axes) -> None:
    from matplotlib.ticker import NullFormatter

    for axis in (ax.xaxis, ax.yaxis):
        _thousands(axis)
        axis.set_minor_formatter(NullFormatter())


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
