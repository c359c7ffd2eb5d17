"""ItemKNN: items similar to those the user has had, by the cosine between their sets of users."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.config import Config
from recsys.contract.histories import Histories
from recsys.methods import counting
from recsys.methods.base import DEFAULTS, Point, TraditionalMethod
from recsys.progress import Log, silent

MAX_EVENTS: Final = 1000
"""Only this many of a user's last events enter the similarities: the work grows with their square."""


@dataclasses.dataclass(frozen=True)
class ItemKNN(TraditionalMethod):
    """Neighbourhood model (Deshpande and Karypis, "Item-based top-N recommendation algorithms", TOIS 2004).

    An item's score is the sum of its similarities to those of its neighbours that the user has had:
    similarity(i, j) = C(i, j) / (sqrt(C(i, i) · C(j, j)) + shrinkage), where C(i, j) is the number of users who had both. Each
    item keeps its `neighbours` most similar items; `shrinkage` pulls similarities based on few users towards 0.

    Attributes:
        similarity: CSR float32 [items + 1, items + 1]; column j holds the neighbours of item j
        popular: float32 [items + 1], for users without events
    """

    similarity: sparse.csr_matrix
    popular: NDArray[np.float32]

    name: ClassVar[str] = "item-knn"
    GRID: ClassVar[Sequence[Point]] = tuple(
        {"neighbours": neighbours, "shrinkage": shrinkage}
        for neighbours, shrinkage in ((50, 10.0), (20, 10.0), (100, 10.0), (300, 10.0), (100, 100.0))
    )

    @classmethod
    def fit(
        cls, events: Histories, n_items: int, points: Sequence[Point], config: Config = DEFAULTS, log: Log = silent
    ) -> Iterator[Self]:
        """See TraditionalMethod.fit; all points come from one pass over the Gram matrix."""
        matrix = counting.interactions(events, n_items, MAX_EVENTS)
        norms = np.sqrt(np.bincount(matrix.indices, minlength=n_items + 1)).astype(np.float32)
        parts: list[list[sparse.csr_matrix]] = [[] for _ in points]
        for start, end, counts in counting.gram_blocks(matrix):
            rows = np.repeat(np.arange(start, end), np.diff(counts.indptr))
            counts.data[rows == counts.indices] = 0
            for kept, point in zip(parts, points, strict=True):
                similar = counts.copy()
                similar.data /= norms[rows] * norms[counts.indices] + np.float32(point["shrinkage"])
                kept.append(_keep_largest(similar, int(point["neighbours"])))
        popular = counting.popularity(events, n_items)
        while parts:
            by_item = sparse.vstack(parts.pop(0), format="csr", dtype=np.float32)  # row j: the neighbours of item j
            yield cls(by_item.T.tocsr(), popular)

    def score(self, context: Histories) -> NDArray[np.float32]:
        """Sum of the similarities to the items in the context, float32 [users, items + 1]."""
        events = counting.interactions(context, len(self.popular) - 1)
        return counting.fall_back((events @ self.similarity).toarray(), self.popular)


def _keep_largest(matrix: sparse.csr_matrix, keep: int) -> sparse.csr_matrix:
    """The `keep` largest entries of each row."""
    for row in np.flatnonzero(np.diff(matrix.indptr) > keep):
        data = matrix.data[matrix.indptr[row] : matrix.indptr[row + 1]]
        data[np.argpartition(data, len(data) - keep)[: len(data) - keep]] = 0
    matrix.eliminate_zeros()
    return matrix


METHOD: Final = ItemKNN
