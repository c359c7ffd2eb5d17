"""EASE: a linear item-to-item model in closed form."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from recsys.config import Config
from recsys.contract.histories import Histories
from recsys.errors import RecsysError
from recsys.methods import counting
from recsys.methods.base import DEFAULTS, Point, TraditionalMethod
from recsys.progress import Log, silent

MAX_COLUMNS: Final = 10_000
"""Only this many of the most popular items are used: memory grows with their square (2 GB at 10,000), time with their cube."""


@dataclasses.dataclass(frozen=True)
class Ease(TraditionalMethod):
    """min ||X - XB||² + penalty · ||B||² over B with a zero diagonal, where X holds the users' events.

    B = -P / diag(P) (column-wise, diagonal 0), P = (XᵀX + penalty · I)⁻¹ (Steck, "Embarrassingly shallow autoencoders for
    sparse data", WWW 2019). The inverse is computed in float64 by Cholesky, in place.

    Attributes:
        columns: int64 [columns], the items used, ascending
        weights: float32 [columns, columns], B
        popular: float32 [items + 1], for users without events
    """

    columns: NDArray[np.int64]
    weights: NDArray[np.float32]
    popular: NDArray[np.float32]

    name: ClassVar[str] = "ease"
    GRID: ClassVar[Sequence[Point]] = tuple({"penalty": penalty} for penalty in (300.0, 30.0, 100.0, 1000.0))

    @classmethod
    def fit(
        cls, events: Histories, n_items: int, points: Sequence[Point], config: Config = DEFAULTS, log: Log = silent
    ) -> Iterator[Self]:
        """See TraditionalMethod.fit. `penalty` is the L2 weight, in users; the first point's `max_columns` applies to all."""
        columns, gram = _gram(events, n_items, int(points[0].get("max_columns", MAX_COLUMNS)))
        popular = counting.popularity(events, n_items)
        for point in points:
            yield cls(columns, _solve(gram, point["penalty"]), popular)

    def score(self, context: Histories) -> NDArray[np.float32]:
        """Events times B, float32 [users, items + 1]; items without a column rank after all others, by popularity."""
        known = self.score_columns(context)
        scores = np.zeros((len(context), len(self.popular)), np.float32)
        if len(self.columns) < len(self.popular) - 1:
            tail = self.popular / (self.popular.max() + 1)  # below 1
            scores += known.min(axis=1, keepdims=True) - 1 + tail
            scores[~known.any(axis=1)] = 0
        scores[:, self.columns] = known
        return counting.fall_back(scores, self.popular)

    def score_columns(self, context: Histories) -> NDArray[np.float32]:
        """Events times B, only for the items used, float32 [users, columns]."""
        events = counting.interactions(context, len(self.popular) - 1)
        known: NDArray[np.float32] = events[:, self.columns] @ self.weights
        return known


def _gram(events: Histories, n_items: int, max_columns: int) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The columns and XᵀX over them, float32 [columns, columns] (counts below 2^24 are exact)."""
    counts = np.bincount(events.items, minlength=n_items + 1)[1:]
    columns = np.sort(np.argsort(-counts, kind="stable")[:max_columns]) + 1
    matrix = counting.interactions(events, n_items)[:, columns]
    gram = np.zeros((len(columns), len(columns)), np.float32)
    for start, end, block in counting.gram_blocks(matrix):
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
        raise RecsysError(f"EASE's Gram matrix is not positive definite with penalty {penalty}; use a larger one")
    for row in range(len(inverse)):
        inverse[row, row + 1 :] = inverse[row + 1 :, row]
    weights = np.empty(gram.shape, np.float32)
    np.divide(inverse, -np.diag(inverse), out=weights, casting="same_kind")
    np.fill_diagonal(weights, 0)
    return weights


METHOD: Final = Ease
