"""What the published lists look like together: which items they show, and whether they are all alike."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys import storage
from recsys.contract import matching, schema

_MIX = np.uint64(0x9E3779B97F4A7C15)
_STIR = np.uint64(0xBF58476D1CE4E5B9)


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
    for users, items in _whole_users(folder):
        index = pc.fill_null(pc.index_in(items, value_set=known), -1).to_numpy(zero_copy_only=False).astype(np.int64) + 1
        shown += np.bincount(index, minlength=len(shown))
        starts = _starts(users)
        prints.append(_fingerprints(index, starts))
    everyone = np.concatenate(prints) if prints else np.zeros(0, np.uint64)
    _, counts = np.unique(everyone, return_counts=True)
    most = int(counts.max(initial=0))
    return ListProfile(
        users=len(everyone),
        rows=int(shown.sum()),
        shown=shown,
        same_list=most / max(1, len(everyone)),
        different=len(counts),
    )


def _whole_users(folder: str) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Ids of users and items by row, in blocks that divide no user, as no row group does."""
    for path in storage.parquet_files(folder):
        with storage.open_parquet(path) as file:
            for number in range(file.num_row_groups):
                group = file.read_row_group(number, columns=[schema.USER_ID, schema.ITEM_ID]).combine_chunks()
                if len(group):
                    yield tuple(group.column(name).combine_chunks() for name in (schema.USER_ID, schema.ITEM_ID))


def _starts(users: pa.Array) -> NDArray[np.int64]:
    """The rows at which another user begins, the first one included."""
    changes = pc.not_equal(users.slice(1), users.slice(0, len(users) - 1)).to_numpy(zero_copy_only=False)
    return np.concatenate(([0], np.flatnonzero(changes) + 1))


def _fingerprints(items: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 bits of each list that depend on its items and their order (SplitMix64 of item and rank, summed)."""
    ranks = np.arange(len(items)) - np.repeat(starts, np.diff(np.append(starts, len(items))))
    with np.errstate(over="ignore"):
        mixed = (items.astype(np.uint64) * np.uint64(1 << 20) + ranks.astype(np.uint64)) * _MIX
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _STIR
        mixed ^= mixed >> np.uint64(31)
        sums: NDArray[np.uint64] = np.add.reduceat(mixed, starts)
    return sums
