"""histories/: each user's events as one row, with the positions at which the split cuts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recsys import storage
from recsys.contract.schema import (
    HISTORIES_DIR,
    ITEM_ID,
    ITEM_INDEX,
    ITEMS,
    RATING,
    RATINGS,
    TIMESTAMP,
    TIMESTAMPS,
    TRAIN_LENGTH,
    USER_ID,
    USER_INDEX,
    VALID_LENGTH,
)
from recsys.features import parquet, split
from recsys.features.events import POSITION, Events
from recsys.features.tables import Catalogue

if TYPE_CHECKING:
    from pyspark.sql import Column


def write(events: Events, cut: split.Cut, users: Catalogue, items: Catalogue, features: str) -> dict[str, int]:
    """Writes histories/; returns train_events, valid_events and test_events of the users who are learned from.

    Args:
        events: the events.
        cut: the split.
        users: all users, indexed.
        items: all items, indexed.
        features: path or URI of the features folder.
    """
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    entry = F.struct(POSITION, ITEM_INDEX, RATING, TIMESTAMP)
    placed = events.frame.join(items.frame.select(ITEM_ID, ITEM_INDEX), ITEM_ID)
    grouped = placed.groupBy(USER_ID).agg(F.sort_array(F.collect_list(entry)).alias("h"))
    train, valid = split.lengths(cut, F.size("h"), F.col(f"h.{TIMESTAMP}"))
    histories = grouped.join(users.frame.select(USER_ID, USER_INDEX), USER_ID).select(
        USER_INDEX,
        F.col(f"h.{ITEM_INDEX}").alias(ITEMS),
        F.col(f"h.{RATING}").alias(RATINGS),
        F.col(f"h.{TIMESTAMP}").alias(TIMESTAMPS),
        train.alias(TRAIN_LENGTH),
        valid.alias(VALID_LENGTH),
    )
    sums = Observation()
    length = F.size(ITEMS)
    sizes: dict[str, Column] = {
        "train_events": F.col(TRAIN_LENGTH),
        "valid_events": F.col(VALID_LENGTH) - F.col(TRAIN_LENGTH),
        "test_events": length - F.col(VALID_LENGTH),
    }
    counted = [F.sum(F.when(split.learned(cut.min_user_events, length), size)).alias(name) for name, size in sizes.items()]
    observed = histories.observe(sums, *counted)
    folder = storage.join(features, HISTORIES_DIR)
    parquet.write_sorted(observed, folder, USER_INDEX, users.rows, parquet.files_for(events.count))
    return {name: sums.get[name] for name in sizes}
