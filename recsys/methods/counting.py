"""What several methods share: popularity, sparse event matrices, their Gram matrix in blocks, the fallback."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.contract.histories import Histories, ranges
from recsys.contract.schema import DAY

GRAM_ENTRIES: Final = 20_000_000
"""Maximum number of entries in one block of a Gram matrix, 8 bytes each."""


def popularity(events: Histories, n_items: int) -> NDArray[np.float32]:
    """Events of each item, float32 [items + 1]."""
    return np.bincount(events.items, minlength=n_items + 1).astype(np.float32)


def recent_events(events: Histories, n_items: int, half_life_days: float) -> NDArray[np.float64]:
    """Events of each item, each weighted by 2^(-age / half-life), with age relative to the last event; float64 [items + 1]."""
    age = (events.timestamps.max(initial=0) - events.timestamps) / DAY
    return np.bincount(events.items, np.exp2(-age / half_life_days), minlength=n_items + 1).astype(np.float64)


def sample_users(events: Histories, max_events: int, seed: int) -> Histories:
    """A random sample of users with at most `max_events` events in total; all users if they have no more."""
    if len(events.items) <= max_events:
        return events
    order = np.random.default_rng(seed).permutation(len(events))
    return events.rows(np.sort(order[np.cumsum(events.lengths[order]) <= max_events]))


def interactions(histories: Histories, n_items: int, max_events: int | None = None) -> sparse.csr_matrix:
    """1 if the user had the item, CSR float32 [users, items + 1]; only each user's last `max_events`, if given."""
    lengths = histories.lengths if max_events is None else np.minimum(histories.lengths, max_events)
    items = histories.items[ranges(histories.offsets[1:] - lengths, lengths)]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    shape = (len(histories), n_items + 1)
    return sparse.csr_matrix((np.ones(len(items), np.float32), items, offsets), shape=shape)


def gram_blocks(events: sparse.csr_matrix) -> Iterator[tuple[int, int, sparse.csr_matrix]]:
    """XᵀX of events X [users, items] in blocks of rows of bounded size: (start, end, CSR [end - start, items])."""
    by_item = events.T.tocsr()
    users = np.diff(events.indptr)
    work = np.minimum(by_item @ users, events.shape[1])  # upper bound of the entries in each item's row
    ends = np.cumsum(work)
    start = 0
    while start < events.shape[1]:
        done = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, done + GRAM_ENTRIES, side="right")))
        yield start, end, by_item[start:end] @ events
        start = end


def fall_back(scores: NDArray[np.float32], popular: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores, with all-zero rows (users without an event known to the method) replaced by popularity."""
    scores[:, 0] = 0
    scores[~scores.any(axis=1)] = popular
    return scores
