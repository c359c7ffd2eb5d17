"""histories/: each user's events as one row, with the positions at which the split cuts it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys import storage
from recsys.contract.schema import (
    HISTORIES,
    HISTORIES_DIR,
    ITEM_ID,
    TRAIN_LENGTH,
    USER_ID,
    USER_INDEX,
    VALID_LENGTH,
    part_file,
)
from recsys.features import chunks, parquet, split
from recsys.features.chunks import BYTES, Chunk
from recsys.features.events import Events
from recsys.features.tables import Catalogue

if TYPE_CHECKING:
    from pyspark import Broadcast

FILE: Final = "file"
SIZES: Final = ("train_events", "valid_events", "test_events")


def write(events: Events, cut: split.Cut, users: Catalogue, items: Catalogue, features: str) -> dict[str, int]:
    """Writes histories/; returns train_events, valid_events and test_events of the users who are learned from.

    Args:
        events: the events.
        cut: the split.
        users: all users, indexed.
        items: all items, indexed.
        features: path or URI of the features folder.
    """
    share = events.parts.sparkSession.sparkContext.broadcast
    files = parquet.files_for(events.sums.count)
    placed = events.histories.mapInArrow(
        partial(
            _place,
            users=share(_ids(users, USER_ID)),
            items=share(_ids(items, ITEM_ID)),
            cut=cut,
            users_per_file=parquet.rows_per_file(users.rows, files),
        ),
        f"{FILE} int, {BYTES} binary",
    )
    folder = storage.join(features, HISTORIES_DIR)
    work = partial(_write_file, folder=folder, cut=cut)
    written = placed.repartitionById(files, FILE).mapInArrow(work, ", ".join(f"{name} bigint" for name in SIZES)).collect()
    return {name: sum(row[name] for row in written) for name in SIZES}


def _ids(catalogue: Catalogue, name: str) -> pa.Array:
    """All ids in order of their index."""
    found = catalogue.frame.select(catalogue.index, name).toArrow()
    return found.sort_by(catalogue.index)[name].combine_chunks()


def _place(
    batches: Iterator[pa.RecordBatch],
    users: Broadcast[pa.Array],
    items: Broadcast[pa.Array],
    cut: split.Cut,
    users_per_file: int,
) -> Iterator[pa.RecordBatch]:
    """Puts indices in the place of ids, and packs the rows of each file."""
    for chunk in chunks.unpack_chunks(batches):
        user = pc.index_in(chunk.users, value_set=users.value).to_numpy() + np.int32(1)
        item = pc.index_in(chunk.item_ids, value_set=items.value).to_numpy() + np.int32(1)
        train, valid = split.lengths(cut, chunk)
        ascending = np.argsort(user)
        rows = _rows(chunk, user, item[chunk.items], train, valid).take(pa.array(ascending))
        file = (user[ascending] - 1) // users_per_file
        starts = np.flatnonzero(np.diff(file, prepend=-1))
        ends = np.append(starts[1:], len(file))
        packed = [chunks.pack(rows.slice(start, end - start)) for start, end in zip(starts, ends, strict=True)]
        columns = [pa.array(file[starts], pa.int32()), pa.array(packed, pa.binary())]
        yield pa.RecordBatch.from_arrays(columns, names=[FILE, BYTES])


def _rows(chunk: Chunk, user: np.ndarray, item: np.ndarray, train: np.ndarray, valid: np.ndarray) -> pa.RecordBatch:
    offsets = pa.array(chunk.offsets, pa.int32())
    lists = [pa.ListArray.from_arrays(offsets, pa.array(values)) for values in (item, chunk.ratings, chunk.timestamps)]
    numbers = [pa.array(values, pa.int32()) for values in (train, valid)]
    return pa.RecordBatch.from_arrays([pa.array(user), *lists, *numbers], schema=HISTORIES)


def _write_file(batches: Iterator[pa.RecordBatch], folder: str, cut: split.Cut) -> Iterator[pa.RecordBatch]:
    """Writes the file of this partition; gives the SIZES of its parts."""
    rows = [chunks.unpack(value) for batch in batches for value in batch[BYTES]]
    if not rows:
        return
    table = pa.Table.from_batches(rows).sort_by(USER_INDEX)
    parquet.write_table(table, storage.join(folder, part_file(parquet.partition_number())))
    length = pc.list_value_length(table[HISTORIES.names[1]]).to_numpy()
    train, valid = table[TRAIN_LENGTH].to_numpy(), table[VALID_LENGTH].to_numpy()
    counted = split.learned(cut.min_user_events, length)
    sizes = (part[counted].sum() for part in (train, valid - train, length - valid))
    yield pa.RecordBatch.from_arrays([pa.array([int(size)]) for size in sizes], names=list(SIZES))
