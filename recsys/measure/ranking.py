"""The best K items of each row of a score matrix: exact, deterministic, seen items excluded."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.contract.histories import Histories
from recsys.errors import RecsysError

BLOCK_BYTES: Final = 128 << 20
"""Maximum size of one block of scores; several are at work at the same time."""
BLOCK_USERS: Final = 1024
"""Maximum number of users in one block of scores, or one tile of them (methods.tiles)."""


def seen(context: Histories) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The items that users have had, as pairs of row and item index."""
    return np.repeat(np.arange(len(context)), context.lengths), context.items


def top_k(
    scores: NDArray[np.float32], rows: NDArray[np.integer], cols: NDArray[np.integer], k: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The k best items of each row; ties go to the lower item index.

    Args:
        scores: float32 [users, items + 1], used as scratch: column 0 (padding) and the seen items are overwritten with -inf.
            A score of -inf also excludes an item.
        rows, cols: integers [seen], the items to exclude, as pairs of row and item index.
        k: length of the lists.

    Returns:
        Items int32 [users, k], best first, and their scores float32 [users, k]. If fewer than k items remain, the list is
        padded with item 0 and score -inf.

    Raises:
        RecsysError: a score is NaN or +inf.
    """
    scores[:, 0] = -np.inf
    if scores.size:
        check_finite(scores.max())  # NaN wins every comparison in NumPy's max
    scores[rows, cols] = -np.inf
    users, columns = scores.shape
    taken = min(k, columns)
    items = _unordered(scores, taken) if taken < columns else np.tile(np.arange(columns), (users, 1))
    items.sort(axis=1)
    values = np.take_along_axis(scores, items, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    best = np.zeros((users, k), np.int32)
    best_scores = np.full((users, k), -np.inf, np.float32)
    best_scores[:, :taken] = np.take_along_axis(values, order, axis=1)
    best[:, :taken] = np.take_along_axis(items, order, axis=1)
    best[np.isneginf(best_scores)] = 0
    return best, best_scores


def check_finite(highest: float) -> None:
    """Refuses scores of which the highest is given.

    Raises:
        RecsysError: it is NaN or +inf.
    """
    if np.isnan(highest) or highest == np.inf:
        raise RecsysError(f"the model returned the score {highest}, expected finite scores; its training has diverged")


def block_rows(n_items: int) -> int:
    """Users to score at once so that float32 scores [users, n_items + 1] stay within `BLOCK_BYTES`."""
    return max(1, min(BLOCK_USERS, BLOCK_BYTES // (4 * (n_items + 1))))


def _unordered(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Items of the k best scores of each row in any order, ties at the k-th place resolved: int64 [users, k]."""
    columns = scores.shape[1]
    chosen: NDArray[np.int64] = np.argpartition(scores, columns - k, axis=1)[:, columns - k :]
    border = np.take_along_axis(scores, chosen, axis=1).min(axis=1, keepdims=True)
    at_least = np.count_nonzero(scores >= border, axis=1)
    tied = np.flatnonzero((at_least > k) & ~np.isneginf(border[:, 0]))
    if len(tied):
        above = scores[tied] > border[tied]
        equal = scores[tied] == border[tied]
        places = k - above.sum(axis=1, keepdims=True)
        chosen[tied] = np.nonzero(above | (equal & (equal.cumsum(axis=1) <= places)))[1].reshape(len(tied), k)
    return chosen
