"""A method of an earlier run, asked about the users and items of the present one."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from recsys.contract.histories import Histories
from recsys.measure.protocol import Scorer, Top

PUBLISHED = "published"
"""In tables: what readers follow while the run is measured."""


class Translated:
    """Knows only the items of its own run; histories are as they are now, without the others.

    Args:
        method: of the earlier run.
        items: int32 [items + 1], the index there of each item here; 0 for those that it lacks.
        users: int32 [users + 1], the same for users, whose features the method may read.
        name: in tables.
    """

    def __init__(self, method: Scorer, items: NDArray[np.int32], users: NDArray[np.int32], name: str = PUBLISHED) -> None:
        self._method, self._items, self._users, self._name = method, items, users, name
        self._back = np.zeros(int(items.max(initial=0)) + 1, np.int32)
        self._back[items] = np.arange(len(items), dtype=np.int32)
        self._back[0] = 0

    @property
    def name(self) -> str:
        """See measure.protocol.Scorer."""
        return self._name

    def block_users(self, n_items: int) -> int:
        """See measure.protocol.Scorer."""
        return self._method.block_users(n_items)

    def top(self, context: Histories, k: int) -> Top:
        """See measure.protocol.Scorer; a list is shorter where the earlier run had items that are not there any more."""
        items, scores = self._method.top(self.histories(context), k)
        here = self._back[np.where(items < len(self._back), items, 0)]
        order = np.argsort(here == 0, axis=1, kind="stable")
        here, scores = np.take_along_axis(here, order, axis=1), np.take_along_axis(scores, order, axis=1)
        return here, np.where(here > 0, scores, -np.inf).astype(np.float32)

    def histories(self, context: Histories) -> Histories:
        """The histories as the earlier run would number them, without items that it lacks."""
        items = self._items[context.items]
        known = items > 0
        before = np.concatenate(([0], np.cumsum(known)))
        lengths = before[context.offsets[1:]] - before[context.offsets[:-1]]
        return dataclasses.replace(
            context,
            user_index=self._users[context.user_index],
            offsets=np.concatenate(([0], np.cumsum(lengths))),
            items=items[known],
            ratings=context.ratings[known],
            timestamps=context.timestamps[known],
        )
