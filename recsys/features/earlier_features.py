"""The features of an earlier run as those of a later one take them over.

A history with its repeats holds all usable events of a user in order, each with its file, so nothing of an unchanged file has
to be read again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys import storage
from recsys.contract import histories
from recsys.contract.features_info import read_info
from recsys.contract.schema import (
    FILE,
    FILES,
    HISTORIES,
    HISTORIES_DIR,
    ITEM_INDEX,
    ITEMS,
    POSITION,
    RATING,
    RATINGS,
    REASON,
    REJECTED_DIR,
    REPEATS,
    REPEATS_DIR,
    TIMESTAMP,
    TIMESTAMPS,
    USER_INDEX,
)
from recsys.errors import DamagedError
from recsys.features import chunks, clean, sums
from recsys.sources.files import expanded_size, size
from recsys.spark import memory

if TYPE_CHECKING:
    from recsys.sources import SourceTables

BYTES_KNOWN: Final = 12
BYTES_READ: Final = 12
"""Memory for each byte of Parquet that is taken over, and of what is read; benchmarks.speed.merging peaks below both."""
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


def fits(base: Base, source: SourceTables) -> bool:
    """Whether this process has memory enough to do without Spark: by the size of what is taken over and of what is read."""
    known = sum(map(size, [*histories.files(base.features), *_repeats(base)]))
    read = {path for role in ("interactions", "users", "items") for path in source.files(role)} - set(base.unchanged)
    return known * BYTES_KNOWN + sum(map(expanded_size, read)) * BYTES_READ <= memory.limit() * SHARE


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
        places = np.flatnonzero(~again), np.flatnonzero(again)
        columns = [_mixed(places, pair) for pair in zip(columns, added, strict=True)]
    user, item, rating, timestamp, number = columns
    return Known(
        users.take(pa.array(index - 1)), items, user, item - np.int32(1), rating, timestamp, base.numbers(files)[number], again
    )


def read_rejected(path: str, base: Base, files: tuple[str, ...]) -> pa.RecordBatch:
    """Unusable rows of events that were set aside before, of files that are unchanged. Repeats are found anew."""
    with storage.open_parquet(path) as file:
        groups = range(file.num_row_groups)
        wanted = [group for group in groups if pc.any(_unusable(file.read_row_group(group, ["table", REASON]))).as_py()]
        table = file.read_row_groups(wanted)
    here = pc.is_in(table[FILE], value_set=pa.array(base.unchanged, pa.string()))
    table = chunks.one_batch(table.filter(pc.and_(_unusable(table), here)))
    number = pc.index_in(table[FILE], value_set=pa.array(files, pa.string()))
    found = pa.RecordBatch.from_arrays([table[REASON], number, table[sums.TEXT]], names=[REASON, FILE, sums.TEXT])
    return found.filter(number.is_valid())


def _unusable(rows: pa.Table) -> pa.ChunkedArray:
    """Which rows set aside are of events, and no repeats."""
    return pc.and_(pc.equal(rows["table"], "interactions"), pc.not_equal(rows[REASON], clean.DUPLICATE))


def first_users(paths: list[str], users: pa.Array) -> pa.Array:
    """The id of the first user of each file of histories."""
    first = []
    for path in paths:
        with storage.open_parquet(path) as file:
            first.append(next(file.iter_batches(1, columns=[USER_INDEX]))[USER_INDEX][0].as_py() - 1)
    return users.take(pa.array(first))


def check(base: Base) -> None:
    """Checks that no file of the base has got lost.

    Raises:
        DamagedError: there are not as many events, repeats or rows set aside as features.json says.
    """
    info, rejected = read_info(base.features), storage.join(base.features, REJECTED_DIR)
    duplicates = info.rejected.get("interactions", {}).get(clean.DUPLICATE, 0)
    aside = sum(sum(reasons.values()) for reasons in info.rejected.values())
    events = _rows(histories.files(base.features), HISTORIES.names.index(ITEMS))
    for folder, found, expected in (
        (HISTORIES_DIR, events, info.events),
        (REPEATS_DIR, _rows(_repeats(base), 0), duplicates),
        (REJECTED_DIR, _rows(storage.list_files(rejected, ".parquet"), 0), aside),
    ):
        if found != expected:
            place = storage.join(base.features, folder)
            raise DamagedError(f"{place} has {found:,} rows, but {expected:,} were written", place)


def _rows(paths: list[str], column: int) -> int:
    """How many values a column has in some Parquet files, those in lists counted each."""
    total = 0
    for path in paths:
        with storage.open_parquet(path) as file:
            groups = map(file.metadata.row_group, range(file.metadata.num_row_groups))
            total += sum(group.column(column).num_values for group in groups)
    return total


def _repeats(base: Base) -> list[str]:
    return storage.list_files(storage.join(base.features, REPEATS_DIR), ".parquet")


def _mixed(places: tuple[np.ndarray, np.ndarray], values: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """One array of two, with the values of each in its places."""
    whole = np.empty(sum(map(len, values)), values[0].dtype)
    for where, some in zip(places, values, strict=True):
        whole[where] = some
    return whole
