"""Popularity: everybody gets the items with the most training events."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.config import Config
from recsys.contract.histories import Histories
from recsys.methods import counting

GRID: Final = ((),)
"""Nothing is to be chosen."""


@dataclasses.dataclass(frozen=True)
class Popularity:
    """The same scores for every user.

    Attributes:
        name: of the method
        weights: float32 [items + 1]
    """

    name: str
    weights: NDArray[np.float32]

    def score(self, context: Histories) -> NDArray[np.float32]:
        """float32 [users, items + 1]; see protocol.Scorer."""
        return np.tile(self.weights, (len(context), 1))


def fit(train: Histories, n_items: int) -> Popularity:
    """Counts the training events of each item."""
    return Popularity("popularity", counting.popularity(train, n_items))


def candidates(
    train: Histories, n_items: int, config: Config, progress: Callable[[str], None], grid: Sequence[tuple[()]] = GRID
) -> Iterator[counting.Candidate]:
    """One candidate for each point of the grid."""
    for _ in grid:
        yield counting.Candidate({}, fit(train, n_items))
