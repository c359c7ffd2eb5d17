"""ItemKNN: items like those that the user had, by the cosine of the sets of their users."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.config import Config
from recsys.contract.histories import Histories
from recsys.methods import counting

GRID: Final = ((50, 10.0), (20, 10.0), (100, 10.0), (300, 10.0), (100, 100.0))
"""(neighbours, shrinkage)."""
MAX_EVENTS: Final = 1000
"""Only the last so many events of a user go into the similarities: the work grows with their square."""


@dataclasses.dataclass(frozen=True)
class ItemKNN:
    """Neighbourhood model.

    Attributes:
        name: of the method
        similarity: CSR float32 [items + 1, items + 1], column j holds the neighbours of item j
        popular: float32 [items + 1], for users without events
    """

    name: str
    similarity: sparse.csr_matrix
    popular: NDArray[np.float32]

    def score(self, context: Histories) -> NDArray[np.float32]:
        """Sum of the similarities to the items of the context, float32 [users, items + 1]."""
        events = counting.interactions(context, len(self.popular) - 1)
        return counting.fall_back((events @ self.similarity).toarray(), self.popular)


def fit(train: Histories, n_items: int, neighbours: int = GRID[0][0], shrinkage: float = GRID[0][1]) -> ItemKNN:
    """Fits the neighbours of every item (Deshpande and Karypis, "Item-based top-N recommendation algorithms", TOIS 2004).

    An item's score is the sum of its similarities to those of its own neighbours that the user had.
    similarity(i, j) = C(i, j) / (sqrt(C(i, i) · C(j, j)) + shrinkage), C(i, j) being the training users who had both; each
    item has its most similar `neighbours`.

    Args:
        train: the training part.
        n_items: size of the catalogue.
        neighbours: kept for each item.
        shrinkage: pulls similarities that rest on few users towards 0.
    """
    return next(_fit_all(train, n_items, ((neighbours, shrinkage),)))


def candidates(
    train: Histories, n_items: int, config: Config, progress: Callable[[str], None], grid: Sequence[tuple[int, float]] = GRID
) -> Iterator[counting.Candidate]:
    """One candidate for each pair of the grid; all come from one pass over the Gram matrix."""
    for (neighbours, shrinkage), model in zip(grid, _fit_all(train, n_items, grid), strict=True):
        yield counting.Candidate({"neighbours": neighbours, "shrinkage": shrinkage}, model)


def _fit_all(train: Histories, n_items: int, grid: Sequence[tuple[int, float]]) -> Iterator[ItemKNN]:
    events = counting.interactions(train, n_items, MAX_EVENTS)
    norms = np.sqrt(np.bincount(events.indices, minlength=n_items + 1)).astype(np.float32)
    parts: list[list[sparse.csr_matrix]] = [[] for _ in grid]
    for start, end, counts in counting.gram_blocks(events):
        rows = np.repeat(np.arange(start, end), np.diff(counts.indptr))
        counts.data[rows == counts.indices] = 0
        for kept, (neighbours, shrinkage) in zip(parts, grid, strict=True):
            similar = counts.copy()
            similar.data /= norms[rows] * norms[counts.indices] + np.float32(shrinkage)
            kept.append(_keep_largest(similar, neighbours))
    popular = counting.popularity(train, n_items)
    while parts:
        by_item = sparse.vstack(parts.pop(0), format="csr", dtype=np.float32)  # row j: the neighbours of item j
        yield ItemKNN("item-knn", by_item.T.tocsr(), popular)


def _keep_largest(matrix: sparse.csr_matrix, keep: int) -> sparse.csr_matrix:
    """The `keep` largest entries of each row."""
    for row in np.flatnonzero(np.diff(matrix.indptr) > keep):
        data = matrix.data[matrix.indptr[row] : matrix.indptr[row + 1]]
        data[np.argpartition(data, len(data) - keep)[: len(data) - keep]] = 0
    matrix.eliminate_zeros()
    return matrix
