"""Reads features/: histories as NumPy arrays, in record batches, and the tables of users and items."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys import storage
from recsys.contract import schema


@dataclasses.dataclass(frozen=True)
class Histories:
    """Events of some users as a ragged array: those of row u are at offsets[u]:offsets[u + 1], ordered by time.

    Attributes:
        user_index: int32 [users]
        offsets: int64 [users + 1], from 0
        items: int32 [events], indices from 1
        ratings: float32 [events]
        timestamps: int64 [events], seconds
        train_length: int32 [users], number of events in the training part
        valid_length: int32 [users], number of events in the training and validation parts together
    """

    user_index: np.ndarray
    offsets: np.ndarray
    items: np.ndarray
    ratings: np.ndarray
    timestamps: np.ndarray
    train_length: np.ndarray
    valid_length: np.ndarray

    def __len__(self) -> int:
        return len(self.user_index)

    @property
    def lengths(self) -> np.ndarray:
        """Number of events of each user, int64 [users]."""
        return np.diff(self.offsets)

    def rows(self, rows: np.ndarray) -> Histories:
        """The users in the given rows, in that order."""
        lengths = self.lengths[rows]
        events = ranges(self.offsets[rows], lengths)
        return Histories(
            self.user_index[rows],
            np.concatenate(([0], np.cumsum(lengths))),
            self.items[events],
            self.ratings[events],
            self.timestamps[events],
            self.train_length[rows],
            self.valid_length[rows],
        )

    def head(self, lengths: np.ndarray) -> Histories:
        """The first `lengths[u]` events of each user; `head(train_length)` is the training part."""
        lengths = np.minimum(lengths, self.lengths)
        return self._events(ranges(self.offsets[:-1], lengths), lengths)

    def tail(self, lengths: np.ndarray) -> Histories:
        """The last `lengths[u]` events of each user; positions of the split no longer hold."""
        lengths = np.minimum(lengths, self.lengths)
        return self._events(ranges(self.offsets[1:] - lengths, lengths), lengths)

    def _events(self, events: np.ndarray, lengths: np.ndarray) -> Histories:
        return dataclasses.replace(
            self,
            offsets=np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))),
            items=self.items[events],
            ratings=self.ratings[events],
            timestamps=self.timestamps[events],
        )


def learnable(block: Histories, min_user_events: int) -> Histories:
    """The users with at least `features.min_user_events` events; the others neither train nor are evaluated.

    The training part of the others is their whole history, which would leak the future with a split by time.
    """
    enough = block.lengths >= min_user_events
    return block if enough.all() else block.rows(np.flatnonzero(enough))


def read_learnable(features: str, min_user_events: int) -> Histories:
    """All histories of the users who are learned from."""
    return learnable(read(features), min_user_events)


def ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """`concatenate([arange(s, s + n) for s, n in zip(starts, lengths)])` without a loop: int64 [sum(lengths)]."""
    ends = np.cumsum(lengths, dtype=np.int64)
    total = int(ends[-1]) if len(ends) else 0
    events: np.ndarray = np.arange(total, dtype=np.int64) + np.repeat(np.asarray(starts, np.int64) - (ends - lengths), lengths)
    return events


def files(features: str) -> list[str]:
    """The files of histories/, ordered by user_index, each with about a million events."""
    return storage.parquet_files(storage.join(features, schema.HISTORIES_DIR))


def read(features: str) -> Histories:
    """All histories of features/, ordered by user_index; 16 bytes per event."""
    return read_files(files(features))


def read_files(paths: list[str]) -> Histories:
    """The histories of some of the `files`, in the given order."""
    parts = [block for path in paths for block in _blocks(path, batch_users=65_536)]
    return concatenate(parts) if parts else EMPTY


def stream(features: str, batch_users: int) -> Iterator[Histories]:
    """Histories ordered by user_index, at most `batch_users` at a time; memory is bounded by one batch."""
    for path in files(features):
        yield from _blocks(path, batch_users)


def read_users(features: str, users: Sequence[int]) -> Histories:
    """The events of a few users, without those who have none; positions of the split do not hold.

    Row groups without these users are skipped, by their statistics.
    """
    names = [schema.ITEMS, schema.RATINGS, schema.TIMESTAMPS]
    wanted = pc.field(schema.USER_INDEX).isin(pa.array(users, pa.int32()))
    found = storage.read_rows(storage.join(features, schema.HISTORIES_DIR), wanted, [schema.USER_INDEX, *names])
    lengths = pc.list_value_length(found.column(schema.ITEMS)).to_numpy()
    items, ratings, timestamps = (found.column(name).combine_chunks().flatten().to_numpy() for name in names)
    offsets, index = np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))), found.column(schema.USER_INDEX).to_numpy()
    return Histories(index, offsets, items, ratings, timestamps, lengths, lengths)


def concatenate(parts: list[Histories]) -> Histories:
    """Joins several blocks of users."""
    lengths = np.concatenate([part.lengths for part in parts])
    names = [field.name for field in dataclasses.fields(Histories) if field.name != "offsets"]
    columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in names}
    return Histories(offsets=np.concatenate(([0], np.cumsum(lengths))), **columns)


def read_table(features: str, folder: str, columns: list[str] | None = None) -> pa.Table:
    """A folder of features/, such as users/ or items/, as one Arrow table ordered by index."""
    parts = []
    for path in storage.parquet_files(storage.join(features, folder)):
        with storage.open_parquet(path) as file:
            parts.append(file.read(columns=columns))
    return pa.concat_tables(parts)


def read_schema(features: str, folder: str) -> pa.Schema:
    """Arrow schema of a folder of features/, such as users/ or items/."""
    with storage.open_parquet(storage.parquet_files(storage.join(features, folder))[0]) as file:
        return file.schema_arrow


def _blocks(path: str, batch_users: int) -> Iterator[Histories]:
    with storage.open_parquet(path) as file:
        for batch in file.iter_batches(batch_size=batch_users, columns=schema.HISTORIES.names):
            if batch.num_rows:
                yield _from_arrow(batch)


def _from_arrow(batch: pa.RecordBatch) -> Histories:
    items = batch.column(schema.ITEMS)
    offsets = items.offsets.to_numpy().astype(np.int64)
    return Histories(
        batch.column(schema.USER_INDEX).to_numpy(),
        offsets - offsets[0],
        items.flatten().to_numpy(),
        batch.column(schema.RATINGS).flatten().to_numpy(),
        batch.column(schema.TIMESTAMPS).flatten().to_numpy(),
        batch.column(schema.TRAIN_LENGTH).to_numpy(),
        batch.column(schema.VALID_LENGTH).to_numpy(),
    )


_NONE = np.zeros(0, np.int32)
EMPTY = Histories(_NONE, np.zeros(1, np.int64), _NONE, _NONE.astype(np.float32), _NONE.astype(np.int64), _NONE, _NONE)
"""No users."""
