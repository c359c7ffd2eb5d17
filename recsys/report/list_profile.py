"""What the published lists look like together: which items they show, and whether they are all alike."""

from __future__ import annotations

import dataclasses

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.contract import matching, schema, user_lists


@dataclasses.dataclass(frozen=True)
class ListProfile:
    """The lists of all users.

    Attributes:
        users: users with a list.
        rows: rows of all lists.
        shown: int64 [items + 1], in how many lists each item stands; entry 0 is no item.
        same_list: the greatest share of users with the same items in the same order.
        different: number of different lists.
    """

    users: int
    rows: int
    shown: NDArray[np.int64]
    same_list: float
    different: int

    @property
    def items(self) -> int:
        """Number of items that stand in a list."""
        return int((self.shown[1:] > 0).sum())

    @property
    def coverage(self) -> float:
        """Share of the catalogue that stands in a list."""
        return self.items / max(1, len(self.shown) - 1)


def profile(features: str, folder: str) -> ListProfile:
    """Reads the lists once, in blocks; of each list only its fingerprint is kept.

    Args:
        features: the features folder.
        folder: the recommendations.
    """
    known = matching.read_ids(features, schema.ITEM_ID)
    shown, prints = np.zeros(len(known) + 1, np.int64), []
    for users, items in user_lists.stream(folder):
        index = pc.fill_null(pc.index_in(items, value_set=known), -1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
        shown += np.bincount(index, minlength=len(shown))
        prints.append(user_lists.fingerprints(index, user_lists.starts_of(users)))
    same_list, different = user_lists.alike(prints)
    return ListProfile(
        users=sum(map(len, prints)),
        rows=int(shown.sum()),
        shown=shown,
        same_list=same_list,
        different=different,
    )
