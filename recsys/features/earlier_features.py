"""The features of an earlier run as those of a later one take them over.

A history with its repeats holds all usable events of a user in order, each with its file, so nothing of an unchanged file has
to be read again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys import storage
from recsys.config import Table
from recsys.contract import histories
from recsys.contract.features_info import read_info
from recsys.contract.schema import (
    FILE,
    FILES,
    ITEM_INDEX,
    ITEMS,
    POSITION,
    RATING,
    RATINGS,
    REASON,
    REPEATS,
    REPEATS_DIR,
    TIMESTAMP,
    TIMESTAMPS,
    USER_INDEX,
)
from recsys.errors import DamagedError
from recsys.features import chunks, clean, sums
from recsys.sources.files import input_files, size
from recsys.spark import memory

BYTES_KNOWN: Final = 12
BYTES_NEW: Final = 12
"""Memory for each byte of Parquet that is taken over, and of new files; measured on both."""
SHARE: Final = 0.5
"""Of the memory that may be used without Spark."""


@dataclasses.dataclass(frozen=True)
class Base:
    """The features of an earlier run, of the same table and made by the same rules, with features.min_item_events 1.

    Attributes:
        features: their folder.
        files: path of each file of the interactions that they were made from, by number.
        unchanged: those of them that are still as they were.
    """

    features: str
    files: tuple[str, ...]
    unchanged: tuple[str, ...]

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Base:
        """The inverse of dataclasses.asdict, also after a round trip through JSON."""
        return cls(found["features"], tuple(found["files"]), tuple(found["unchanged"]))

    def numbers(self, files: tuple[str, ...]) -> np.ndarray:
        """The number of each file of the base among other files: int32, -1 for one that is not there or has changed."""
        unchanged = set(self.unchanged)
        place = {path: number for number, path in enumerate(files) if path in unchanged}
        return np.array([place.get(path, -1) for path in self.files], np.int32)


def fits(base: Base, table: Table) -> bool:
    """Whether this process has memory enough to do without Spark: by the size of what is taken over and of what is new."""
    known = sum(map(size, [*histories.files(base.features), *_repeats(base)]))
    new = sum(size(path) for path in input_files(table) if path not in set(base.unchanged))
    return known * BYTES_KNOWN + new * BYTES_NEW <= memory.limit() * SHARE


@dataclasses.dataclass(frozen=True)
class Known:
    """All usable events of some users, those of each in order of time and source.

    Attributes:
        users: ids, ascending.
        items: ids.
        user, item: int64 and int32 [events], places in these; the users ascend.
        rating, timestamp: [events].
        file: int32 [events], number of the file; -1 where that is not there any more.
        again: bool [events], which are repeats.
    """

    users: pa.Array
    items: pa.Array
    user: np.ndarray
    item: np.ndarray
    rating: np.ndarray
    timestamp: np.ndarray
    file: np.ndarray
    again: np.ndarray


def read_known(path: str, base: Base, files: tuple[str, ...], users: pa.Array, items: pa.Array) -> Known:
    """The users of one file of histories, with their repeats.

    Args:
        path: of the file.
        base: the features that it is from.
        files: of the table, now.
        users, items: all ids of the base, in order of index.
    """
    with storage.open_parquet(path) as file:
        table = file.read(columns=[USER_INDEX, ITEMS, RATINGS, TIMESTAMPS, FILES])
    lists = {name: table[name].combine_chunks() for name in (ITEMS, RATINGS, TIMESTAMPS, FILES)}
    lengths = np.diff(lists[ITEMS].offsets.to_numpy())
    index = table[USER_INDEX].to_numpy()
    columns = [np.repeat(np.arange(len(index)), lengths), *(found.flatten().to_numpy() for found in lists.values())]
    again = np.zeros(len(columns[0]), bool)
    same = storage.join(base.features, REPEATS_DIR, path.rsplit("/", 1)[-1])
    if storage.exists(same):
        with storage.open_parquet(same) as file:
            repeats = file.read(columns=REPEATS.names)
        user = np.searchsorted(index, repeats[USER_INDEX].to_numpy())
        again = np.zeros(len(again) + len(user), bool)
        starts = np.concatenate([[0], np.cumsum(lengths + np.bincount(user, minlength=len(index)))[:-1]])
        again[starts[user] + repeats[POSITION].to_numpy()] = True
        added = [user, *(repeats[name].to_numpy() for name in (ITEM_INDEX, RATING, TIMESTAMP, FILE))]
        columns = [_mixed(again, some, others) for some, others in zip(columns, added, strict=True)]
    user, item, rating, timestamp, number = columns
    return Known(
        users.take(pa.array(index - 1)), items, user, item - np.int32(1), rating, timestamp, base.numbers(files)[number], again
    )


def read_rejected(path: str, base: Base, files: tuple[str, ...]) -> pa.RecordBatch:
    """Unusable rows of events that were set aside before, of files that are unchanged. Repeats are found anew."""
    with storage.open_parquet(path) as file:
        table = file.read()
    events = pc.and_(pc.equal(table["table"], "interactions"), pc.not_equal(table[REASON], clean.DUPLICATE))
    table = chunks.one_batch(
        table.filter(pc.and_(events, pc.is_in(table[FILE], value_set=pa.array(base.unchanged, pa.string()))))
    )
    number = pc.index_in(table[FILE], value_set=pa.array(files, pa.string()))
    found = pa.RecordBatch.from_arrays([table[REASON], number, table[sums.TEXT]], names=[REASON, FILE, sums.TEXT])
    return found.filter(number.is_valid())


def first_users(paths: list[str], users: pa.Array) -> pa.Array:
    """The id of the first user of each file of histories."""
    first = []
    for path in paths:
        with storage.open_parquet(path) as file:
            first.append(next(file.iter_batches(1, columns=[USER_INDEX]))[USER_INDEX][0].as_py() - 1)
    return users.take(pa.array(first))


def check_repeats(base: Base) -> None:
    """Checks that no file of repeats has got lost: some users may have none.

    Raises:
        DamagedError: they have not as many rows as features.json says.
    """
    rows = 0
    for path in _repeats(base):
        with storage.open_parquet(path) as file:
            rows += file.metadata.num_rows
    if rows != (expected := read_info(base.features).rejected.get("interactions", {}).get(clean.DUPLICATE, 0)):
        folder = storage.join(base.features, REPEATS_DIR)
        raise DamagedError(f"{folder} has {rows} rows, but {expected} were written", folder)


def _repeats(base: Base) -> list[str]:
    return storage.list_files(storage.join(base.features, REPEATS_DIR), ".parquet")


def _mixed(again: np.ndarray, some: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Both, in their orders, the others where `again` says so."""
    whole = np.empty(len(again), some.dtype)
    whole[~again], whole[again] = some, others
    return whole
