"""Finds the moments at which validation and test begin in a split by time, exactly and in bounded memory.

The events are counted in spans of time, each partition when it is made. The span that holds the wanted moment is divided again,
until it is one second: for all events one pass for each moment, seldom two. There are never more than MERGED times SPANS spans
on the driver, however many timestamps there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np

from recsys.features.chunks import Chunk

if TYPE_CHECKING:
    from pyspark import RDD

COARSE: Final = 1 << 13
"""Most spans of a partition when it is made. They are of 2^k seconds: a day and a half for 18 to 34 years."""

SPANS: Final = 1 << 17
"""Most spans of a histogram of later passes: a day and a half in seconds."""

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


def share(partitions: int) -> int:
    """Most spans of each of so many partitions."""
    return max(2, min(COARSE, MERGED * SPANS // partitions))


def count(histories: Sequence[Chunk], min_user_events: int, most: int) -> bytes:
    """At most so many spans of one partition, for `overview`: of the timestamps of users with at least so many events."""
    times = np.concatenate([np.zeros(0, np.int64), *(_learned_times(chunk, min_user_events) for chunk in histories)])
    return _grouped(times, *_coarse(times, most)).tobytes()


def overview(parts: Iterable[bytes], most: int) -> np.ndarray:
    """The spans of all partitions together, see `Histogram`.

    Args:
        parts: what `count` gives for each.
        most: as it was told: spans of a part must not be wider than those of the whole.
    """
    spans = _restored(parts)
    return _merged(spans, *_coarse(spans[:, :2], most))


def spans_of(histories: RDD[Chunk], min_user_events: int, whole: np.ndarray) -> Histogram:
    """The histogram of the timestamps in histories, of the users with at least so many events.

    Args:
        histories: the events.
        min_user_events: see above.
        whole: their overview, which answers for all of them without a pass.
    """

    def histogram(first: int, last: int) -> np.ndarray:
        if first <= whole[0, 0] and whole[-1, 1] <= last:
            return whole
        width = (last - first) // SPANS + 1
        work = partial(_between, first=first, last=last, width=width, least=min_user_events)
        return _merged(_restored(histories.coalesce(MERGED).mapPartitions(work).collect()), first, width)

    return histogram


def _learned_times(chunk: Chunk, min_user_events: int) -> np.ndarray:
    learned = chunk.lengths >= min_user_events
    return chunk.timestamps if learned.all() else chunk.timestamps[np.repeat(learned, chunk.lengths)]


def _between(histories: Iterator[Chunk], first: int, last: int, width: int, least: int) -> Iterator[bytes]:
    """The spans of all chunks from `first` to `last`."""
    found = []
    for chunk in histories:
        times = _learned_times(chunk, least)
        found.append(_grouped(times[(times >= first) & (times <= last)], first, width))
    yield _merged(np.concatenate([_restored([]), *found]), first, width).tobytes()


def _restored(parts: Iterable[bytes]) -> np.ndarray:
    """Spans [spans, 3] from their bytes."""
    return np.concatenate([np.zeros((0, 3), np.int64), *(np.frombuffer(part, np.int64).reshape(-1, 3) for part in parts)])


def _coarse(times: np.ndarray, most: int) -> tuple[int, int]:
    """Start and width of at most so many spans for some times: 2^k seconds, so that narrower spans lie within wider ones."""
    if not times.size:
        return 0, 1
    first, last, width = int(times.min()), int(times.max()), 1
    while last // width - first // width >= most:
        width *= 2
    return first // width * width, width


def _grouped(times: np.ndarray, start: int, width: int) -> np.ndarray:
    """The spans of some timestamps, of that width, counted from `start`."""
    number = (times - start) // width
    counts = np.bincount(number)
    first, last = np.full(len(counts), np.iinfo(np.int64).max), np.full(len(counts), np.iinfo(np.int64).min)
    np.minimum.at(first, number, times)
    np.maximum.at(last, number, times)
    return np.stack([first, last, counts], axis=1)[counts > 0]


def _merged(spans: np.ndarray, start: int, width: int) -> np.ndarray:
    """Spans that begin in the same one of that width, counted from `start`, as one; ascending."""
    ordered = spans[np.argsort(spans[:, 0], kind="stable")]
    number = (ordered[:, 0] - start) // width
    starts = np.flatnonzero(np.concatenate([[True], number[1:] != number[:-1]])[: len(number)])
    columns = [
        ordered[starts, 0],
        np.maximum.reduceat(ordered[:, 1], starts),
        np.add.reduceat(ordered[:, 2], starts),
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
