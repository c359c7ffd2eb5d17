"""The catalogues: all users and all items with index, id, raw features, and what the events say of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from recsys.config import Config, Feature
from recsys.contract.schema import (
    FIRST_SEEN,
    ITEM_ID,
    ITEM_INDEX,
    REASON,
    TITLE,
    TRAIN_COUNT,
    USER_ID,
    USER_INDEX,
)
from recsys.features import clean, codes, split
from recsys.features.chunks import unpack_chunks
from recsys.features.codes import LEARNED, TRAINS
from recsys.features.events import Events
from recsys.features.index import ROWS_PER_PARTITION, dense_index
from recsys.features.read import FILE_NUMBER, Rows
from recsys.features.sums import NEVER

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


_LAST: Final = "__last"
_ITEM_COLUMNS: Final = [
    *(ITEM_ID, FIRST_SEEN, _LAST),
    *(name for part in (TRAINING, WHOLE) for name in (part.count, part.ratings, part.squares)),
]


@dataclasses.dataclass(frozen=True)
class Aside:
    """Rows of a source table that are not used.

    Attributes:
        frame: as `clean.entities` gives them, with a REASON; cached.
        layout: of the table.
        files: path of each of its files.
    """

    frame: DataFrame
    layout: clean.Layout
    files: tuple[str, ...]


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
        aside: those rows; None if there are none.
    """

    frame: DataFrame
    index: str
    features: Mapping[str, Feature]
    rows: int
    facts: dict[str, Any]
    rejected: dict[str, int]
    aside: Aside | None


def users(events: Events, cut: split.Cut, rows: Rows | None, kind: str, config: Config) -> Catalogue:
    """Users of the events and of the users' table, indexed in order of id."""
    from pyspark.sql import functions as F

    schema = f"{USER_ID} {kind}, {TRAINS} boolean, {LEARNED} boolean"
    seen = events.histories.mapInArrow(partial(_seen_users, cut=cut), schema)
    facts = {"train_users": F.count_if(TRAINS)}
    return _catalogue(seen, rows, "users", kind, config, facts, [F.col(USER_ID)], USER_INDEX)


def items(events: Events, cut: split.Cut, rows: Rows | None, kind: str, config: Config) -> Catalogue:
    """Items of the events and of the items' table, indexed by falling number of training events, ties by id."""
    from pyspark.sql import functions as F

    numbers = {FIRST_SEEN: "bigint", _LAST: "bigint"}
    for part in (TRAINING, WHOLE):
        numbers |= {part.count: "int", part.ratings: "double", part.squares: "double"}
    schema = ", ".join(f"{name} {number}" for name, number in {ITEM_ID: kind, **numbers}.items())
    sums = events.histories.mapInArrow(partial(_seen_items, cut=cut), schema)
    least, most = (F.min(FIRST_SEEN).alias(FIRST_SEEN), F.max(_LAST).alias(_LAST))
    added = [F.sum(name).cast(number).alias(name) for name, number in list(numbers.items())[2:]]
    seen = sums.groupBy(ITEM_ID).agg(least, most, *added).withColumn("__seen", F.lit(True))
    facts = {"event_items": F.count("__seen"), "train_items": F.count_if(TRAINS), "last": F.max(_LAST)}
    for part in (TRAINING, WHOLE):
        seen = seen.withColumn(part.rows, F.col(part.count) > 0)
        facts |= {name: F.sum(name) for name in (part.count, part.ratings, part.squares)}
    order = [F.desc(TRAIN_COUNT), F.col(ITEM_ID)]
    return _catalogue(seen, rows, "items", kind, config, facts, order, ITEM_INDEX)


def _seen_users(batches: Iterator[pa.RecordBatch], cut: split.Cut) -> Iterator[pa.RecordBatch]:
    """user_id, TRAINS and LEARNED of each history."""
    for chunk in unpack_chunks(batches):
        trains = split.training(cut, chunk)[chunk.offsets[:-1]]
        learned = split.learned(cut.min_user_events, chunk.lengths)
        columns = [chunk.users, pa.array(trains), pa.array(learned)]
        yield pa.RecordBatch.from_arrays(columns, names=[USER_ID, TRAINS, LEARNED])


def _seen_items(batches: Iterator[pa.RecordBatch], cut: split.Cut) -> Iterator[pa.RecordBatch]:
    """What each chunk says of its items: item_id, first and last timestamp in training, and the columns of both parts."""
    for chunk in unpack_chunks(batches):
        size = len(chunk.item_ids)
        trains = split.training(cut, chunk)
        item, time = chunk.items[trains], chunk.timestamps[trains]
        first, last = np.full(size, NEVER), np.full(size, -1)
        np.minimum.at(first, item, time)
        np.maximum.at(last, item, time)
        unseen = last < 0
        columns = [chunk.item_ids, pa.array(first, mask=unseen), pa.array(last, mask=unseen)]
        learned = np.repeat(split.learned(cut.min_user_events, chunk.lengths), chunk.lengths)
        for inside in (trains, learned):
            item, rating = chunk.items[inside], chunk.ratings[inside].astype(np.float64)
            columns += [
                pa.array(np.bincount(item, minlength=size), pa.int32()),
                pa.array(np.bincount(item, rating, size), pa.float64()),  # bincount of nothing gives integers
                pa.array(np.bincount(item, rating * rating, size), pa.float64()),
            ]
        yield pa.RecordBatch.from_arrays(columns, names=_ITEM_COLUMNS)


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
    features: Mapping[str, Feature] = {}
    rejected: dict[str, int] = {}
    aside, frame = None, seen
    if rows is not None:
        layout, features = clean.layout(rows, kind, kind), rows.table.features
        parsed = clean.entities(rows, role, kind).persist()
        rejected = _rejected(parsed, rows, role, layout, config.features.max_rejected)
        aside = Aside(parsed.where(F.col(REASON).isNotNull()), layout, rows.files) if rejected else None
        described = parsed.where(F.col(REASON).isNull()).select(key, TITLE, *codes.raw_values(rows))
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
    indexed = dense_index(frame, index, order, values["rows"], ROWS_PER_PARTITION)
    return Catalogue(indexed, index, features, values["rows"], values, rejected, aside)


def _rejected(parsed: DataFrame, rows: Rows, role: str, layout: clean.Layout, most: float) -> dict[str, int]:
    """Number of rows set aside by reason, unless they are too many."""
    from pyspark.sql import functions as F

    counts = {row[REASON]: row["count"] for row in parsed.groupBy(REASON).count().collect()}
    total = sum(counts.values())
    counts.pop(None, None)

    def example(reason: str) -> tuple[str, str]:
        (batch,) = parsed.where(F.col(REASON) == reason).limit(1).toArrow().combine_chunks().to_batches()
        return rows.files[batch[FILE_NUMBER][0].as_py()], clean.texts(batch, np.array([0]), layout)[0].as_py()

    clean.check_rejected(role, rows.table.path, counts, total, most, example)
    return dict(sorted(counts.items()))
