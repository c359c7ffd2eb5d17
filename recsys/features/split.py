"""Divides every history into training, validation and test part. A part is a range of positions, so a split is two numbers.

* leave-one-out: the last event is the test, the one before validation; users with fewer than three events train only.
* per-user-ratio: the last `test_fraction` of each history, rounded up, is the test, and `valid_fraction` of the rest, rounded
  up, validation; at least one event stays in the training part.
* global-time: events at or after a moment `test_from` are the test, those in [valid_from, test_from) validation. The moments
  are edges of 4096 equal spans of time between the first and the last event, chosen so that the shares come closest to the
  fractions; events of the first span always train.
* none: everything is training part.

Users with fewer than `min_user_events` events have no test and no validation part; see `in_training`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

from recsys.config import Split
from recsys.contract.schema import TIMESTAMP

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

SPANS: Final = 4096


@dataclasses.dataclass(frozen=True)
class Cut:
    """A split, ready to be applied.

    Attributes:
        split: method and fractions.
        min_user_events: users with fewer events neither train nor are evaluated.
        valid_from: seconds, with global-time only.
        test_from: seconds, with global-time only.
    """

    split: Split
    min_user_events: int
    valid_from: int | None = None
    test_from: int | None = None


def prepare(events: DataFrame, split: Split, min_user_events: int, earliest: int, latest: int) -> Cut:
    """The split of these events; with global-time one pass over them finds the moments.

    Args:
        events: with a column `timestamp` in seconds.
        split: method and fractions.
        min_user_events: see `Cut`.
        earliest: least timestamp.
        latest: greatest timestamp.
    """
    from pyspark.sql import functions as F

    if split.method != "global-time":
        return Cut(split, min_user_events)
    width = (latest - earliest) // SPANS + 1
    span = F.floor((F.col(TIMESTAMP) - earliest) / width).cast("int")
    counts = {row[0]: row[1] for row in events.groupBy(span.alias("span")).count().collect()}
    valid_span, test_span = moments(counts, split.valid_fraction, split.test_fraction)
    return Cut(split, min_user_events, earliest + valid_span * width, earliest + test_span * width)


def moments(counts: dict[int, int], valid_fraction: float, test_fraction: float) -> tuple[int, int]:
    """The spans at which validation and test begin: at least 1, at most one after the last.

    Args:
        counts: events of each span, from 0; absent means none.
        valid_fraction: of the events that are not test events.
        test_fraction: of all events.
    """
    last = max(counts)
    before = [0]
    for span in range(last + 1):
        before.append(before[-1] + counts.get(span, 0))
    total = before[-1]
    test = min(range(1, last + 2), key=lambda span: (abs(total - before[span] - test_fraction * total), -span))
    wanted = valid_fraction * before[test]
    valid = min(range(1, test + 1), key=lambda span: (abs(before[test] - before[span] - wanted), -span))
    return valid, test


def lengths(cut: Cut, length: Column, timestamps: Column) -> tuple[Column, Column]:
    """train_length and valid_length of a history, int32.

    Args:
        cut: the split.
        length: number of its events.
        timestamps: array of its timestamps, ascending.
    """
    from pyspark.sql import functions as F

    train, valid = _positions(cut.split, length)
    if cut.valid_from is not None and cut.test_from is not None:
        valid_from, test_from = F.lit(cut.valid_from), F.lit(cut.test_from)
        train = F.size(F.filter(timestamps, lambda moment: moment < valid_from))
        valid = F.size(F.filter(timestamps, lambda moment: moment < test_from))
    skipped = length < cut.min_user_events
    return tuple(F.when(skipped, length).otherwise(part).cast("int") for part in (train, valid))  # type: ignore[return-value]


def in_training(cut: Cut, length: Column, position: Column, timestamp: Column) -> Column:
    """Whether an event belongs to what is learned from: the training part of a user with enough events.

    Users with fewer than `min_user_events` events are left out of all statistics: with global-time, theirs would show the
    future.

    Args:
        cut: the split.
        length: number of events in the event's history.
        position: of the event in it, from 0.
        timestamp: of the event, seconds.
    """
    before = position < _positions(cut.split, length)[0] if cut.valid_from is None else timestamp < cut.valid_from
    return before & (length >= cut.min_user_events)


def _positions(split: Split, length: Column) -> tuple[Column, Column]:
    from pyspark.sql import functions as F

    if split.method == "leave-one-out":
        return (
            F.when(length < 3, length).otherwise(length - 2),
            F.when(length < 3, length).otherwise(length - 1),
        )
    if split.method == "per-user-ratio":
        valid = length - F.least(_share(length, split.test_fraction), length - 1)
        return valid - F.least(_share(valid, split.valid_fraction), valid - 1), valid
    return length, length


def _share(length: Column, fraction: float) -> Column:
    """The fraction of a length, rounded up; a product that is whole but for the rounding of floats is not rounded up."""
    from pyspark.sql import functions as F

    return F.ceil(length * fraction - 1e-9).cast("int")
