"""Made-up features of the size of MovieLens 1M or any other: what a step costs does not depend on what the events mean."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys import storage
from recsys.contract import schema
from recsys.contract.features_info import EncodedFeature, Encoding, FeaturesInfo, SplitInfo

EVENTS_PER_USER: Final = 166
"""As in MovieLens 1M."""
_ITEM_FEATURES: Final = (EncodedFeature("tags", "multi", 60, max_values=6), EncodedFeature("year", "numeric", 1))
_USER_FEATURES: Final = (EncodedFeature("groups", "multi", 30, max_values=4), EncodedFeature("age", "numeric", 1))


def write_features(folder: str, items: int, events: int, seed: int = 0) -> FeaturesInfo:
    """Writes what training reads of features/: one file of histories, users/ and items/; all events are for training.

    Args:
        folder: an empty local folder.
        items: size of the catalogue; the events are spread evenly over it.
        events: of all users together, at least one.
        seed: of everything drawn.

    Returns:
        What features.json would say.
    """
    random, users = np.random.default_rng(seed), max(1, events // EVENTS_PER_USER)
    lengths = random.multinomial(events, random.dirichlet(np.ones(users)))
    offsets = pa.array(np.concatenate(([0], np.cumsum(lengths))), pa.int32())
    gaps, length = random.integers(0, 100_000, events), pa.array(lengths, pa.int32())
    values = {
        schema.ITEMS: random.integers(1, items + 1, events, np.int32),
        schema.RATINGS: random.integers(1, 6, events).astype(np.float32),
        schema.TIMESTAMPS: np.cumsum(gaps),
        schema.FILES: np.zeros(events, np.int32),
    }
    columns = {
        schema.USER_INDEX: pa.array(np.arange(1, users + 1), pa.int32()),
        **{name: pa.ListArray.from_arrays(offsets, pa.array(value)) for name, value in values.items()},
        schema.TRAIN_LENGTH: length,
        schema.VALID_LENGTH: length,
    }
    _write(folder, schema.HISTORIES_DIR, pa.table(columns, schema=schema.HISTORIES))
    _write(folder, schema.USERS_DIR, _encoded(schema.USER_INDEX, users, _USER_FEATURES, random))
    _write(folder, schema.ITEMS_DIR, _encoded(schema.ITEM_INDEX, items, _ITEM_FEATURES, random))
    encoding = Encoding(schema.USERS_DIR, schema.ITEMS_DIR, _USER_FEATURES, _ITEM_FEATURES, rating_mean=3.0, rating_std=1.4)
    return FeaturesInfo(
        users=users,
        items=items,
        events=events,
        train_events=events,
        valid_events=0,
        test_events=0,
        train_users=int(np.count_nonzero(lengths)),
        train_items=len(np.unique(values[schema.ITEMS])),
        skipped_users=0,
        min_user_events=0,
        max_history=int(lengths.max()),
        user_id_type="int64",
        item_id_type="int64",
        has_ratings=True,
        latest_timestamp=int(values[schema.TIMESTAMPS][-1]),
        latest_train_timestamp=int(values[schema.TIMESTAMPS][-1]),
        split=SplitInfo("leave-one-out"),
        evaluated=encoding,
        published=encoding,
        rejected={},
        options={},
    )


def _encoded(index: str, rows: int, features: tuple[EncodedFeature, ...], random: np.random.Generator) -> pa.Table:
    """Random features of all users or items, each list as long as it may be."""
    columns = {index: pa.array(np.arange(1, rows + 1), pa.int32())}
    for feature in features:
        if feature.kind == "numeric":
            columns[feature.name] = pa.array(random.standard_normal(rows).astype(np.float32))
        else:
            codes = random.integers(1, feature.size, rows * feature.max_values, np.int32)
            offsets = np.arange(0, len(codes) + 1, feature.max_values, dtype=np.int32)
            columns[feature.name] = pa.ListArray.from_arrays(pa.array(offsets), pa.array(codes))
    return pa.table(columns)


def _write(folder: str, table: str, content: pa.Table) -> None:
    storage.create_folder(storage.join(folder, table))
    pq.write_table(content, storage.join(folder, table, schema.part_file(0)))
