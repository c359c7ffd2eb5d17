"""Builds on the features of an earlier run: its histories are taken over, and only files that it has not read are read.

Events of files that are gone or have changed are left out, those of other files are put in their places, and which event of an
item is the first is decided anew where that may have changed. The result is what reading all files would give.

Each file of the earlier histories, with the new events of the users between its first and that of the next, is one partition.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys import storage
from recsys.contract import histories, matching
from recsys.contract.schema import ITEM_ID, RATING, REJECTED_DIR, TIMESTAMP, USER_ID
from recsys.features import chunks, clean, gather, moments
from recsys.features.chunks import Chunk, Packed
from recsys.features.earlier_features import Base, Known, check, first_users, read_known, read_rejected
from recsys.features.gather import EVENTS, Part
from recsys.features.read import Rows
from recsys.sources.pieces import FILE_NUMBER, ORDER

if TYPE_CHECKING:
    from pyspark import RDD, Broadcast, SparkContext

KNOWN: Final = "known"
"""Kind of part: the path of a file of the earlier histories."""
REJECTED: Final = "rejected"
"""Kind of part: the path of a file of the rows that the earlier run has set aside."""
_LAST_BITS: Final = 20
"""A mark for each of their values fits into a processor's cache."""


def parts(context: SparkContext, rows: Rows, layout: clean.Layout, least: int, base: Base) -> RDD[Part]:
    """What `gather.gather` gives, for all files of a table.

    Args:
        context: of Spark.
        rows: the interactions, all files.
        layout: of their table.
        least: features.min_user_events.
        base: the features to build on.

    Raises:
        DamagedError: a file of theirs is damaged or missing.
    """
    check(base)
    paths = histories.files(base.features)
    users = matching.read_ids(base.features, USER_ID)
    partitions = len(paths)
    new = rows.without(set(base.unchanged))
    divide = partial(
        gather.divide, layout=layout, partitions=partitions, number_of=partial(_between, starts=first_users(paths, users))
    )
    rejected = storage.parquet_files(storage.join(base.features, REJECTED_DIR))
    there = [(number, (KNOWN, path.encode())) for number, path in enumerate(paths)]
    there += [(number % partitions, (REJECTED, path.encode())) for number, path in enumerate(rejected)]
    found = context.union([context.parallelize(there, 1), new.read(context, divide)])
    work = partial(
        _gather,
        base=base,
        files=rows.files,
        users=context.broadcast(users),
        items=context.broadcast(matching.read_ids(base.features, ITEM_ID)),
        least=least,
        layout=layout,
        spans=moments.share(partitions),
    )
    return found.partitionBy(partitions, int).values().mapPartitions(work)


def merged(known: Known, new: pa.Table) -> tuple[Chunk, pa.RecordBatch]:
    """Known and new events together: histories and repeats, see `gather.parted`.

    Args:
        known: events; none of a file that the new ones are from.
        new: user, item, rating and timestamp of events, with their place in the source (pieces.ORDER).
    """
    columns = {name: new[name].combine_chunks() for name in new.column_names}
    users, new_user = _united(known.users, columns[USER_ID])
    items, new_item = _united(known.items, columns[ITEM_ID])
    ascending = pc.sort_indices(users)
    users = users.take(ascending)
    rank = np.empty(len(users), np.int64)
    rank[ascending.to_numpy()] = np.arange(len(users))
    old_user, new_user = rank[known.user], rank[new_user]
    old = [old_user, known.item, known.rating, known.timestamp, known.file, known.again]
    there = known.file >= 0
    lost = ~there & ~known.again
    unsure = [old_user[lost] * len(items) + known.item[lost], new_user * len(items) + new_item]
    if not there.all():
        old = [column[there] for column in old]
    time, file = columns[TIMESTAMP].to_numpy(), columns[FILE_NUMBER].to_numpy()
    sequence = np.lexsort((gather.place(columns), time, new_user))
    added = [new_user, new_item, columns[RATING].to_numpy(), time, file, np.zeros(len(time), bool)]
    both = [np.concatenate([some, more[sequence]]) for some, more in zip(old, added, strict=True)]
    order = _in_order(both[0] << 32 | both[3], both[4], len(old[0]))
    user, item, rating, timestamp, file, again = (column[order] for column in both)
    pair = user * len(items) + item
    events = _among(pair, np.concatenate(unsure))
    again[events] = pd.Series(pair[events]).duplicated()
    users, user = _used(users, user, ~again)
    items, item = _used(items, item, ~again)
    return gather.parted(users, items, again, user, item, rating, timestamp, file)


def _gather(
    found: Iterator[Part],
    base: Base,
    files: tuple[str, ...],
    users: Broadcast[pa.Array],
    items: Broadcast[pa.Array],
    least: int,
    layout: clean.Layout,
    spans: int,
) -> Iterator[Part]:
    """The parts of one partition, see `gather.gather`."""
    known: Known | None = None
    events: list[pa.RecordBatch] = []
    unusable: list[pa.RecordBatch] = []
    aside: list[pa.RecordBatch] = []
    for kind, value in found:
        if kind == KNOWN:
            known = read_known(value.decode(), base, files, users.value, items.value)
        elif kind == REJECTED:
            aside.append(read_rejected(value.decode(), base, files))
        else:
            (events if kind == EVENTS else unusable).append(chunks.unpack(value))
    if known is None:
        raise ValueError("a partition without a file of histories")
    if unusable:
        aside.append(gather.in_order(unusable))
    chunk, repeats = merged(known, pa.Table.from_batches(events, None if events else _no_events(users.value, items.value)))
    yield gather.REPEATS, Packed(repeats)
    yield from gather.packed(list(chunk.divided()), [*aside, gather.repeated(repeats, layout)], least, spans)


def _between(ids: pa.Array, starts: pa.Array) -> np.ndarray:
    """The number of the file to which each user belongs; the first also has those before its first user."""
    number = np.zeros(len(ids), np.int64)
    for start in starts[1:]:
        number += pc.greater_equal(ids, start).to_numpy(zero_copy_only=False)
    return number


def _united(known: pa.Array, ids: pa.Array) -> tuple[pa.Array, np.ndarray]:
    """The known ids and after them those that are new; and the place of each of `ids` among them, int64."""
    found = ids.dictionary_encode()
    place = pc.index_in(found.dictionary, value_set=known)
    new = place.is_null()
    places = pc.fill_null(place, 0).to_numpy().astype(np.int64)
    where = new.to_numpy(zero_copy_only=False)
    places[where] = len(known) + np.arange(np.count_nonzero(where))
    return pa.concat_arrays([known, found.dictionary.filter(new)]), places[found.indices.to_numpy()]


def _among(values: np.ndarray, few: np.ndarray) -> np.ndarray:
    """The places of the values that are among some few; those whose last bits are not are left out at once."""
    bits = np.int64((1 << _LAST_BITS) - 1)
    marked = np.zeros(1 << _LAST_BITS, bool)
    marked[few & bits] = True
    likely = np.flatnonzero(marked[values & bits])
    found: np.ndarray = likely[pd.Series(values[likely]).isin(few)]
    return found


def _in_order(key: np.ndarray, file: np.ndarray, old: int) -> np.ndarray:
    """The order of events by key and, where old and new ones share it, by file; otherwise they keep theirs.

    Args:
        key, file: int [events], the first `old` ones ascending by key, and so the rest.
        old: how many.
    """
    order = np.argsort(key, kind="stable")  # two ascending runs: it only merges them
    place = np.searchsorted(key[:old], key[old:])
    shared = key[old:][key[np.minimum(place, max(old - 1, 0))] == key[old:]] if old else key[:0]
    if len(shared):
        tied = np.flatnonzero(pd.Series(key[order]).isin(shared))
        events = order[tied]
        order[tied] = events[np.lexsort((events, file[events], key[events]))]
    return order


def _used(ids: pa.Array, place: np.ndarray, kept: np.ndarray) -> tuple[pa.Array, np.ndarray]:
    """The ids of kept events alone, and the places of all events among them, int32."""
    used = np.bincount(place[kept], minlength=len(ids)) > 0
    if used.all():
        return ids, place.astype(np.int32)
    return ids.filter(pa.array(used)), (np.cumsum(used, dtype=np.int32) - np.int32(1))[place]


def _no_events(users: pa.Array, items: pa.Array) -> pa.Schema:
    place = {name: pa.int64() for name in ORDER}
    return pa.schema({USER_ID: users.type, ITEM_ID: items.type, RATING: pa.float32(), TIMESTAMP: pa.int64(), **place})
