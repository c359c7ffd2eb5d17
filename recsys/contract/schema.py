"""Every column name, file name and Arrow schema that is shared between stages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import pyarrow as pa

DAY: Final = 86_400
"""In seconds, the unit of all times."""

# Source tables, as every source provides them.
USER_ID: Final = "user_id"
ITEM_ID: Final = "item_id"
RATING: Final = "rating"
TIMESTAMP: Final = "timestamp"
TITLE: Final = "title"

# Features: dense and numeric. Index 0 is padding, so the first user and the first item have index 1.
USER_INDEX: Final = "user_index"
ITEM_INDEX: Final = "item_index"
ITEMS: Final = "items"
RATINGS: Final = "ratings"
TIMESTAMPS: Final = "timestamps"
FILES: Final = "files"
"""histories/: the file of each event, by its place among the files of the interactions in run.json's inputs, from 0."""
TRAIN_LENGTH: Final = "train_length"
VALID_LENGTH: Final = "valid_length"
TRAIN_COUNT: Final = "train_count"
"""items/: number of the item's events in the training part."""
FIRST_SEEN: Final = "first_seen"
"""items/: timestamp of the item's first event in the training part, null if there is none."""

HISTORIES: Final = pa.schema(
    [
        pa.field(USER_INDEX, pa.int32(), nullable=False),
        pa.field(ITEMS, pa.list_(pa.int32()), nullable=False),
        pa.field(RATINGS, pa.list_(pa.float32()), nullable=False),
        pa.field(TIMESTAMPS, pa.list_(pa.int64()), nullable=False),
        pa.field(FILES, pa.list_(pa.int32()), nullable=False),
        pa.field(TRAIN_LENGTH, pa.int32(), nullable=False),
        pa.field(VALID_LENGTH, pa.int32(), nullable=False),
    ]
)
"""features/histories/*.parquet, sorted by user_index: events [0, train_length) are the training part, [train_length,
valid_length) validation, [valid_length, end) test. Users without events have no row here, but one in users/."""

FILE: Final = "file"
POSITION: Final = "position"
REPEATS: Final = pa.schema(
    [
        pa.field(USER_INDEX, pa.int32(), nullable=False),
        pa.field(POSITION, pa.int32(), nullable=False),
        pa.field(ITEM_INDEX, pa.int32(), nullable=False),
        pa.field(RATING, pa.float32(), nullable=False),
        pa.field(TIMESTAMP, pa.int64(), nullable=False),
        pa.field(FILE, pa.int32(), nullable=False),
    ]
)
"""features/repeats/*.parquet, as many files as histories/ has, of the same users: later events of a user with an item that the
history has already. `position`: from 0, among all usable events of the user in order of time; the history has the others. A
later run needs them to build on this one."""

# Rows set aside by cleaning.
REASON: Final = "reason"
REJECTED: Final = pa.schema(
    [
        pa.field("table", pa.string(), nullable=False),
        pa.field(REASON, pa.string(), nullable=False),
        pa.field(FILE, pa.string()),
        pa.field("row", pa.string()),
    ]
)
"""features/rejected/*.parquet: one row for each source row that was not used, with its text as read. Of events that were left
out although they are valid (duplicate, rare_item) the row holds the values that were read, with the time in seconds."""

RANK: Final = "rank"
SCORE: Final = "score"


def recommendations(user_id: pa.DataType, item_id: pa.DataType, metadata: Mapping[str, str] | None = None) -> pa.Schema:
    """Schema of recommendations/*.parquet for ids of the given types; `metadata` holds run_id and generated_at."""
    return pa.schema(
        [
            pa.field(USER_ID, user_id, nullable=False),
            pa.field(ITEM_ID, item_id, nullable=False),
            pa.field(RANK, pa.int32(), nullable=False),
            pa.field(SCORE, pa.float32(), nullable=False),
        ],
        metadata=dict(metadata) if metadata else None,
    )


# Files and folders of a run.
FEATURES_DIR: Final = "features"
HISTORIES_DIR: Final = "histories"
USERS_DIR: Final = "users"
ITEMS_DIR: Final = "items"
REPEATS_DIR: Final = "repeats"
PUBLISHED_DIR: Final = "published"
"""features/published/: users/ and items/ as encoded for the published network."""
REJECTED_DIR: Final = "rejected"
FEATURES_FILE: Final = "features.json"
MODEL_DIR: Final = "model"
RECOMMENDATIONS_DIR: Final = "recommendations"
SHARDS_DIR: Final = "shards"
"""Recommendations of single shards, until they are merged."""
EVALUATION_DIR: Final = "evaluation"
METRICS_FILE: Final = "metrics.json"
REPORT_DIR: Final = "report"
REPORT_FILE: Final = "report.html"
CARD_FILE: Final = "MODEL_CARD.md"
RUN_FILE: Final = "run.json"
LINEAGE_FILE: Final = "lineage.json"
LATEST_FILE: Final = "latest.json"


def part_file(number: int) -> str:
    """Name of a table's Parquet file; the first has number 0."""
    return f"part-{number:05d}.parquet"
