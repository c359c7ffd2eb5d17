"""EASE: a linear item-to-item model in closed form."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from recsys.config import Config
from recsys.contract.histories import Histories
from recsys.errors import RecsysError
from recsys.methods import counting

GRID: Final = (300.0, 30.0, 100.0, 1000.0)
"""L2 penalties."""
MAX_COLUMNS: Final = 10_000
"""Only so many of the most popular items take part: memory grows with their square (2 GB at 10,000), time with their cube."""


@dataclasses.dataclass(frozen=True)
class Ease:
    """Linear model.

    Attributes:
        name: of the method
        columns: int64 [columns], the items that take part, rising
        weights: float32 [columns, columns], zero diagonal
        popular: float32 [items + 1], for users without events
    """

    name: str
    columns: NDArray[np.int64]
    weights: NDArray[np.float32]
    popular: NDArray[np.float32]

    def score(self, context: Histories) -> NDArray[np.float32]:
        """Events times weights, float32 [users, items + 1]; items without a column come after all others, by popularity."""
        known = self.score_columns(context)
        scores = np.zeros((len(context), len(self.popular)), np.float32)
        if len(self.columns) < len(self.popular) - 1:
            tail = self.popular / (self.popular.max() + 1)  # below 1
            scores += known.min(axis=1, keepdims=True) - 1 + tail
            scores[~known.any(axis=1)] = 0
        scores[:, self.columns] = known
        return counting.fall_back(scores, self.popular)

    def score_columns(self, context: Histories) -> NDArray[np.float32]:
        """Events times weights for the items that take part alone, float32 [users, columns]."""
        events = counting.interactions(context, len(self.popular) - 1)
        known: NDArray[np.float32] = events[:, self.columns] @ self.weights
        return known


def fit(train: Histories, n_items: int, penalty: float = GRID[0], max_columns: int = MAX_COLUMNS) -> Ease:
    """Solves min ||X - XB||² + penalty · ||B||² with a zero diagonal of B, X being the training events.

    B = -P / diag(P) (column-wise, diagonal 0), P = (XᵀX + penalty · I)⁻¹ (Steck, "Embarrassingly shallow autoencoders for
    sparse data", WWW 2019). The inverse is taken in float64 by Cholesky, in place.

    Args:
        train: the training part.
        n_items: size of the catalogue.
        penalty: L2 penalty, in users.
        max_columns: only so many of the most popular items take part.
    """
    columns, gram = _gram(train, n_items, max_columns)
    return Ease("ease", columns, _solve(gram, penalty), counting.popularity(train, n_items))


def candidates(
    train: Histories, n_items: int, config: Config, progress: Callable[[str], None], grid: Sequence[float] = GRID
) -> Iterator[counting.Candidate]:
    """One candidate for each penalty of the grid."""
    columns, gram = _gram(train, n_items, MAX_COLUMNS)
    popular = counting.popularity(train, n_items)
    for penalty in grid:
        yield counting.Candidate({"penalty": penalty}, Ease("ease", columns, _solve(gram, penalty), popular))


def _gram(train: Histories, n_items: int, max_columns: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The columns and XᵀX over them, float32 [columns, columns] (counts below 2^24 are exact)."""
    counts = np.bincount(train.items, minlength=n_items + 1)[1:]
    columns = np.sort(np.argsort(-counts, kind="stable")[:max_columns]) + 1
    events = counting.interactions(train, n_items)[:, columns]
    gram = np.zeros((len(columns), len(columns)), np.float32)
    for start, end, block in counting.gram_blocks(events):
        gram[start:end] = block.toarray()
    return columns, gram


def _solve(gram: NDArray[np.float32], penalty: float) -> NDArray[np.float32]:
    """B for one penalty, float32 [columns, columns]."""
    inverse = np.array(gram, np.float64, order="F")
    np.einsum("ii->i", inverse)[:] += penalty
    inverse, failed = linalg.lapack.dpotrf(inverse, lower=1, overwrite_a=1)
    if not failed:
        inverse, failed = linalg.lapack.dpotri(inverse, lower=1, overwrite_c=1)
    if failed:
        raise RecsysError(f"EASE's Gram matrix is not positive definite with penalty {penalty}; use a greater one")
    for row in range(len(inverse)):
        inverse[row, row + 1 :] = inverse[row + 1 :, row]
    weights = np.empty(gram.shape, np.float32)
    np.divide(inverse, -np.diag(inverse), out=weights, casting="same_kind")
    np.fill_diagonal(weights, 0)
    return weights
