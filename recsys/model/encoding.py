"""Features of users and items as the network takes them: bags of codes and standardised numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from recsys.contract import histories, schema
from recsys.contract.features_info import EncodedFeature, Encoding, FeaturesInfo
from recsys.model.network import GAP_BUCKETS

MAX_SLOTS = 16
"""At most so many values of one multi-valued feature are used; the rarest are left out."""


@dataclasses.dataclass(frozen=True)
class Bags:
    """Features of all users, or of all items; row 0 is padding.

    Attributes:
        codes: int32 [rows + 1, slots]; each feature's codes are shifted by an offset of its own, 0 means nothing.
        numbers: float32 [rows + 1, features]
        size: number of codes over all features, 0 included.
    """

    codes: np.ndarray
    numbers: np.ndarray
    size: int


@dataclasses.dataclass(frozen=True)
class Encoder:
    """What it takes to turn histories into the network's inputs.

    Attributes:
        users: features of all users, row = user_index.
        rating_mean, rating_std: of the training part; ratings go in standardised.
    """

    users: Bags
    rating_mean: float
    rating_std: float


def make_encoder(features: str, encoding: Encoding) -> Encoder:
    """The encoder for the given features."""
    return Encoder(user_bags(features, encoding), encoding.rating_mean, encoding.rating_std or 1.0)


def user_bags(features: str, encoding: Encoding) -> Bags:
    """Features of all users."""
    return _bags(features, encoding.users_dir, encoding.user_features, schema.USER_INDEX)


def item_bags(features: str, encoding: Encoding) -> Bags:
    """Features of all items."""
    return _bags(features, encoding.items_dir, encoding.item_features, schema.ITEM_INDEX)


def item_counts(features: str, info: FeaturesInfo, whole: bool = False) -> np.ndarray:
    """Events of each item in the training part (or, `whole`, in all), int64 [items + 1]; 0 for padding."""
    counts = np.zeros(info.items + 1, np.int64)
    for block in histories.stream(features, batch_users=65_536):
        items = block.items if whole else block.head(block.train_length).items
        counts += np.bincount(items, minlength=len(counts))
    return counts


def gap_codes(timestamps: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Code of the time since the event before, int32 [events]: see GAP_BUCKETS.

    Args:
        timestamps: int64 [events] in seconds, histories one after another.
        position: place of each event in its history; 0 has no event before.
    """
    gaps = np.diff(timestamps, prepend=timestamps[:1])
    codes = 1 + np.floor(np.log2(1.0 + np.maximum(gaps, 0))).astype(np.int32)
    return np.where(position > 0, np.minimum(codes, GAP_BUCKETS - 1), 0).astype(np.int32)


def _bags(features: str, folder: str, declared: Sequence[EncodedFeature], index: str) -> Bags:
    """All declared features side by side. At least one slot and one number, so that shapes never vanish."""
    table = histories.read_table(features, folder, [index, *(feature.name for feature in declared)])
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
    return Bags(np.pad(codes, [(1, 0), (0, 0)]), np.pad(values, [(1, 0), (0, 0)]), size)


def _padded(column: pa.ListArray, rows: int) -> np.ndarray:
    """Lists of codes as int32 [rows, slots], the first MAX_SLOTS of each (smaller codes are more frequent values)."""
    lengths = np.minimum(np.diff(column.offsets.to_numpy()), MAX_SLOTS)
    padded = np.zeros((rows, max(1, int(lengths.max(initial=0)))), np.int32)
    row = np.repeat(np.arange(rows), lengths)
    place = histories.ranges(np.zeros(rows, np.int64), lengths)
    padded[row, place] = column.values.to_numpy()[histories.ranges(column.offsets.to_numpy()[:-1], lengths)]
    return padded
