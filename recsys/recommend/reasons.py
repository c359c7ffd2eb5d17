"""Why an item is recommended: the past events without which its score would be lowest."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys.contract.histories import Histories

Scores = Callable[[Histories, NDArray[np.int32]], NDArray[np.float32]]
"""Scores of the given items, whether seen or not, for some users: float32 [users, items]."""
LAST: Final = 20
"""So many of the latest events are looked at."""
MOST: Final = 2
"""Reasons of one recommendation."""
LEAST: Final = 0.01
"""Share of an item's weight that an event must be worth to be a reason."""


def because_of(scores: Scores, past: Histories, items: NDArray[np.int32]) -> list[list[tuple[int, float | None]]]:
    """The events that each item owes most to.

    Every score is computed again for the history without each of the LAST events. A score is a logarithm, so that a loss of d
    leaves exp(-d) of the item's weight. A single event is the only reason there can be: without it the user is a new one, whose
    items are scored by another formula (methods.blend), so that there is nothing to compare.

    Args:
        scores: of the published method.
        past: one user's history.
        items: int32 [items], the recommended ones.

    Returns:
        For each item at most MOST pairs, the greatest first: the number of the event in the history, and the share of the
        item's weight that goes with it, LEAST to 1; None for a single event.
    """
    if not len(past.items):
        return [[] for _ in items]
    if len(past.items) == 1:
        return [[(0, None)] for _ in items]
    histories = without_each(past, LAST)
    found = scores(histories, items).astype(np.float64)
    lost = 1 - np.exp(np.minimum(found[1:] - found[0], 0.0))
    events = len(past.items) - 1 - np.arange(len(lost))
    reasons: list[list[tuple[int, float | None]]] = []
    for shares in lost.T:
        best = np.argsort(-shares, kind="stable")[:MOST]
        reasons.append([(int(events[event]), float(shares[event])) for event in best if shares[event] >= LEAST])
    return reasons


def without_each(past: Histories, last: int) -> Histories:
    """One user's history as it is, and then without each of its `last` events, the latest first; positions of the split do not
    hold."""
    events = len(past.items)
    kept = np.ones((min(last, events) + 1, events), bool)
    left_out = np.arange(1, len(kept))
    kept[left_out, events - left_out] = False
    _, places = np.nonzero(kept)
    lengths = kept.sum(axis=1)
    ends = lengths.astype(np.int32)
    users = np.repeat(past.user_index, len(kept))
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    return Histories(users, offsets, past.items[places], past.ratings[places], past.timestamps[places], ends, ends)


def relative(score: float, best: float) -> float:
    """A score as people read it: the item's weight beside that of the best of the list, 0 to 100. Scores are logarithms."""
    return 100 * math.exp(min(score - best, 0.0))
