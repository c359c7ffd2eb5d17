"""Divides every history into training, validation and test part. A part is a range of positions, so a split is two numbers.

* leave-one-out: the last event is the test, the one before it validation; users with fewer than three events only train.
* per-user-ratio: the last `test_fraction` of each history, rounded up, is the test, and `valid_fraction` of the rest, rounded
  up, is validation; at least one event trains.
* global-time: events at or after the moment `test_from` are the test, those in [valid_from, test_from) validation. The moments
  are those at which the shares of the events come closest to the fractions; see recsys.features.moments.
* none: all events train.

Users with fewer than `min_user_events` events have neither a validation nor a test part, and nothing is learned from them.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from recsys.config import Split
from recsys.features import moments

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


@dataclasses.dataclass(frozen=True)
class Cut:
    """A split, ready to be applied.

    Attributes:
        split: method and fractions.
        min_user_events: users with fewer events neither train nor are evaluated.
        valid_from: seconds; None unless the method is global-time.
        test_from: seconds; None unless the method is global-time.
    """

    split: Split
    min_user_events: int
    valid_from: int | None = None
    test_from: int | None = None

    @property
    def holds_out(self) -> bool:
        """Whether some events are kept from training."""
        return self.split.method != "none"


def prepare(events: DataFrame, split: Split, min_user_events: int, earliest: int, latest: int) -> Cut:
    """The split of these events; global-time makes a few passes over them to find its moments.

    Args:
        events: of the users who are learned from, at least one, with a column `timestamp` in seconds; cached.
        split: method and fractions.
        min_user_events: see `Cut`.
        earliest: no timestamp is less.
        latest: no timestamp is greater.
    """
    if split.method != "global-time":
        return Cut(split, min_user_events)
    found = moments.find(moments.spans_of(events), earliest, latest, split.valid_fraction, split.test_fraction)
    return Cut(split, min_user_events, *found)


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
    train, valid = (F.when(learned(cut.min_user_events, length), part).otherwise(length).cast("int") for part in (train, valid))
    return train, valid


def learned(min_user_events: int, length: Column) -> Column:
    """Whether the user of a history of that length is learned from."""
    return length >= min_user_events


def in_training(cut: Cut, length: Column, position: Column, timestamp: Column) -> Column:
    """Whether an event is in the training part of a user who is learned from.

    The others are left out of all statistics: their whole history counts as training part, which would leak the future.

    Args:
        cut: the split.
        length: number of events in the event's history.
        position: of the event in it, from 0.
        timestamp: of the event, seconds.
    """
    before = position < _positions(cut.split, length)[0] if cut.valid_from is None else timestamp < cut.valid_from
    return before & learned(cut.min_user_events, length)


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
    """The fraction of a length, rounded up; the small difference keeps float error from rounding up a whole number."""
    from pyspark.sql import functions as F

    return F.ceil(length * fraction - 1e-9).cast("int")
