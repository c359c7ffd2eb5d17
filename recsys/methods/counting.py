"""What the baselines share: sparse matrices of events, their Gram matrix in blocks, and the fallback to popularity."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.contract.histories import Histories, ranges
from recsys.measure.protocol import Scorer

GRAM_ENTRIES: Final = 20_000_000
"""Most entries of one block of a Gram matrix, 8 bytes each."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A fitted method and the point of its grid."""

    parameters: Mapping[str, float]
    scorer: Scorer


def popularity(train: Histories, n_items: int) -> NDArray[np.float32]:
    """Training events of each item, float32 [items + 1]."""
    return np.bincount(train.items, minlength=n_items + 1).astype(np.float32)


def interactions(histories: Histories, n_items: int, max_events: int | None = None) -> sparse.csr_matrix:
    """1 where the user had the item, CSR float32 [users, items + 1]; only the last `max_events` of each user, if given."""
    lengths = histories.lengths if max_events is None else np.minimum(histories.lengths, max_events)
    items = histories.items[ranges(histories.offsets[1:] - lengths, lengths)]
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    shape = (len(histories), n_items + 1)
    return sparse.csr_matrix((np.ones(len(items), np.float32), items, offsets), shape=shape)


def gram_blocks(events: sparse.csr_matrix) -> Iterator[tuple[int, int, sparse.csr_matrix]]:
    """XᵀX of events X [users, items], as blocks of rows (start, end, CSR [end - start, items]), each of bounded size."""
    by_item = events.T.tocsr()
    users = np.diff(events.indptr)
    work = np.minimum(by_item @ users, events.shape[1])  # at most so many entries in the row of each item
    ends = np.cumsum(work)
    start = 0
    while start < events.shape[1]:
        done = ends[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(ends, done + GRAM_ENTRIES, side="right")))
        yield start, end, by_item[start:end] @ events
        start = end


def fall_back(scores: NDArray[np.float32], popular: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores with the rows that say nothing (all zeros: no event, or none that the method knows) replaced by popularity."""
    scores[:, 0] = 0
    scores[~scores.any(axis=1)] = popular
    return scores
