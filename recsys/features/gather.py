"""The two passes of Spark's workers that turn rows into histories: divide the events by user, and gather each user's."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys.contract.schema import FILE, ITEM_ID, POSITION, RATING, REASON, TIMESTAMP, USER_ID
from recsys.features import chunks, clean, moments, sums, values
from recsys.features.chunks import Chunk, Packed
from recsys.sources.pieces import BLOCK, FILE_NUMBER, ORDER, ROW

EVENTS: Final = "events"
HISTORIES: Final = "histories"
REPEATS: Final = "repeats"
ASIDE: Final = "aside"
SUMS: Final = "sums"
SPANS: Final = "spans"
_ROWS_PER_PARTITION: Final = 1 << 11
"""So many rows for each partition are collected before they are divided."""
_BYTES: Final = 256 << 20
"""At most about so many bytes of events are collected."""
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)
"""2^64 divided by the golden ratio: multiplying by it spreads consecutive ids (Knuth, The Art of Computer Programming, 6.4)."""

_VALUES: Final = (RATING, TIMESTAMP, FILE_NUMBER)

Part = tuple[str, Any]
"""Kind and content, packed; this is all that Spark moves. It counts elements, not what they hold."""
NumberOf = Callable[[pa.Array], np.ndarray]
"""The partition of each of some ids, int [ids]."""


def divide(
    batches: Iterator[pa.RecordBatch], layout: clean.Layout, partitions: int, number_of: NumberOf | None = None
) -> Iterator[tuple[int, Part]]:
    """First pass: parses rows, and packs them by the partition of their user.

    Args:
        batches: rows of the source's table, see `pieces.read`.
        layout: of the table.
        partitions: into how many to divide.
        number_of: gives the partition of each user, `partition_of` if left out.

    Yields:
        Number of a partition, and EVENTS, or rows set ASIDE, which are spread over all partitions.
    """
    number_of = number_of or partial(partition_of, partitions=partitions)
    events: list[pa.RecordBatch] = []
    aside: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        usable, others = _parsed(values.decoded(batch), layout)
        events.append(usable)
        aside.append(others)
        rows, size = rows + len(batch), size + usable.nbytes + others.nbytes
        if rows >= _ROWS_PER_PARTITION * partitions or size >= _BYTES:
            yield from _divided(events, aside, partitions, number_of)
            events, aside, rows, size = [], [], 0, 0
    if events:
        yield from _divided(events, aside, partitions, number_of)


def gather(parts: Iterator[Part], least: int, layout: clean.Layout, spans: int = moments.COARSE) -> Iterator[Part]:
    """Second pass: sorts the events of a partition into histories and sets repeats aside.

    Of several events of a user with one item the first stays.

    Args:
        parts: all events of some users, and rows set aside.
        least: features.min_user_events.
        layout: of the source's table.
        spans: see `moments.count`.

    Yields:
        Chunks of HISTORIES, their REPEATS, batches of (reason, file, row) set ASIDE, the SUMS, and the SPANS of time.
    """
    found: dict[str, list[pa.RecordBatch]] = {EVENTS: [], ASIDE: []}
    for kind, value in parts:
        found[kind].append(chunks.unpack(value))
    found[EVENTS].sort(key=lambda batch: [batch[name][0].as_py() for name in ORDER])  # all are in source order then, as a rule
    aside = [in_order(found[ASIDE])] if found[ASIDE] else []
    histories = []
    if found[EVENTS]:
        chunk, repeats = _histories(pa.Table.from_batches(found[EVENTS]))
        histories = list(chunk.divided())
        yield REPEATS, Packed(repeats)
        aside.append(repeated(repeats, layout))
    yield from packed(histories, aside, least, spans)


def packed(
    histories: Sequence[Chunk], aside: Sequence[pa.RecordBatch], least: int, spans: int = moments.COARSE
) -> Iterator[Part]:
    """The parts of a partition: its histories and their spans (moments.count), the rows set aside, and the sums of both."""
    whole = pa.concat_batches(aside) if aside else _aside([], [], [])
    for chunk in histories:
        yield HISTORIES, chunk.pack()
    if len(whole):
        yield ASIDE, Packed(whole)
    yield SUMS, sums.of(histories, whole, least).to_json().encode()
    if histories:
        yield SPANS, moments.count(histories, least, spans)


def partition_of(ids: pa.Array, partitions: int) -> np.ndarray:
    """A partition for each id, the same in every process; int64 [ids]."""
    if pa.types.is_integer(ids.type):
        mixed: np.ndarray = ids.to_numpy().astype(np.uint64) * _GOLDEN >> np.uint64(32)
        return (mixed % np.uint64(partitions)).astype(np.int64)
    found = ids.dictionary_encode()
    of_value = np.array([zlib.crc32(text.encode()) % partitions for text in found.dictionary.to_pylist()], np.int64)
    partition: np.ndarray = of_value[np.asarray(found.indices)]
    return partition


def place(columns: Any) -> np.ndarray:
    """A number for each row that ascends in source order; int64 [rows].

    Args:
        columns: gives an array for each name in ORDER.
    """
    block = columns[FILE_NUMBER].to_numpy().astype(np.int64) << 40 | columns[BLOCK].to_numpy()  # files of up to a terabyte
    number, _ = pd.factorize(block, sort=True)
    found: np.ndarray = number << 40 | columns[ROW].to_numpy()
    return found


def texts(user: pa.Array, item: pa.Array, rating: pa.Array, timestamp: pa.Array, layout: clean.Layout) -> pa.Array:
    """Rows for events: the values of the source's columns that are read, in their order, with the time in seconds."""
    given = {layout.user_id: user, layout.item_id: item, layout.rating: rating, layout.timestamp: timestamp}
    columns = [_as_text(given[name]) for name in layout.columns if name in given]
    return pc.binary_join_element_wise(*columns, layout.delimiter or ",")


def _as_text(column: pa.Array) -> pa.Array:
    """A column as text; each distinct number of 32 bits, of which there are few, is written once."""
    if not pa.types.is_float32(column.type):
        return column.cast(pa.string())
    found = column.dictionary_encode()
    return found.dictionary.cast(pa.string()).take(found.indices)


def repeated(repeats: pa.RecordBatch, layout: clean.Layout) -> pa.RecordBatch:
    """Repeats, see `parted`, as rows set aside."""
    text = texts(repeats[USER_ID], repeats[ITEM_ID], repeats[RATING], repeats[TIMESTAMP], layout)
    return set_aside(clean.DUPLICATE, repeats[FILE].to_numpy(), text)


def set_aside(reason: str, files: np.ndarray, rows: pa.Array) -> pa.RecordBatch:
    """Rows set aside for one reason.

    Args:
        reason: for all of them.
        files: int32 [rows], numbers of their files.
        rows: their text.
    """
    return _aside(pa.repeat(reason, len(rows)), files, rows)


def _parsed(batch: pa.RecordBatch, layout: clean.Layout) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """The usable events of a batch, and its other rows with their text; both with ORDER."""
    found = clean.events(batch, layout)
    columns = {USER_ID: found.user_id, ITEM_ID: found.item_id, RATING: found.rating, TIMESTAMP: found.timestamp}
    usable = found.usable & ~layout.forgotten.are(found.user_id)
    events = pa.RecordBatch.from_pydict({**columns, **{name: batch[name] for name in ORDER}})
    if not usable.all():
        events = events.filter(pa.array(usable))
    bad = np.flatnonzero(~found.usable)
    text = clean.texts(batch, bad, layout)
    others = {REASON: found.reasons, sums.TEXT: text, **{name: batch[name].take(pa.array(bad)) for name in ORDER}}
    gone = clean.forgotten(batch, bad, found.user_id, text, layout)
    return events, pa.RecordBatch.from_pydict(others).filter(pa.array(~gone))


def _divided(
    events: Sequence[pa.RecordBatch], aside: Sequence[pa.RecordBatch], partitions: int, number_of: NumberOf
) -> Iterator[tuple[int, Part]]:
    usable, others = pa.concat_batches(events), pa.concat_batches(aside)
    for number, value in chunks.pack_by(number_of(usable[USER_ID]), usable):
        yield number, (EVENTS, value)
    for number, value in chunks.pack_by(others[ROW].to_numpy() % partitions, others):
        yield number, (ASIDE, value)


def _histories(events: pa.Table) -> tuple[Chunk, pa.RecordBatch]:
    """Histories of some events, and the repeats; see `parted`."""
    columns = {name: events[name].combine_chunks() for name in events.column_names}
    users, items = columns[USER_ID].dictionary_encode(), columns[ITEM_ID].dictionary_encode()
    ascending = pc.sort_indices(users.dictionary).to_numpy()
    rank = np.empty(len(ascending), np.int64)
    rank[ascending] = np.arange(len(ascending))
    user, item = rank[users.indices.to_numpy()], items.indices.to_numpy()
    time = columns[TIMESTAMP].to_numpy()
    source = place(columns)
    order = chunks.order_by([user, time] if chunks.ascending([source]) else [user, time, source])
    first = ~pd.Series((user * len(items.dictionary) + item)[order]).duplicated().to_numpy()
    ids = users.dictionary.take(pa.array(ascending)), items.dictionary
    return parted(*ids, ~first, user[order], item[order], *(columns[name].to_numpy()[order] for name in _VALUES))


def parted(
    user_ids: pa.Array,
    item_ids: pa.Array,
    again: np.ndarray,
    user: np.ndarray,
    item: np.ndarray,
    rating: np.ndarray,
    timestamp: np.ndarray,
    file: np.ndarray,
) -> tuple[Chunk, pa.RecordBatch]:
    """Histories of events in their order, and the repeats: user and item, rating, timestamp, file and position of each.

    Args:
        user_ids: ascending; each has an event that is no repeat.
        item_ids: each has such an event.
        again: bool [events], which are repeats.
        user, item: int [events], places in the ids; the users ascend.
        rating, timestamp, file: [events].
    """
    kept, repeated = np.flatnonzero(~again), np.flatnonzero(again)
    whole, left = (np.bincount(users, minlength=len(user_ids)) for users in (user, user[kept]))
    offsets = np.concatenate([[0], np.cumsum(left)])
    chunk = Chunk(user_ids, offsets, item[kept], item_ids, rating[kept], timestamp[kept], file[kept])
    of = user[repeated]
    repeats = {
        USER_ID: user_ids.take(pa.array(of)),
        ITEM_ID: item_ids.take(pa.array(item[repeated])),
        RATING: rating[repeated],
        TIMESTAMP: timestamp[repeated],
        FILE: file[repeated],
        POSITION: (repeated - (np.cumsum(whole) - whole)[of]).astype(np.int32),
    }
    return chunk, pa.RecordBatch.from_pydict(repeats)


def in_order(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    """(reason, file, row) of rows set aside with ORDER, in source order."""
    whole = pa.concat_batches(batches)
    order = pc.sort_indices(whole, sort_keys=[(name, "ascending") for name in ORDER])
    ordered = whole.take(order)
    return _aside(ordered[REASON], ordered[FILE_NUMBER], ordered[sums.TEXT])


def _aside(reasons: Any, files: Any, rows: Any) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays(
        [pa.array(reasons, pa.string()), pa.array(files, pa.int32()), pa.array(rows, pa.string())],
        names=[REASON, FILE, sums.TEXT],
    )
