"""The data and its faults: rows set aside, gaps, how long histories and how popular items are."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.contract.features_info import FeaturesInfo
from recsys.report import cells, charts
from recsys.report.cells import Cell, Table
from recsys.report.event_profile import EventProfile
from recsys.report.figures import HALF, Drawing
from recsys.report.gathering import Gathered

LENGTHS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Histories are counted by length from each of these to before the next one."""
MOST_BARS: Final = 60
"""Bars over time; each is some whole days wide."""
MOST_SPANS: Final = 12
"""Rows of the table of events over time."""
SHARES: Final = (0.01, 0.1, 0.2, 0.5)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def tables(found: Gathered) -> dict[str, Table]:
    """The tables by name."""
    return {
        "quality": _quality(found),
        "rejected": _rejected(found.info),
        "unknown": _unknown(found.events),
        "lengths": _lengths(found.events),
        "ranks": _ranks(found.events),
        "time": _time(found.events),
    }


def drawings(found: Gathered) -> dict[str, Drawing]:
    """The charts by name, of what there is."""
    made = {
        "ranks": charts.ranks("ranks", "Events of each item by its rank; both axes in powers of ten", found.events.item_events),
        "lengths": _draw_lengths(found.events),
    }
    if len(found.events.days):
        made["time"] = _draw_time(found.events)
    return made


def day(number: int) -> str:
    """A day, counted from 1970-01-01, as a date; one that no calendar has as its number."""
    try:
        return (_EPOCH + timedelta(days=int(number))).date().isoformat()
    except OverflowError:
        return f"day {number}"


def _quality(found: Gathered) -> Table:
    events, info = found.events, found.info
    gap, begins = events.longest_gap
    told = {
        "users without history": f"{events.without_history:,} of {info.users:,}"
        f" ({cells.share(events.without_history / max(1, info.users))})",
        "users with too few events to learn from": f"{info.skipped_users:,} (fewer than {info.min_user_events})",
        "items without an event": f"{events.without_events:,} of {info.items:,}"
        f" ({cells.share(events.without_events / max(1, info.items))})",
        "items without a title": cells.share(events.without_title),
        "ratings": "yes" if info.has_ratings else "none: each event counts as 1",
        "duplicates set aside": cells.count(info.rejected.get("interactions", {}).get("duplicate", 0)),
    }
    if len(events.days):
        told["first and last day"] = f"{day(events.days[0])} to {day(events.days[-1])}"
        told["days without an event"] = cells.count(events.days[-1] - events.days[0] + 1 - len(events.days))
        told["longest gap"] = f"{gap:,} days from {day(begins)}" if gap else "none"
    return cells.pairs("Data quality", told)


def _rejected(info: FeaturesInfo) -> Table:
    rows: list[list[Cell | str]] = [
        [cells.words(table), Cell(cells.words(reason), "words"), cells.count(number)]
        for table, reasons in info.rejected.items()
        for reason, number in reasons.items()
    ]
    return cells.table("Rows set aside", ("table", "reason", "rows"), rows)


def _unknown(events: EventProfile) -> Table:
    rows: list[list[Cell | str]] = [
        [table, Cell(cells.words(name), "words"), cells.share(part)]
        for table, features in events.unknown.items()
        for name, part in features.items()
    ]
    return cells.table("Rows without a known value", ("table", "feature", "without a value"), rows)


def _length_bins(events: EventProfile) -> tuple[list[str], list[int]]:
    edges = [0, *LENGTHS]
    names = [f"{low}" if high - low == 1 else f"{low}-{high - 1}" for low, high in itertools.pairwise(edges)]
    counts = np.histogram(events.lengths[1:], [*edges, np.inf])[0]
    last = int(np.flatnonzero(counts).max(initial=0))
    return [*names, f"{edges[-1]}+"][: last + 1], counts[: last + 1].tolist()


def _lengths(events: EventProfile) -> Table:
    names, counts = _length_bins(events)
    total = max(1, sum(counts))
    rows = [[name, cells.count(number), cells.share(number / total)] for name, number in zip(names, counts, strict=True)]
    return cells.table("Users by length of history", ("events", "users", "share"), rows)


def _draw_lengths(events: EventProfile) -> Drawing:
    names, counts = _length_bins(events)
    rows = [f"{name} events" for name in names]
    return charts.bars("lengths", "Users by number of events", rows, [("Users by length of history", counts, ",")], HALF)


def _ranks(events: EventProfile) -> Table:
    ordered = np.sort(events.item_events[1:])[::-1]
    total = max(1, int(ordered.sum()))
    rows = []
    for part in SHARES:
        most = int(np.ceil(part * len(ordered)))
        rows.append([f"the most popular {part:.0%}", cells.count(most), cells.share(ordered[:most].sum() / total)])
    return cells.table("How events spread over items", ("items", "number", "share of the events"), rows)


def _time_bins(events: EventProfile, most: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Days at which at most so many equal spans begin and end, and the events of each span."""
    first, last = int(events.days[0]), int(events.days[-1]) + 1
    width = -(-(last - first) // most)
    edges = np.arange(first, last + width, width)
    return edges, np.histogram(events.days, edges, weights=events.day_events)[0].astype(np.int64)


def _time(events: EventProfile) -> Table:
    edges, counts = _time_bins(events, MOST_SPANS) if len(events.days) else ((), ())
    spans = itertools.pairwise(edges)
    rows = [[f"{day(low)} to {day(high - 1)}", cells.count(number)] for (low, high), number in zip(spans, counts, strict=True)]
    return cells.table("Events over time", ("days", "events"), rows)


def _draw_time(events: EventProfile) -> Drawing:
    edges, counts = _time_bins(events, MOST_BARS)
    width = int(edges[1] - edges[0])
    places = edges[np.unique(np.linspace(0, len(edges) - 1, 6).astype(int)[:-1])]
    label = f"Events over time, {width} day{'s' if width > 1 else ''} a bar"
    return charts.over_time("time", label, edges.astype(float), counts.tolist(), {float(one): day(one) for one in places})
