"""Histories on their way through Spark: Arrow's own format in one binary value a chunk, so that the JVM handles no event.

Spark moves and stores rows one by one, at about a microsecond each; a chunk is one row to it, whatever it holds.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.contract.schema import FILES, ITEMS, RATINGS, TIMESTAMPS, USER_ID
from recsys.sources.pieces import BLOCK, FILE_NUMBER

EVENTS_PER_CHUNK: Final = 500_000
RUNS: Final = (FILE_NUMBER, BLOCK)
"""Columns whose values stay the same for many rows."""


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Histories of some users.

    Attributes:
        users: ids, ascending [users].
        offsets: int64 [users + 1]; the events of user n are those from offsets[n] to offsets[n + 1].
        items: int32 [events], places in `item_ids`.
        item_ids: distinct ids, each of at least one of the events.
        ratings: float32 [events].
        timestamps: int64 [events], seconds, ascending in each history.
        files: int32 [events], number of the event's file in the source.
    """

    users: pa.Array
    offsets: np.ndarray
    items: np.ndarray
    item_ids: pa.Array
    ratings: np.ndarray
    timestamps: np.ndarray
    files: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        """Events of each user; int64 [users]."""
        return np.diff(self.offsets)

    @property
    def positions(self) -> np.ndarray:
        """Of each event in its history, from 0; int64 [events]."""
        found: np.ndarray = np.arange(len(self.items)) - np.repeat(self.offsets[:-1], self.lengths)
        return found

    def divided(self) -> Iterator[Chunk]:
        """The same in parts of about EVENTS_PER_CHUNK events."""
        start = 0
        while start < len(self.users):
            end = int(np.searchsorted(self.offsets, self.offsets[start] + EVENTS_PER_CHUNK, side="right")) - 1
            end = max(end, start + 1)
            yield self.part(start, end)
            start = end

    def part(self, start: int, end: int) -> Chunk:
        """The histories of the users from `start` to `end`."""
        events = slice(self.offsets[start], self.offsets[end])
        items, item_ids = self._items_of(events)
        return dataclasses.replace(
            self,
            users=self.users[start:end],
            offsets=self.offsets[start : end + 1] - self.offsets[start],
            items=items,
            item_ids=item_ids,
            ratings=self.ratings[events],
            timestamps=self.timestamps[events],
            files=self.files[events],
        )

    def kept(self, events: np.ndarray) -> Chunk:
        """Without some events, and without the users and items that have none left.

        Args:
            events: bool [events], those that stay.
        """
        user = np.repeat(np.arange(len(self.users)), self.lengths)[events]
        lengths = np.bincount(user, minlength=len(self.users))
        left = lengths > 0
        items, item_ids = self._items_of(events)
        return dataclasses.replace(
            self,
            users=self.users.filter(pa.array(left)),
            offsets=np.concatenate([[0], np.cumsum(lengths[left])]),
            items=items,
            item_ids=item_ids,
            ratings=self.ratings[events],
            timestamps=self.timestamps[events],
            files=self.files[events],
        )

    def _items_of(self, events: slice | np.ndarray) -> tuple[np.ndarray, pa.Array]:
        """`items` and `item_ids` of some events."""
        items = self.items[events]
        used = np.bincount(items, minlength=len(self.item_ids)) > 0
        place = np.cumsum(used, dtype=np.int32) - np.int32(1)
        return place[items], self.item_ids.filter(pa.array(used))

    def pack(self) -> Packed:
        """For `unpack_chunk`."""
        offsets = pa.array(self.offsets, pa.int32())
        items = pa.DictionaryArray.from_arrays(pa.array(self.items, pa.int32()), self.item_ids)
        columns = {ITEMS: items, RATINGS: self.ratings, TIMESTAMPS: self.timestamps, FILES: self.files}
        lists = {name: pa.ListArray.from_arrays(offsets, pa.array(column)) for name, column in columns.items()}
        return Packed(pa.RecordBatch.from_pydict({USER_ID: self.users, **lists}))


class Packed:
    """A batch on its way: one binary value to Spark, to which it is pickled, and itself within a process.

    Args:
        batch: may be a slice; only its own rows are pickled, and of RUNS only where they change.
    """

    __slots__ = ("batch",)

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch

    def __reduce__(self) -> tuple[Any, ...]:
        batch = _each(self.batch, pc.run_end_encode)
        size = pa.MockOutputStream()  # only counts; a stream that grows would copy what it has again and again
        _write(batch, size)
        content = pa.allocate_buffer(size.size())
        _write(batch, pa.FixedSizeBufferWriter(content))
        return _received, (content,)


def unpack(value: Packed) -> pa.RecordBatch:
    """What is packed."""
    return value.batch


def _received(content: pa.Buffer) -> Packed:
    return Packed(_each(pa.ipc.open_stream(content).read_next_batch(), pc.run_end_decode))


def _write(batch: pa.RecordBatch, sink: Any) -> None:
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)


def _each(batch: pa.RecordBatch, work: Callable[[pa.Array], pa.Array]) -> pa.RecordBatch:
    """A batch with what `work` makes of those of RUNS that it has."""
    columns = {name: work(batch[name]) if name in RUNS else batch[name] for name in batch.schema.names}
    return pa.RecordBatch.from_pydict(columns) if any(name in RUNS for name in columns) else batch


def unpack_chunk(value: Packed) -> Chunk:
    """The inverse of `Chunk.pack`."""
    batch = value.batch
    items = batch[ITEMS].flatten()
    return Chunk(
        batch[USER_ID],
        batch[ITEMS].offsets.to_numpy().astype(np.int64),
        items.indices.to_numpy(),
        items.dictionary,
        *(batch[name].flatten().to_numpy() for name in (RATINGS, TIMESTAMPS, FILES)),
    )


def ascending(columns: Sequence[np.ndarray]) -> bool:
    """Whether rows ascend by the first column, those that share its value by the second, and so on."""
    tied = np.ones(max(0, len(columns[0]) - 1), bool)
    for column in columns:
        if (tied & (column[1:] < column[:-1])).any():
            return False
        tied &= column[1:] == column[:-1]
    return True


def order_by(columns: Sequence[np.ndarray]) -> np.ndarray:
    """The order of rows by the first column, those that share its value by the second, and so on; otherwise as they come.

    Sorts by digits of 16 bits, the last first, each of which NumPy sorts by counting: several times as fast as by comparing.

    Args:
        columns: int [rows] each, none negative.
    """
    order = np.arange(len(columns[0]))
    for column in reversed(columns):
        for shift in range(0, int(column.max(initial=0)).bit_length(), 16):
            digit = (column >> shift).astype(np.uint16)
            order = order[np.argsort(digit[order], kind="stable")]
    return order


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """A table as one batch."""
    batches = table.combine_chunks().to_batches()
    return batches[0] if batches else pa.RecordBatch.from_pylist([], table.schema)


def grouped(numbered: Iterable[tuple[int, Packed]]) -> dict[int, list[Packed]]:
    """What `pack_by` has packed, by number."""
    found: dict[int, list[Packed]] = defaultdict(list)
    for number, value in numbered:
        found[number].append(value)
    return found


def pack_by(number: np.ndarray, batch: pa.RecordBatch) -> Iterator[tuple[int, Packed]]:
    """The rows of each number, packed, in their order.

    Args:
        number: int [rows], from 0.
        batch: the rows.
    """
    sizes = np.bincount(number)
    ends = np.cumsum(sizes)
    ordered = batch
    if not ascending([number]):  # otherwise taking them in their order would only copy them
        ordered = batch.take(pa.array(order_by([number])))
    for found in np.flatnonzero(sizes):
        yield int(found), Packed(ordered.slice(ends[found] - sizes[found], sizes[found]))
