"""Popularity: everyone gets the items with the most events."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final, Self

import numpy as np
from numpy.typing import NDArray

from recsys.config import Config
from recsys.contract.histories import Histories
from recsys.methods import counting
from recsys.methods.base import DEFAULTS, Point, TraditionalMethod
from recsys.progress import Log, silent


@dataclasses.dataclass(frozen=True)
class Popularity(TraditionalMethod):
    """The same scores for every user: the number of events of each item.

    Attributes:
        weights: float32 [items + 1]
    """

    weights: NDArray[np.float32]

    name: ClassVar[str] = "popularity"

    @classmethod
    def fit(
        cls, events: Histories, n_items: int, points: Sequence[Point], config: Config = DEFAULTS, log: Log = silent
    ) -> Iterator[Self]:
        """See TraditionalMethod.fit; there is nothing to tune."""
        for _ in points:
            yield cls(counting.popularity(events, n_items))

    def score(self, context: Histories) -> NDArray[np.float32]:
        """float32 [users, items + 1]"""
        return np.tile(self.weights, (len(context), 1))


METHOD: Final = Popularity
