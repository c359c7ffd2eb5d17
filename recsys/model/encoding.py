"""What the network reads: features of users and items as bags of codes and numbers, histories as arrays of positions."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from recsys.contract.features_info import EncodedFeature
from recsys.contract.histories import Histories, ranges
from recsys.contract.schema import DAY
from recsys.model.network import GAP_BUCKETS

MAX_SLOTS: Final = 16
"""Values used of one multi-valued feature, at most; the rarest are dropped."""

Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Bags:
    """Features of all users, or of all items; row 0 is padding.

    Attributes:
        codes: int32 [rows + 1, slots]; each feature's codes are shifted by its own offset, 0 means nothing.
        numbers: float32 [rows + 1, features]
    """

    codes: np.ndarray
    numbers: np.ndarray


@dataclasses.dataclass(frozen=True)
class Encoder:
    """What is needed to turn histories into the network's inputs.

    Attributes:
        users: features of all users, row = user_index.
        rating_mean, rating_std: ratings are standardised by these.
    """

    users: Bags
    rating_mean: float
    rating_std: float


def bags(table: pa.Table, declared: Sequence[EncodedFeature]) -> Bags:
    """All declared features side by side; at least one slot and one number, so that no dimension is empty.

    Args:
        table: a column for each feature, rows in order of index.
        declared: the features.
    """
    rows = table.num_rows
    slots, numbers, size = [np.zeros((rows, 1), np.int32)], [np.zeros((rows, 1), np.float32)], 1
    for feature in declared:
        column = table.column(feature.name).combine_chunks()
        if feature.kind == "numeric":
            numbers.append(column.to_numpy(zero_copy_only=False).astype(np.float32)[:, None])
            continue
        codes = _padded(column, rows) if pa.types.is_list(column.type) else column.to_numpy(zero_copy_only=False)[:, None]
        slots.append(np.where(codes > 0, codes + (size - 1), 0).astype(np.int32))
        size += feature.size - 1
    first = 1 if len(slots) > 1 else 0
    codes = np.concatenate(slots[first:], axis=1)
    values = np.concatenate(numbers[1 if len(numbers) > 1 else 0 :], axis=1)
    return Bags(np.pad(codes, [(1, 0), (0, 0)]), np.pad(values, [(1, 0), (0, 0)]))


def sizes(declared: Sequence[EncodedFeature]) -> tuple[int, int]:
    """The number of codes over all these features, 0 included, and the slots of a row: see Bags."""
    coded = [feature for feature in declared if feature.kind != "numeric"]
    slots = sum(min(max(1, feature.max_values), MAX_SLOTS) for feature in coded)
    return 1 + sum(feature.size - 1 for feature in coded), max(1, slots)


def code_origins(before: Sequence[EncodedFeature], after: Sequence[EncodedFeature]) -> np.ndarray:
    """The code in the bags of `before` for each code in those of `after`: int64 [codes], 0 for a new one.

    Both have the same features in the same order. A value keeps its vector whatever its code.
    """
    origins, offset = [np.zeros(1, np.int64)], 0
    for old, new in zip(before, after, strict=True):
        if old.kind == "numeric":
            continue
        codes = {value: code for code, value in enumerate(old.values or (), start=offset + 1)}
        origins.append(np.array([codes.get(value, 0) for value in new.values or ()], np.int64))
        offset += old.size - 1
    return np.concatenate(origins)


def gap_codes(gaps: np.ndarray) -> np.ndarray:
    """Codes of times between events, int32, shaped as the times in seconds: see GAP_BUCKETS."""
    codes: np.ndarray = np.minimum(1 + np.floor(np.log2(1.0 + np.maximum(gaps, 0))), GAP_BUCKETS - 1).astype(np.int32)
    return codes


def days(timestamps: np.ndarray) -> np.ndarray:
    """Days since 1970, int32, shaped as the times in seconds."""
    return (timestamps // DAY).astype(np.int32)


def positions(block: Histories, encoder: Encoder) -> Arrays:
    """The network's inputs at every position; each user has one position more than events.

    Returns:
        Flat arrays of sum(lengths + 1) positions, histories one after another: item, rating, gap, day, position, user (the row
        of `encoder.users`). Position p of a history holds its event p - 1; position 0 holds none.
    """
    lengths = block.lengths + 1
    rows = np.repeat(np.arange(len(block)), lengths)
    return {**_inputs(block, encoder, rows, ranges(np.zeros(len(block), np.int64), lengths)), "user": block.user_index[rows]}


def scoring_rows(block: Histories, encoder: Encoder, length: int) -> Arrays:
    """The last `length` positions of each history, right-aligned, for scoring the next item.

    Returns:
        The network's inputs [users, length, …]; positions before a history's start have item 0 and position 0. The features of
        the users are the same at all positions: user_codes [users, 1, slots], user_numbers [users, 1, features].
    """
    lengths = np.minimum(block.lengths + 1, length)
    rows, places = np.repeat(np.arange(len(block)), lengths), ranges(length - lengths, lengths)
    found = {"user": block.user_index[:, None]}
    for name, values in _inputs(block, encoder, rows, ranges(block.lengths + 1 - lengths, lengths)).items():
        found[name] = np.zeros((len(block), length), values.dtype)
        found[name][rows, places] = values
    return with_users(found, encoder)


def _inputs(block: Histories, encoder: Encoder, rows: np.ndarray, position: np.ndarray) -> Arrays:
    """item, rating, gap, day and position at some positions of the histories in some rows."""
    event = block.offsets[rows] + position - 1
    started, later = np.flatnonzero(position), np.flatnonzero(position > 1)
    here, there = event[started], event[later]
    found = {
        "item": np.zeros(len(position), np.int32),
        "rating": np.zeros(len(position), np.float32),
        "gap": np.zeros(len(position), np.int32),
        "day": np.zeros(len(position), np.int32),
        "position": position.astype(np.int32),
    }
    found["item"][started] = block.items[here]
    found["rating"][started] = (block.ratings[here] - encoder.rating_mean) / encoder.rating_std
    found["day"][started] = days(block.timestamps[here])
    found["gap"][later] = gap_codes(block.timestamps[there] - block.timestamps[there - 1])
    return found


def with_users(arrays: Arrays, encoder: Encoder) -> Arrays:
    """Replaces `user` with the user's features at every position."""
    user = arrays["user"]
    rest = {name: value for name, value in arrays.items() if name != "user"}
    return {**rest, "user_codes": encoder.users.codes[user], "user_numbers": encoder.users.numbers[user]}


def _padded(column: pa.ListArray, rows: int) -> np.ndarray:
    """Lists of codes as int32 [rows, slots], the first MAX_SLOTS of each (smaller codes are more frequent values)."""
    lengths = np.minimum(np.diff(column.offsets.to_numpy()), MAX_SLOTS)
    padded = np.zeros((rows, max(1, int(lengths.max(initial=0)))), np.int32)
    row = np.repeat(np.arange(rows), lengths)
    place = ranges(np.zeros(rows, np.int64), lengths)
    padded[row, place] = column.values.to_numpy()[ranges(column.offsets.to_numpy()[:-1], lengths)]
    return padded
