"""Item-to-item transitions with decay: what comes soon after the items that the user had last."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.config import Config
from recsys.contract.histories import Histories, ranges
from recsys.methods import counting

GRID: Final = ((10, 0.7, 0.3), (10, 0.7, 0.0), (5, 0.5, 0.3), (20, 0.85, 0.3), (50, 0.95, 0.3), (50, 0.95, 0.5))
"""(window, decay, balance)."""


@dataclasses.dataclass(frozen=True)
class Transitions:
    """Transition model of higher order.

    Attributes:
        name: of the method
        rows: CSR float32 [items + 1, items + 1], normalised counts of what follows item i in row i
        window: last events of the context that count
        decay: factor for each step back
        popular: float32 [items + 1], for users without events
    """

    name: str
    rows: sparse.csr_matrix
    window: int
    decay: float
    popular: NDArray[np.float32]

    def score(self, context: Histories) -> NDArray[np.float32]:
        """Σ decay^lag · rows[item at that lag], lag 1 being the last event; float32 [users, items + 1]."""
        recent = recent_events(context, len(self.popular) - 1, self.window, self.decay)
        return counting.fall_back((recent @ self.rows).toarray(), self.popular)


def fit(
    train: Histories, n_items: int, window: int = GRID[0][0], decay: float = GRID[0][1], balance: float = GRID[0][2]
) -> Transitions:
    """Fits the transition counts and normalises them.

    Args:
        train: the training part.
        n_items: size of the catalogue.
        window: greatest lag that is counted, and number of last events that vote.
        decay: weight of a lag relative to the one before.
        balance: see `normalise`.
    """
    counts = matrix(train, n_items, window, decay)
    return Transitions("transitions", normalise(counts, balance), window, decay, counting.popularity(train, n_items))


def matrix(train: Histories, n_items: int, window: int, decay: float) -> sparse.csr_matrix:
    """Decayed transition counts: Σ decay^(lag - 1) over all pairs of events of one user where j comes `lag` ≤ `window` after i.

    Memory grows with the distinct pairs, at most `window` times the events, 8 bytes each.

    Returns:
        CSR float32 [items + 1, items + 1], entry (i, j); row and column 0 are empty.
    """
    shape = (n_items + 1, n_items + 1)
    owners = np.repeat(np.arange(len(train), dtype=np.int32), train.lengths)
    total = sparse.csr_matrix(shape, dtype=np.float32)
    for lag in range(1, window + 1):
        pairs = np.flatnonzero(owners[:-lag] == owners[lag:])
        weights = np.full(len(pairs), decay ** (lag - 1), np.float32)
        total = total + sparse.coo_matrix((weights, (train.items[pairs], train.items[pairs + lag])), shape=shape).tocsr()
    return total


def normalise(counts: sparse.csr_matrix, balance: float = 0.0) -> sparse.csr_matrix:
    """Counts (i, j) divided by (sum of row i)^(1 - balance) · (sum of column j)^balance.

    0 gives each row the sum 1: the chance that j follows i, a Markov chain's estimate. 0.5 is the cosine, which holds popular
    items back.
    """
    rows = np.asarray(counts.sum(axis=1), np.float64).ravel() ** (1 - balance)
    columns = np.asarray(counts.sum(axis=0), np.float64).ravel() ** balance
    scaled = counts.copy()
    scaled.data = (counts.data / (np.repeat(rows, np.diff(counts.indptr)) * columns[counts.indices])).astype(np.float32)
    return scaled


def recent_events(context: Histories, n_items: int, window: int, decay: float) -> sparse.csr_matrix:
    """decay^lag at the last `window` items of each user, lag 1 being the last; CSR float32 [users, items + 1]."""
    lengths = np.minimum(context.lengths, window)
    events = ranges(context.offsets[1:] - lengths, lengths)
    lags = np.repeat(context.offsets[1:], lengths) - events
    weights = np.power(decay, lags).astype(np.float32)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    return sparse.csr_matrix((weights, context.items[events], offsets), shape=(len(context), n_items + 1))


def candidates(
    train: Histories,
    n_items: int,
    config: Config,
    progress: Callable[[str], None],
    grid: Sequence[tuple[int, float, float]] = GRID,
) -> Iterator[counting.Candidate]:
    """One candidate for each point of the grid."""
    for window, decay, balance in grid:
        model = fit(train, n_items, window, decay, balance)
        yield counting.Candidate({"window": window, "decay": decay, "balance": balance}, model)
