"""The users to evaluate, their events before the cut, and what they actually did next."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from recsys.contract.features_info import SplitInfo
from recsys.contract.histories import Histories, ranges

Part = Literal["valid", "test"]


@dataclasses.dataclass(frozen=True)
class Targets:
    """The users to evaluate, and what they actually did next.

    Attributes:
        rows: int64 [users], row numbers in the histories, ascending
        user_index: int32 [users]
        context_lengths: int64 [users], events before the cut
        offsets: int64 [users + 1] of `items`
        items: int32 [targets], each user's in time order
    """

    rows: NDArray[np.int64]
    user_index: NDArray[np.int32]
    context_lengths: NDArray[np.int64]
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]


MAX_USERS: Final = 50_000


def find_targets(
    histories: Histories, part: Part, max_users: int = MAX_USERS, seed: int = 0, since: int | None = None
) -> Targets:
    """The users with an event in a part, and those events, which a method must find.

    The context is everything before the part: the training events for "valid", training and validation events for "test".

    Args:
        histories: all events, with the split positions.
        part: "valid" or "test".
        max_users: maximum number of users, sampled without replacement.
        seed: of that draw.
        since: events of the part before this moment, in seconds, are not targets, unless there are no others.
    """
    starts, ends = _bounds(histories, part)
    first = starts
    if since is not None:
        early = np.concatenate(([0], np.cumsum(histories.timestamps < since)))
        later = np.clip(early[histories.offsets[1:]] - early[histories.offsets[:-1]], starts, ends)
        first = later if np.any(ends > later) else starts
    rows = np.flatnonzero(ends > first)
    if len(rows) > max_users:
        rows = np.sort(np.random.default_rng(seed).choice(rows, max_users, replace=False))
    chosen, starts, lengths = histories.rows(rows), starts[rows], (ends - first)[rows]
    items = chosen.items[ranges(chosen.offsets[:-1] + first[rows], lengths)]
    owners = np.repeat(np.arange(len(chosen)), lengths)
    keep = ~_already_had(chosen, starts, owners, items)
    counts = np.bincount(owners[keep], minlength=len(chosen))
    kept = counts > 0
    return Targets(
        rows=rows[kept],
        user_index=chosen.user_index[kept],
        context_lengths=starts[kept],
        offsets=np.concatenate(([0], np.cumsum(counts[kept]))),
        items=items[keep],
    )


def decisive_from(split: SplitInfo) -> int | None:
    """The moment, in seconds, from which validation events count: with global-time, after the first quarter of their span.

    Items popular at the cut dominate the days right after it and matter little later. Test events lie further from their cut
    than validation events from theirs, because their span is longer; ignoring the earliest validation events makes the two
    distances more alike.

    Args:
        split: as it was applied.

    Returns:
        None for other splits.
    """
    if split.valid_from is None or split.test_from is None:
        return None
    return int(split.valid_from + (split.test_from - split.valid_from) / 4)


def contexts(histories: Histories, targets: Targets, block: int) -> Iterator[tuple[slice, Histories]]:
    """The evaluated users' events before the cut, `block` users at a time, as (their slice of the targets, events)."""
    for start in range(0, len(targets.rows), block):
        place = slice(start, start + block)
        yield place, histories.rows(targets.rows[place]).head(targets.context_lengths[place])


def training_counts(histories: Histories, n_items: int) -> tuple[NDArray[np.int64], int]:
    """Training users of each item, int64 [items + 1], and the number of users with a training event."""
    items = histories.items[ranges(histories.offsets[:-1], histories.train_length)]
    return np.bincount(items, minlength=n_items + 1), int(np.count_nonzero(histories.train_length))


def _bounds(histories: Histories, part: Part) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the part begins and ends in each user's history, int64 [users] each."""
    train = histories.train_length.astype(np.int64)
    valid = histories.valid_length.astype(np.int64)
    return (train, valid) if part == "valid" else (valid, histories.lengths.astype(np.int64))


def _already_had(
    histories: Histories, starts: NDArray[np.int64], owners: NDArray[np.int64], items: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Which targets are already in the context. Cleaning removes duplicates, but metrics should not rely on that."""
    width = int(histories.items.max(initial=0)) + 1
    had = histories.items[ranges(histories.offsets[:-1], starts)]
    keys = np.repeat(np.arange(len(histories), dtype=np.int64), starts) * width + had
    found: NDArray[np.bool_] = np.isin(owners * width + items, keys)
    return found
