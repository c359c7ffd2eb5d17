"""Item-to-item transitions with decay: what tends to follow the user's last items."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.config import Config
from recsys.contract.histories import Histories, ranges
from recsys.methods import counting
from recsys.methods.base import DEFAULTS, Point, TraditionalMethod
from recsys.progress import Log, silent

DENSE_BYTES: Final = 256 << 20
"""Maximum memory for rows that are kept as dense ones."""


@dataclasses.dataclass(frozen=True)
class Divided:
    """Rows of transitions as the product with them is fast: a sparse one takes about 20 times as long for an entry.

    Attributes:
        chosen: int64 [chosen], the fullest rows, ascending.
        dense: them, float32 [chosen, width] for each tile of columns.
        rest: all other rows, CSR float32 [items + 1, width] for each tile.
    """

    chosen: NDArray[np.int64]
    dense: Sequence[NDArray[np.float32]]
    rest: Sequence[sparse.csr_matrix]


def divide(rows: sparse.csr_matrix, width: int) -> Divided:
    """CSR float32 [items + 1, items + 1] in tiles of so many columns, the last one filled up with zeros."""
    filled, columns = np.diff(rows.indptr), rows.shape[1]
    fullest = np.argsort(-filled, kind="stable")[: DENSE_BYTES // (4 * columns)]
    chosen = np.sort(fullest[filled[fullest] > columns / 20])
    kept = np.repeat(~np.isin(np.arange(len(filled)), chosen), filled)
    filled[chosen] = 0
    ends = np.concatenate(([0], np.cumsum(filled)))
    tiled = (columns, -(-columns // width) * width)
    rest = sparse.csr_matrix((rows.data[kept], rows.indices[kept], ends), shape=tiled)
    full = rows[chosen]
    full.resize(len(chosen), tiled[1])
    firsts = range(0, tiled[1], width)
    return Divided(
        chosen,
        [full[:, first : first + width].toarray() for first in firsts],
        [rest[:, first : first + width] for first in firsts] if len(firsts) > 1 else [rest],
    )


@dataclasses.dataclass(frozen=True)
class Transitions(TraditionalMethod):
    """Higher-order transition model.

    Attributes:
        rows: CSR float32 [items + 1, items + 1]; row i has the normalised counts of what follows item i
        window: number of last events used from a context, and the largest lag counted
        decay: weight of a lag relative to the previous one
        popular: float32 [items + 1], for users without events
    """

    rows: sparse.csr_matrix
    window: int
    decay: float
    popular: NDArray[np.float32]

    name: ClassVar[str] = "transitions"
    GRID: ClassVar[Sequence[Point]] = tuple(
        {"window": window, "decay": decay, "balance": balance}
        for window, decay, balance in (
            *((10, 0.7, 0.3), (10, 0.7, 0.0), (5, 0.5, 0.3)),
            *((20, 0.85, 0.3), (50, 0.95, 0.3), (50, 0.95, 0.5)),
        )
    )

    @classmethod
    def fit(
        cls, events: Histories, n_items: int, points: Sequence[Point], config: Config = DEFAULTS, log: Log = silent
    ) -> Iterator[Self]:
        """See TraditionalMethod.fit; for `balance` see `normalise`."""
        popular = counting.popularity(events, n_items)
        for point in points:
            window, decay = int(point["window"]), point["decay"]
            counts = matrix(events, n_items, window, decay)
            yield cls(normalise(counts, point["balance"]), window, decay, popular)

    def score(self, context: Histories) -> NDArray[np.float32]:
        """Σ decay^lag · rows[item at that lag], where lag 1 is the last event; float32 [users, items + 1]."""
        return counting.fall_back(self.score_known(context), self.popular)

    def score_known(self, context: Histories) -> NDArray[np.float32]:
        """`score` without the fallback: zeros if nothing was counted."""
        (scores,) = self.tiles(context, self._whole)
        return scores

    def tiles(self, context: Histories, divided: Divided) -> Iterator[NDArray[np.float32]]:
        """`score_known` in tiles, float32 [users, width] each."""
        recent = recent_events(context, len(self.popular) - 1, self.window, self.decay)
        of_dense = recent[:, divided.chosen]
        for dense, rest in zip(divided.dense, divided.rest, strict=True):
            scores: NDArray[np.float32] = of_dense @ dense
            others = recent @ rest
            places = np.repeat(np.arange(len(context)) * scores.shape[1], np.diff(others.indptr)) + others.indices
            scores.reshape(-1)[places] += others.data  # no place twice
            yield scores

    @cached_property
    def _whole(self) -> Divided:
        return divide(self.rows, self.rows.shape[1])


def matrix(events: Histories, n_items: int, window: int, decay: float) -> sparse.csr_matrix:
    """Decayed transition counts: Σ decay^(lag - 1) over all pairs of a user's events in which j is `lag` ≤ `window` after i.

    Memory grows with the distinct pairs, at most `window` times the number of events, 8 bytes each.

    Returns:
        CSR float32 [items + 1, items + 1], entry (i, j); row and column 0 are empty.
    """
    shape = (n_items + 1, n_items + 1)
    owners = np.repeat(np.arange(len(events), dtype=np.int32), events.lengths)
    total = sparse.csr_matrix(shape, dtype=np.float32)
    for lag in range(1, window + 1):
        pairs = np.flatnonzero(owners[:-lag] == owners[lag:])
        weights = np.full(len(pairs), decay ** (lag - 1), np.float32)
        total = total + sparse.coo_matrix((weights, (events.items[pairs], events.items[pairs + lag])), shape=shape).tocsr()
    return total


def normalise(counts: sparse.csr_matrix, balance: float = 0.0) -> sparse.csr_matrix:
    """Counts (i, j) divided by (sum of row i)^(1 - balance) · (sum of column j)^balance.

    With 0, rows sum to 1: the probability that j follows i, as in a Markov chain. 0.5 is the cosine, which penalises popular
    items.
    """
    rows = np.asarray(counts.sum(axis=1), np.float64).ravel() ** (1 - balance)
    columns = np.asarray(counts.sum(axis=0), np.float64).ravel() ** balance
    scaled = counts.copy()
    scaled.data = (counts.data / (np.repeat(rows, np.diff(counts.indptr)) * columns[counts.indices])).astype(np.float32)
    return scaled


def recent_events(context: Histories, n_items: int, window: int, decay: float) -> sparse.csr_matrix:
    """decay^lag at the last `window` items of each user, where lag 1 is the last; CSR float32 [users, items + 1]."""
    lengths = np.minimum(context.lengths, window)
    events = ranges(context.offsets[1:] - lengths, lengths)
    lags = np.repeat(context.offsets[1:], lengths) - events
    weights = np.power(decay, lags).astype(np.float32)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    return sparse.csr_matrix((weights, context.items[events], offsets), shape=(len(context), n_items + 1))


METHOD: Final = Transitions
