"""The catalogues: all users and all items with index, id, raw features, and what the events say of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from recsys.config import Config, Feature
from recsys.contract.schema import (
    FIRST_SEEN,
    ITEM_ID,
    ITEM_INDEX,
    RATING,
    REASON,
    TIMESTAMP,
    TITLE,
    TRAIN_COUNT,
    USER_ID,
    USER_INDEX,
)
from recsys.features import clean, codes, split
from recsys.features.codes import LEARNED, TRAINS
from recsys.features.events import LENGTH, POSITION, Events
from recsys.features.index import ROWS_PER_PARTITION, dense_index
from recsys.features.read import Rows

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame


@dataclasses.dataclass(frozen=True)
class Part:
    """Events that an encoding is fitted on, as columns of a catalogue.

    Attributes:
        rows: boolean, whether the user or item has such an event.
        count: of items, the number of these events, int32.
        ratings, squares: of items, the sums of their ratings and of the squares, float64.
    """

    rows: str
    count: str
    ratings: str
    squares: str


TRAINING = Part(TRAINS, TRAIN_COUNT, "__train_ratings", "__train_squares")
"""The training part."""
WHOLE = Part(LEARNED, "__count", "__ratings", "__squares")
"""All events of the users who are learned from."""


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """All users or all items.

    Attributes:
        frame: id, index, raw features and the columns of both parts; of items also title and first_seen. Cached.
        index: name of the index column.
        features: as declared for the source table.
        rows: how many.
        facts: sums over the rows, by name.
        rejected: number of rows of the source table set aside, by reason.
        aside: those rows, or None.
    """

    frame: DataFrame
    index: str
    features: Mapping[str, Feature]
    rows: int
    facts: dict[str, Any]
    rejected: dict[str, int]
    aside: DataFrame | None


def users(events: Events, cut: split.Cut, rows: Rows | None, kind: str, config: Config) -> Catalogue:
    """Users of the events and of the users' table, indexed in order of id."""
    from pyspark.sql import functions as F

    trains = split.in_training(cut, F.col(LENGTH), F.col(POSITION), F.col(TIMESTAMP))
    learned = split.learned(cut.min_user_events, F.col(LENGTH))
    seen = events.frame.where(F.col(POSITION) == 0).select(USER_ID, trains.alias(TRAINS), learned.alias(LEARNED))
    facts = {"train_users": F.count_if(TRAINS)}
    return _catalogue(seen, rows, "users", kind, config, facts, [F.col(USER_ID)], USER_INDEX)


def items(events: Events, cut: split.Cut, rows: Rows | None, kind: str, config: Config) -> Catalogue:
    """Items of the events and of the items' table, indexed by falling number of training events, ties by id."""
    from pyspark.sql import functions as F

    trains = split.in_training(cut, F.col(LENGTH), F.col(POSITION), F.col(TIMESTAMP))
    time = F.when(trains, F.col(TIMESTAMP))
    sums = [F.min(time).alias(FIRST_SEEN), F.max(time).alias("__last")]
    for part, inside in ((TRAINING, trains), (WHOLE, split.learned(cut.min_user_events, F.col(LENGTH)))):
        rating = F.when(inside, F.col(RATING).cast("double"))
        sums += [
            F.count_if(inside).cast("int").alias(part.count),
            F.sum(rating).alias(part.ratings),
            F.sum(rating * rating).alias(part.squares),
        ]
    seen = events.frame.groupBy(ITEM_ID).agg(*sums).withColumn("__seen", F.lit(True))
    facts = {"event_items": F.count("__seen"), "train_items": F.count_if(TRAINS), "last": F.max("__last")}
    for part in (TRAINING, WHOLE):
        seen = seen.withColumn(part.rows, F.col(part.count) > 0)
        facts |= {name: F.sum(name) for name in (part.count, part.ratings, part.squares)}
    order = [F.desc(TRAIN_COUNT), F.col(ITEM_ID)]
    return _catalogue(seen, rows, "items", kind, config, facts, order, ITEM_INDEX)


def _catalogue(
    seen: DataFrame,
    rows: Rows | None,
    role: str,
    kind: str,
    config: Config,
    facts: Mapping[str, Column],
    order: list[Column],
    index: str,
) -> Catalogue:
    """Joins what the events say of each user or item with its row in the source table."""
    from pyspark.sql import functions as F

    key = USER_ID if role == "users" else ITEM_ID
    parsed = counts_of = None
    frame = seen
    if rows is not None:
        parsed = clean.entities(rows, role, kind)
        observed, counts_of = clean.counted(parsed, clean.ENTITY_REASONS[role])
        described = observed.where(F.col(REASON).isNull()).select(key, TITLE, *codes.raw_values(rows))
        frame = seen.join(described, key, "full_outer")
    elif role == "items":
        frame = frame.withColumn(TITLE, F.lit(None).cast("string"))
    for part in (TRAINING, WHOLE):
        frame = frame.withColumn(part.rows, F.coalesce(F.col(part.rows), F.lit(False)))
        if role == "items":
            frame = frame.withColumn(part.count, F.coalesce(F.col(part.count), F.lit(0)))
    frame = frame.persist()
    found = frame.agg(F.count(F.lit(1)).alias("rows"), *(fact.alias(name) for name, fact in facts.items())).first()
    values: dict[str, Any] = found.asDict() if found else {"rows": 0}
    rejected: dict[str, int] = {}
    if rows is not None and parsed is not None and counts_of is not None:
        counts = counts_of()
        clean.check_rejected(role, rows.table.path, counts, config.features.max_rejected, parsed)
        rejected = {reason: number for reason, number in counts.items() if reason}
    indexed = dense_index(frame, index, order, values["rows"], ROWS_PER_PARTITION)
    aside = parsed.where(F.col(REASON).isNotNull()) if parsed is not None and rejected else None
    features = rows.table.features if rows is not None else {}
    return Catalogue(indexed, index, features, values["rows"], values, rejected, aside)
