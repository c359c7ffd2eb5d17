"""Recent popularity: an event counts the less, the older it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np

from recsys.config import Config
from recsys.contract.histories import Histories
from recsys.methods import counting
from recsys.methods.popularity import Popularity

GRID: Final = (30.0, 1.0, 3.0, 7.0, 14.0, 90.0, 365.0)
"""Half-lives in days."""
DAY: Final = 86_400.0


def fit(train: Histories, n_items: int, half_life: float = GRID[0]) -> Popularity:
    """Weighs each training event by 2^(-age / half-life).

    "Now" is the last training event, under a split by time the cut itself. Moving it multiplies all weights by the same
    factor, so the ranking would be the same at any later moment.

    Args:
        train: the training part.
        n_items: size of the catalogue.
        half_life: days after which an event counts half.
    """
    age = (train.timestamps.max(initial=0) - train.timestamps) / DAY
    weights = np.bincount(train.items, np.exp2(-age / half_life), minlength=n_items + 1)
    return Popularity("recent-popularity", weights.astype(np.float32))


def candidates(
    train: Histories, n_items: int, config: Config, progress: Callable[[str], None], grid: Sequence[float] = GRID
) -> Iterator[counting.Candidate]:
    """One candidate for each half-life of the grid."""
    for half_life in grid:
        yield counting.Candidate({"half_life_days": half_life}, fit(train, n_items, half_life))
