"""Recent popularity: the older an event, the less it counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final, Self

import numpy as np

from recsys.config import Config
from recsys.contract.histories import Histories
from recsys.methods import counting
from recsys.methods.base import DEFAULTS, Point
from recsys.methods.popularity import Popularity
from recsys.progress import Log, silent


@dataclasses.dataclass(frozen=True)
class RecentPopularity(Popularity):
    """The same scores for every user: the item's events, each weighted by 2^(-age / half-life).

    Age is relative to the last event; with a split by time that is the cut. A later "now" would scale all weights by the same
    factor and leave the ranking unchanged.
    """

    name: ClassVar[str] = "recent-popularity"
    GRID: ClassVar[Sequence[Point]] = tuple({"half_life_days": days} for days in (30.0, 1.0, 3.0, 7.0, 14.0, 90.0, 365.0))

    @classmethod
    def fit(
        cls, events: Histories, n_items: int, points: Sequence[Point], config: Config = DEFAULTS, log: Log = silent
    ) -> Iterator[Self]:
        """See TraditionalMethod.fit; `half_life_days` is the age at which an event counts half."""
        for point in points:
            yield cls(counting.recent_events(events, n_items, point["half_life_days"]).astype(np.float32))


METHOD: Final = RecentPopularity
