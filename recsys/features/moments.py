"""Finds the moments at which validation and test begin in a split by time, exactly and in bounded memory.

The events are counted in spans of time. The span that holds the wanted moment is divided again, until it is one second: two or
three passes over the events, and never more than MERGED times SPANS spans on the driver, however many timestamps there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from recsys.features.chunks import Chunk

if TYPE_CHECKING:
    from pyspark import RDD

SPANS: Final = 1 << 16
"""Spans of one histogram. All of 1970 to 2100 takes two rounds to reach single seconds."""

MERGED: Final = 64
"""Partitions are counted in at most so many tasks, each of which gives the driver one histogram."""

Histogram = Callable[[int, int], np.ndarray]
"""Counts the events in the closed interval of its arguments: int64 [spans, 3], the first and the last timestamp that occurs in
each span and its number of events; disjoint, ascending, none empty. Several timestamps must fall into several spans."""


def find(histogram: Histogram, earliest: int, latest: int, valid_fraction: float, test_fraction: float) -> tuple[int, int]:
    """The moments (valid_from, test_from) that come closest to the wanted shares.

    Each is the timestamp of an event, or lies just behind the part that it divides where that leaves the later part empty. Of
    two moments equally close, the later is taken. The earliest event always trains.

    Args:
        histogram: see `Histogram`.
        earliest: a timestamp, no event is before it.
        latest: a timestamp, no event is after it.
        valid_fraction: wanted share of validation among the events before `test_from`.
        test_fraction: wanted share of test among all events.
    """
    spans = histogram(earliest, latest)
    spans, test_from = _moment(spans, test_fraction, int(spans[-1, 1]) + 1, histogram)
    before = spans[spans[:, 0] < test_from]
    return _moment(before, valid_fraction, test_from, histogram)[1], test_from


def spans_of(histories: RDD[Chunk], min_user_events: int) -> Histogram:
    """The histogram of the timestamps in histories, of the users with at least so many events."""

    def histogram(first: int, last: int) -> np.ndarray:
        work = partial(_spans, first=first, last=last, width=(last - first) // SPANS + 1, least=min_user_events)
        found = histories.coalesce(MERGED).mapPartitions(work).collect()
        return _merged([np.frombuffer(spans, np.int64).reshape(-1, 4) for spans in found])[:, 1:]

    return histogram


def _spans(histories: Iterator[Chunk], first: int, last: int, width: int, least: int) -> Iterator[bytes]:
    """One array int64 [spans, 4] for all chunks: number of the span, first and last timestamp, events."""
    found = _merged([])
    for chunk in histories:
        times = chunk.timestamps[np.repeat(chunk.lengths >= least, chunk.lengths)]
        times = np.sort(times[(times >= first) & (times <= last)])
        span = (times - first) // width
        starts = np.flatnonzero(np.diff(span, prepend=-1))
        ends = np.append(starts[1:], len(times))
        if len(times):
            found = _merged([found, np.stack([span[starts], times[starts], times[ends - 1], ends - starts], axis=1)])
    yield found.tobytes()


def _merged(parts: list[np.ndarray]) -> np.ndarray:
    """Spans of the same number as one, in order of their number."""
    whole = np.concatenate([np.zeros((0, 4), np.int64), *parts])
    whole = whole[np.argsort(whole[:, 0], kind="stable")]
    starts = np.flatnonzero(np.diff(whole[:, 0], prepend=-1))
    columns = [
        whole[starts, 0],
        np.minimum.reduceat(whole[:, 1], starts),
        np.maximum.reduceat(whole[:, 2], starts),
        np.add.reduceat(whole[:, 3], starts),
    ]
    return np.stack(columns, axis=1)


def _moment(spans: np.ndarray, fraction: float, end: int, histogram: Histogram) -> tuple[np.ndarray, int]:
    """The moment from which on the share of the events comes closest to `fraction`, and the spans as refined on the way.

    Args:
        spans: all events to divide, see `Histogram`.
        fraction: wanted share, as the decimal number that was written.
        end: the moment that leaves the later part empty.
        histogram: divides a span further.
    """
    total = int(spans[:, 2].sum())
    wanted = Fraction(repr(fraction)) * total
    while True:
        before = np.cumsum(spans[:, 2]) - spans[:, 2]
        # The last timestamp from which on there are more events than wanted lies in this span; the next one has too few.
        place = int(np.searchsorted(before, math.ceil(total - wanted))) - 1
        first, last, events = (int(value) for value in spans[place])
        if first == last:
            break
        spans = np.concatenate([spans[:place], histogram(first, last), spans[place + 1 :]])
    later = int(spans[place + 1, 0]) if place + 1 < len(spans) else end
    rest = total - int(before[place])
    closer = rest - wanted < wanted - (rest - events)
    return spans, first if place > 0 and closer else later
