"""Recommendations as users' lists: read in blocks of whole users, and told apart by fingerprints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys import storage
from recsys.contract import schema

_MIX: Final = np.uint64(0x9E3779B97F4A7C15)
_STIR: Final = np.uint64(0xBF58476D1CE4E5B9)


def stream(folder: str) -> Iterator[tuple[pa.Array, pa.Array]]:
    """Ids of users and items by row, in blocks that divide no user, as no row group does.

    Args:
        folder: of recommendations.

    Raises:
        DamagedError: a file is missing, or not what was written.
    """
    for path in storage.parquet_files(folder):
        with storage.open_parquet(path) as file:
            for number in range(file.num_row_groups):
                group = file.read_row_group(number, columns=[schema.USER_ID, schema.ITEM_ID]).combine_chunks()
                if len(group):
                    yield tuple(group.column(name).combine_chunks() for name in (schema.USER_ID, schema.ITEM_ID))


def starts_of(users: pa.Array) -> NDArray[np.int64]:
    """The rows at which another user begins, the first one included."""
    changes = pc.not_equal(users.slice(1), users.slice(0, len(users) - 1)).to_numpy(zero_copy_only=False)
    return np.concatenate(([0], np.flatnonzero(changes) + 1))


def fingerprints(items: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 bits of each list that depend on its items and their order (SplitMix64 of item and rank, summed).

    Args:
        items: int64 [rows], a number for each item.
        starts: int64 [lists], see `starts_of`.
    """
    ranks = np.arange(len(items)) - np.repeat(starts, np.diff(np.append(starts, len(items))))
    with np.errstate(over="ignore"):
        mixed = (items.astype(np.uint64) * np.uint64(1 << 20) + ranks.astype(np.uint64)) * _MIX
        mixed = (mixed ^ (mixed >> np.uint64(30))) * _STIR
        mixed ^= mixed >> np.uint64(31)
        sums: NDArray[np.uint64] = np.add.reduceat(mixed, starts)
    return sums


def alike(prints: Sequence[NDArray[np.uint64]]) -> tuple[float, int]:
    """The greatest share of users with the same items in the same order, and the number of different lists; 0 without lists."""
    everyone = np.concatenate(prints) if prints else np.zeros(0, np.uint64)
    _, counts = np.unique(everyone, return_counts=True)
    return int(counts.max(initial=0)) / max(1, len(everyone)), len(counts)
