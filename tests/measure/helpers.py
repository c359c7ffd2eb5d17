"""Small histories for the tests of evaluation."""

from __future__ import annotations

import numpy as np

from recsys.contract.histories import Histories


def histories(events: list[list[int]], train: list[int] | None = None, valid: list[int] | None = None) -> Histories:
    """Users 1, 2, … with the given items; the split positions are the last two events unless given."""
    lengths = np.array([len(items) for items in events], np.int64)
    flat = np.array([item for items in events for item in items], np.int32)
    return Histories(
        user_index=np.arange(1, len(events) + 1, dtype=np.int32),
        offsets=np.concatenate(([0], np.cumsum(lengths))),
        items=flat,
        ratings=np.ones(len(flat), np.float32),
        timestamps=np.concatenate([1000 + 60 * np.arange(n, dtype=np.int64) for n in lengths])
        if len(flat)
        else flat.astype(np.int64),
        train_length=np.array(train if train is not None else np.maximum(lengths - 2, 0), np.int32),
        valid_length=np.array(valid if valid is not None else np.maximum(lengths - 1, 0), np.int32),
    )


def random_histories(users: int, items: int, seed: int, least: int = 3, most: int = 12) -> Histories:
    """Distinct items for each user, low indices more often, as in features/."""
    random = np.random.default_rng(seed)
    weights = 1 / np.arange(1, items + 1)
    lengths = random.integers(least, min(most, items) + 1, users)
    events = [list(random.choice(items, n, replace=False, p=weights / weights.sum()) + 1) for n in lengths]
    return histories(events)
