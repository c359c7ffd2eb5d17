"""How popular the items were, at some moments of the past: recently and altogether, and since when.

A history that ended years ago is scored with what was popular then: with the last of these moments that is not after the
user's own last event. Nothing that came later is looked at.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Mapping
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from recsys.contract.histories import Histories
from recsys.contract.schema import DAY

PRIOR_EVENTS: Final = 20.0
"""Pseudo-events that pull the recent shares towards the overall ones."""
HALF_LIVES: Final = (3.0, 7.0, 14.0, 30.0, 90.0, 365.0)
"""Days."""
DATES: Final = ("age", "idle")
"""Fields of Trends."""
MOMENTS: Final = 32
"""So many divide the events into equal parts; the last event's comes on top."""
MOMENTS_BYTES: Final = 256 << 20
"""Fewer do if all their numbers would take more memory than this."""
FEWEST_MOMENTS: Final = 8
"""If there is not even room for these, only the moment of the last event counts, for everybody."""


@dataclasses.dataclass(frozen=True)
class Trends:
    """What is known of each item at each moment, from the events until then.

    Attributes:
        moments: int64 [moments], seconds, ascending.
        share: log of the items' shares of all events, float32 [moments, items + 1].
        recent: log of their shares of the events where one counts half when it is a half-life old, by half-life in days,
            each float32 [moments, items + 1].
        age, idle: log(1 + days) since their first and their last event, float32 [moments, items + 1]; an item without events is
            new: 0 and 0.
    """

    moments: NDArray[np.int64]
    share: NDArray[np.float32]
    recent: Mapping[float, NDArray[np.float32]]
    age: NDArray[np.float32]
    idle: NDArray[np.float32]

    @classmethod
    def count(cls, events: Histories, n_items: int, moments: NDArray[np.int64]) -> Self:
        """Counts the events.

        Args:
            events: of the training part to choose weights, all before the test to evaluate, all events to publish.
            n_items: size of the catalogue.
            moments: see `last` and `moments_of`.
        """
        known_at = np.searchsorted(moments, events.timestamps).astype(np.int16)  # moments before the event
        total, recent = np.zeros(n_items + 1), dict.fromkeys(HALF_LIVES, np.zeros(n_items + 1))
        first, last = np.full(n_items + 1, np.iinfo(np.int64).max), np.full(n_items + 1, np.iinfo(np.int64).min)
        found: dict[str | float, list[NDArray[np.float32]]] = defaultdict(list)
        for number, moment in enumerate(moments):
            here, past = known_at == number, moments[max(0, number - 1)]
            new, at = events.items[here], events.timestamps[here]
            days_ago = (moment - at) / DAY
            total += np.bincount(new, minlength=n_items + 1)
            np.minimum.at(first, new, at)
            np.maximum.at(last, new, at)
            shares = _shares(total)
            for days in HALF_LIVES:
                faded = recent[days] * np.exp2(-(moment - past) / DAY / days)
                recent[days] = faded + np.bincount(new, np.exp2(-days_ago / days), minlength=n_items + 1)
                found[days].append(_recent_share(recent[days], shares))
            found["share"].append(np.log(shares))
            for name, since in (("age", first), ("idle", last)):
                days_since = (moment - np.where(total > 0, since, moment)) / DAY
                found[name].append(np.log1p(days_since.astype(np.float32)))
        stacked = {name: np.stack(found.pop(name)) for name in list(found)}
        by_days = {days: stacked[days] for days in HALF_LIVES}
        return cls(np.asarray(moments, np.int64), stacked["share"], by_days, stacked["age"], stacked["idle"])

    def popular(self, half_life: float) -> NDArray[np.float32]:
        """What is weighed: log recent, -log share, log(1 + age), log(1 + idle), float32 [4, moments, items + 1]."""
        return np.stack([self.recent[half_life], -self.share, self.age, self.idle])

    def when(self, context: Histories) -> NDArray[np.int32] | None:
        """The moment of each user, int32 [users]: the last that is not after their last event. None if there is only one.

        For those without events it is the last of all, and for those whose events are all earlier the first.
        """
        if len(self.moments) == 1:
            return None
        ends, known = context.offsets[1:], context.lengths > 0
        found = np.full(len(context), len(self.moments) - 1, np.int32)
        found[known] = np.searchsorted(self.moments, context.timestamps[ends[known] - 1], "right") - 1
        return np.maximum(found, 0)


def last(events: Histories) -> NDArray[np.int64]:
    """The moment of the last event alone, int64 [1]; 0 if there is none."""
    return np.array([events.timestamps.max() if len(events.timestamps) else 0], np.int64)


def moments_of(events: Histories, n_items: int) -> NDArray[np.int64]:
    """Moments between which lie about equal numbers of events, the first and the last event's among them, int64 [moments]."""
    count = min(MOMENTS, MOMENTS_BYTES // (4 * (3 + len(HALF_LIVES)) * (n_items + 1)))
    if not len(events.timestamps) or count < FEWEST_MOMENTS:
        return last(events)
    places = np.arange(count) * len(events.timestamps) // count
    return np.unique(np.append(np.sort(events.timestamps)[places], last(events)))


def _recent_share(recent: NDArray[np.float64], shares: NDArray[np.float32]) -> NDArray[np.float32]:
    prior = PRIOR_EVENTS * shares
    logs: NDArray[np.float32] = np.log((recent + prior) / (recent.sum() + PRIOR_EVENTS)).astype(np.float32)
    return logs


def _shares(counted: NDArray[np.float64]) -> NDArray[np.float32]:
    """Each item's share of the events, after adding half an event to each; float32 [items + 1]."""
    smoothed = counted + 0.5
    shares: NDArray[np.float32] = (smoothed / smoothed.sum()).astype(np.float32)
    return shares
