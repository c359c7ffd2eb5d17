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
from recsys.features import chunks, gather, parquet, split
from recsys.features.chunks import Chunk, Packed
from recsys.features.events import Events
from recsys.features.gather import Part
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
    place = partial(
        _placed,
        users=share(users.ids),
        items=share(items.ids),
        cut=cut,
        users_per_file=parquet.rows_per_file(users.rows, files),
    )
    work = partial(_write_files, features=features, cut=cut)
    written = events.parts.mapPartitions(place).partitionBy(files, int).mapPartitions(work).collect()
    return {name: sum(sizes[name] for sizes in written) for name in SIZES}


def _placed(
    parts: Iterator[Part], users: Broadcast[pa.Array], items: Broadcast[pa.Array], cut: split.Cut, users_per_file: int
) -> Iterator[tuple[int, Part]]:
    """Puts indices in the place of ids, and packs the rows of each file."""
    for kind, value in parts:
        if kind == gather.HISTORIES:
            rows = _histories(chunks.unpack_chunk(value), users.value, items.value, cut)
        elif kind == gather.REPEATS:
            rows = _repeats(chunks.unpack(value), users.value, items.value)
        else:
            continue
        for number, packed in chunks.pack_by((rows[USER_INDEX].to_numpy() - 1) // users_per_file, rows):
            yield number, (kind, packed)


def _histories(chunk: Chunk, users: pa.Array, items: pa.Array, cut: split.Cut) -> pa.RecordBatch:
    offsets = pa.array(chunk.offsets, pa.int32())
    events = (_index(chunk.item_ids, items)[chunk.items], chunk.ratings, chunk.timestamps, chunk.files)
    lists = [pa.ListArray.from_arrays(offsets, pa.array(values)) for values in events]
    numbers = [pa.array(values, pa.int32()) for values in split.lengths(cut, chunk)]
    return pa.RecordBatch.from_arrays([pa.array(_index(chunk.users, users)), *lists, *numbers], schema=HISTORIES)


def _repeats(repeats: pa.RecordBatch, users: pa.Array, items: pa.Array) -> pa.RecordBatch:
    user, item = (pa.array(_index(repeats[key], ids)) for key, ids in ((USER_ID, users), (ITEM_ID, items)))
    columns = [user, repeats[POSITION], item, *(repeats[name] for name in (RATING, TIMESTAMP, FILE))]
    return pa.RecordBatch.from_arrays(columns, schema=REPEATS)


def _index(ids: pa.Array, known: pa.Array) -> np.ndarray:
    """The index of each id, int32."""
    found: np.ndarray = pc.index_in(ids, value_set=known).to_numpy() + np.int32(1)
    return found


def _write_files(placed: Iterator[tuple[int, Part]], features: str, cut: split.Cut) -> Iterator[dict[str, int]]:
    """Writes the files of this partition; gives the SIZES of their parts."""
    found: dict[str, list[tuple[int, Packed]]] = {gather.HISTORIES: [], gather.REPEATS: []}
    for number, (kind, value) in placed:
        found[kind].append((number, value))
    for number, rows in chunks.grouped(found[gather.HISTORIES]).items():
        table = parquet.write_sorted(rows, [USER_INDEX], storage.join(features, HISTORIES_DIR), number)
        length = pc.list_value_length(table[HISTORIES.names[1]]).to_numpy()
        train, valid = table[TRAIN_LENGTH].to_numpy(), table[VALID_LENGTH].to_numpy()
        counted = split.learned(cut.min_user_events, length)
        sizes = (part[counted].sum() for part in (train, valid - train, length - valid))
        yield {name: int(size) for name, size in zip(SIZES, sizes, strict=True)}
    for number, rows in chunks.grouped(found[gather.REPEATS]).items():
        parquet.write_sorted(rows, [USER_INDEX, POSITION], storage.join(features, REPEATS_DIR), number)
