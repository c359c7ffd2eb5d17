"""histories/: each user's events as one row, with the positions at which the split cuts it; and repeats/."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys import storage
from recsys.contract.schema import (
    FILE,
    HISTORIES,
    HISTORIES_DIR,
    ITEM_ID,
    POSITION,
    RATING,
    REPEATS,
    REPEATS_DIR,
    TIMESTAMP,
    TRAIN_LENGTH,
    USER_ID,
    USER_INDEX,
    VALID_LENGTH,
)
from recsys.features import chunks, parquet, split
from recsys.features.chunks import Chunk, Packed
from recsys.features.events import Events
from recsys.features.tables import Catalogue

if TYPE_CHECKING:
    from pyspark import Broadcast

SIZES: Final = ("train_events", "valid_events", "test_events")


def write(events: Events, cut: split.Cut, users: Catalogue, items: Catalogue, features: str) -> dict[str, int]:
    """Writes histories/ and repeats/; returns train_events, valid_events and test_events of the users who are learned from.

    Args:
        events: the events.
        cut: the split.
        users: all users, indexed.
        items: all items, indexed.
        features: path or URI of the features folder.
    """
    share = events.parts.context.broadcast
    files = parquet.files_for(events.sums.count)
    user_ids, item_ids = share(users.ids), share(items.ids)
    users_per_file = parquet.rows_per_file(users.rows, files)
    place = partial(_place, users=user_ids, items=item_ids, cut=cut, users_per_file=users_per_file)
    work = partial(_write_file, folder=storage.join(features, HISTORIES_DIR), cut=cut)
    written = events.histories.flatMap(place).partitionBy(files, int).mapPartitions(work).collect()
    place_again = partial(_place_repeats, users=user_ids, items=item_ids, users_per_file=users_per_file)
    work_again = partial(_write_repeats, folder=storage.join(features, REPEATS_DIR))
    events.repeats.flatMap(place_again).partitionBy(files, int).mapPartitions(work_again).collect()
    return {name: sum(sizes[name] for sizes in written) for name in SIZES}


def _place(
    chunk: Chunk, users: Broadcast[pa.Array], items: Broadcast[pa.Array], cut: split.Cut, users_per_file: int
) -> Iterator[tuple[int, Packed]]:
    """Puts indices in the place of ids, and packs the rows of each file."""
    user = pc.index_in(chunk.users, value_set=users.value).to_numpy() + np.int32(1)
    item = pc.index_in(chunk.item_ids, value_set=items.value).to_numpy() + np.int32(1)
    train, valid = split.lengths(cut, chunk)
    rows = _rows(chunk, user, item[chunk.items], train, valid)
    yield from chunks.pack_by((user - 1) // users_per_file, rows)


def _rows(chunk: Chunk, user: np.ndarray, item: np.ndarray, train: np.ndarray, valid: np.ndarray) -> pa.RecordBatch:
    offsets = pa.array(chunk.offsets, pa.int32())
    events = (item, chunk.ratings, chunk.timestamps, chunk.files)
    lists = [pa.ListArray.from_arrays(offsets, pa.array(values)) for values in events]
    numbers = [pa.array(values, pa.int32()) for values in (train, valid)]
    return pa.RecordBatch.from_arrays([pa.array(user), *lists, *numbers], schema=HISTORIES)


def _write_file(placed: Iterator[tuple[int, Packed]], folder: str, cut: split.Cut) -> Iterator[dict[str, int]]:
    """Writes the files of this partition; gives the SIZES of their parts."""
    for number, rows in chunks.grouped(placed).items():
        table = parquet.write_sorted(rows, [USER_INDEX], folder, number)
        length = pc.list_value_length(table[HISTORIES.names[1]]).to_numpy()
        train, valid = table[TRAIN_LENGTH].to_numpy(), table[VALID_LENGTH].to_numpy()
        counted = split.learned(cut.min_user_events, length)
        sizes = (part[counted].sum() for part in (train, valid - train, length - valid))
        yield {name: int(size) for name, size in zip(SIZES, sizes, strict=True)}


def _place_repeats(
    repeats: pa.RecordBatch, users: Broadcast[pa.Array], items: Broadcast[pa.Array], users_per_file: int
) -> Iterator[tuple[int, Packed]]:
    """The same for repeats."""
    user = pc.index_in(repeats[USER_ID], value_set=users.value).to_numpy() + np.int32(1)
    item = pc.index_in(repeats[ITEM_ID], value_set=items.value).to_numpy() + np.int32(1)
    columns = [pa.array(user), repeats[POSITION], pa.array(item), *(repeats[name] for name in (RATING, TIMESTAMP, FILE))]
    yield from chunks.pack_by((user - 1) // users_per_file, pa.RecordBatch.from_arrays(columns, schema=REPEATS))


def _write_repeats(placed: Iterator[tuple[int, Packed]], folder: str) -> Iterator[int]:
    for number, rows in chunks.grouped(placed).items():
        yield parquet.write_sorted(rows, [USER_INDEX, POSITION], folder, number).num_rows
