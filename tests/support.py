"""Features of a run, made without Spark, for tests of what reads them, and a scorer that knows how they were made."""

import dataclasses

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys import storage
from recsys.contract import schema
from recsys.contract.features_info import EncodedFeature, Encoding, FeaturesInfo, SplitInfo, write_info
from recsys.measure.protocol import MatrixScorer


@dataclasses.dataclass(frozen=True)
class NextItem(MatrixScorer):
    """Knows the rule by which `chains` makes its histories."""

    name: str = "cnn <b>"
    items: int = 40

    def score(self, context):
        scores = np.zeros((len(context), self.items + 1), np.float32)
        for row, (start, end) in enumerate(zip(context.offsets[:-1], context.offsets[1:], strict=True)):
            if end > start:
                scores[row, context.items[end - 1] % self.items + 1] = 1
        return scores


STEP = 100_000
"""Seconds between the first two events of a history of `write_features`; later ones are further apart, over months."""


def chains(users=60, items=40, length=12, seed=0):
    """Histories in which each item is mostly followed by the next one, so that order can be learned."""
    random = np.random.default_rng(seed)
    found = []
    for _ in range(users):
        item, seen = int(random.integers(1, items + 1)), []
        while len(seen) < length:
            if item not in seen:
                seen.append(item)
            item = item % items + 1 if random.random() < 0.8 else int(random.integers(1, items + 1))
        found.append(seen[: int(random.integers(3, length + 1))])
    return found


def write_features(folder, histories, items, min_user_events=1, cold_users=1, test=1, valid=1, least_train=1):
    """features/ as the contract says: the last `test` events of each user are test, the `valid` before them validation.

    At least `least_train` of them are training events all the same.
    """
    folder = str(folder)
    users = len(histories) + cold_users
    lengths = np.array([len(h) for h in histories])
    valid_length = np.maximum(lengths - test, 1)
    train_length = np.maximum(valid_length - valid, least_train)
    start = 1_000_000_000
    columns = {
        schema.USER_INDEX: pa.array(np.arange(1, len(histories) + 1), pa.int32()),
        schema.ITEMS: pa.array(histories, pa.list_(pa.int32())),
        schema.RATINGS: pa.array([[float(1 + i % 5) for i in h] for h in histories], pa.list_(pa.float32())),
        schema.TIMESTAMPS: pa.array([[start + STEP * p * p for p in range(len(h))] for h in histories], pa.list_(pa.int64())),
        schema.TRAIN_LENGTH: pa.array(train_length, pa.int32()),
        schema.VALID_LENGTH: pa.array(valid_length, pa.int32()),
    }
    columns[schema.FILES] = pa.array([[0] * len(h) for h in histories], pa.list_(pa.int32()))
    _write(folder, schema.HISTORIES_DIR, pa.table(columns, schema=schema.HISTORIES))
    users_table = {
        schema.USER_INDEX: pa.array(np.arange(1, users + 1), pa.int32()),
        schema.USER_ID: pa.array([f"u{n:04d}" for n in range(1, users + 1)]),
        "gender": pa.array(np.arange(users) % 3, pa.int32()),
    }
    _write(folder, schema.USERS_DIR, pa.table(users_table))
    counts = np.zeros(items + 1, np.int64)
    for history, end in zip(histories, train_length, strict=True):
        counts[history[:end]] += 1
    items_table = {
        schema.ITEM_INDEX: pa.array(np.arange(1, items + 1), pa.int32()),
        schema.ITEM_ID: pa.array(np.arange(1, items + 1) * 10**15, pa.int64()),
        schema.TITLE: pa.array([f"Item {n}" for n in range(1, items + 1)]),
        schema.TRAIN_COUNT: pa.array(counts[1:], pa.int32()),
        schema.FIRST_SEEN: pa.array([start if c else None for c in counts[1:]], pa.int64()),
        "genres": pa.array([[1 + n % 3, 4] if n % 2 else [] for n in range(items)], pa.list_(pa.int32())),
        "year": pa.array(np.linspace(-1, 1, items), pa.float32()),
    }
    _write(folder, schema.ITEMS_DIR, pa.table(items_table))
    events = int(lengths.sum())
    encoding = Encoding(
        schema.USERS_DIR,
        schema.ITEMS_DIR,
        (EncodedFeature("gender", "categorical", 3, values=("F", "M")),),
        (EncodedFeature("genres", "multi", 5, 2, ("Action", "Comedy", "Crime", "Drama")), EncodedFeature("year", "numeric", 1)),
        rating_mean=3.0,
        rating_std=1.4,
    )
    info = FeaturesInfo(
        users=users,
        items=items,
        events=events,
        train_events=int(train_length.sum()),
        valid_events=int((valid_length - train_length).sum()),
        test_events=int((lengths - valid_length).sum()),
        train_users=len(histories),
        train_items=int((counts > 0).sum()),
        skipped_users=0,
        min_user_events=min_user_events,
        max_history=int(lengths.max()),
        user_id_type="string",
        item_id_type="int64",
        has_ratings=True,
        latest_timestamp=start,
        latest_train_timestamp=start,
        split=SplitInfo("leave-one-out"),
        evaluated=encoding,
        published=encoding,
        rejected={},
        options={},
    )
    write_info(folder, info)
    storage.mark_success(folder)
    return folder


def _write(folder, name, table):
    storage.create_folder(storage.join(folder, name))
    pq.write_table(table, storage.join(folder, name, "part-00000.parquet"))
