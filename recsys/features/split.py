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

import numpy as np

from recsys.config import Split
from recsys.features import moments
from recsys.features.chunks import Chunk


@dataclasses.dataclass(frozen=True)
class Cut:
    """A split, ready to be applied.

    Attributes:
        split: method and fractions.
        min_user_events: users with fewer events neither train nor are evaluated.
        valid_from: seconds; None unless the method is global-time.
        test_from: seconds; None unless the method is global-time.
        since: see SplitInfo.
    """

    split: Split
    min_user_events: int
    valid_from: int | None = None
    test_from: int | None = None
    since: int | None = None

    @property
    def holds_out(self) -> bool:
        """Whether some events are kept from training."""
        return self.split.method != "none"


def prepare(
    histogram: moments.Histogram,
    split: Split,
    min_user_events: int,
    earliest: int,
    latest: int,
    since: int | None = None,
    most_new: float = 1.0,
) -> Cut:
    """The split of some events; global-time makes a few passes over them to find its moments.

    After `since`, the last moment that an earlier network has learned, the fractions are of the later events alone, which are
    all that can measure what goes on from that network. If these are too few for split.min_events, or more than a share of
    `most_new`, `since` is passed over.

    Args:
        histogram: of the timestamps of the users who are learned from, at least one.
        split: method and fractions.
        min_user_events: see `Cut`.
        earliest: no timestamp is less.
        latest: no timestamp is greater.
        since: seconds, or None.
        most_new: see config.Refresh.max_new.
    """
    fractions = split.valid_fraction, split.test_fraction

    def events(first: int, last: int) -> int:
        return int(histogram(first, last)[:, 2].sum()) if first <= last else 0

    later = 0 if since is None else events(since + 1, latest)
    if later > most_new * events(earliest, latest):
        later = 0
    if split.method != "global-time":
        return Cut(split, min_user_events, since=since if later else None)
    if since is not None and later:
        valid_from, test_from = moments.find(histogram, since + 1, latest, *fractions)
        if min(events(valid_from, test_from - 1), events(test_from, latest)) >= max(1, split.min_events):
            return Cut(split, min_user_events, valid_from, test_from, since)
    return Cut(split, min_user_events, *moments.find(histogram, earliest, latest, *fractions))


def lengths(cut: Cut, histories: Chunk) -> tuple[np.ndarray, np.ndarray]:
    """train_length and valid_length of each history; int64 [users]."""
    length = histories.lengths
    if cut.valid_from is None or cut.test_from is None:
        train, valid = _positions(cut.split, length)
    else:
        starts = histories.offsets[:-1]
        train, valid = (
            np.add.reduceat(histories.timestamps < moment, starts, dtype=np.int64) for moment in (cut.valid_from, cut.test_from)
        )
    few = ~learned(cut.min_user_events, length)
    return np.where(few, length, train), np.where(few, length, valid)


def learned(min_user_events: int, length: np.ndarray) -> np.ndarray:
    """Whether the users of histories of these lengths are learned from; bool [users]."""
    return length >= min_user_events


def training(cut: Cut, histories: Chunk) -> np.ndarray:
    """Which events are in the training part of a user who is learned from; bool [events].

    The others are left out of all statistics: their whole history counts as training part, which would leak the future.
    """
    train, _ = lengths(cut, histories)
    train = np.where(learned(cut.min_user_events, histories.lengths), train, 0)
    return histories.positions < np.repeat(train, histories.lengths)


def _positions(split: Split, length: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if split.method == "leave-one-out":
        long = length >= 3
        return length - 2 * long, length - long
    if split.method == "per-user-ratio":
        valid = length - np.minimum(_share(length, split.test_fraction), length - 1)
        return valid - np.minimum(_share(valid, split.valid_fraction), valid - 1), valid
    return length, length


def _share(length: np.ndarray, fraction: float) -> np.ndarray:
    """The fraction of a length, rounded up; the small difference keeps float error from rounding up a whole number."""
    return np.ceil(length * fraction - 1e-9).astype(np.int64)
