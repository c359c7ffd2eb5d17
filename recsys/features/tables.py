"""The catalogues: all users and all items with index, id and encoded features."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from recsys import storage
from recsys.config import Config, Feature
from recsys.contract.features_info import EncodedFeature
from recsys.contract.schema import (
    FIRST_SEEN,
    ITEM_ID,
    ITEM_INDEX,
    ITEMS_DIR,
    RATING,
    REASON,
    TIMESTAMP,
    TITLE,
    TRAIN_COUNT,
    USER_ID,
    USER_INDEX,
    USERS_DIR,
)
from recsys.features import clean, codes, parquet, split
from recsys.features.codes import MEAN_RATING, POPULARITY, TRAINS, raw_name
from recsys.features.events import LENGTH, POSITION, Events
from recsys.features.index import ROWS_PER_PARTITION, dense_index
from recsys.features.read import Rows

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

SHRINKAGE: Final = 10.0
"""mean_rating is (sum of the item's ratings + 10 times the mean of all) / (its ratings + 10)."""


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """All users or all items.

    Attributes:
        frame: id, index, and what is written beside the features; raw features; TRAINS. Cached.
        index: name of the index column.
        features: as declared, with the table that they come from.
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
    seen = events.frame.where(F.col(POSITION) == 0).select(USER_ID, trains.alias(TRAINS))
    facts = {"train_users": F.count_if(TRAINS)}
    return _catalogue(seen, rows, "users", kind, config, facts, [F.col(USER_ID)], USER_INDEX)


def items(events: Events, cut: split.Cut, rows: Rows | None, kind: str, config: Config) -> Catalogue:
    """Items of the events and of the items' table, indexed by falling number of training events, ties by id."""
    from pyspark.sql import functions as F

    trains = split.in_training(cut, F.col(LENGTH), F.col(POSITION), F.col(TIMESTAMP))
    rating = F.when(trains, F.col(RATING).cast("double"))
    seen = events.frame.groupBy(ITEM_ID).agg(
        F.count_if(trains).cast("int").alias(TRAIN_COUNT),
        F.min(F.when(trains, F.col(TIMESTAMP))).alias(FIRST_SEEN),
        F.max(F.when(trains, F.col(TIMESTAMP))).alias("__last"),
        F.sum(rating).alias("__sum"),
        F.sum(rating * rating).alias("__squares"),
    )
    seen = seen.withColumn(TRAINS, F.col(TRAIN_COUNT) > 0).withColumn("__seen", F.lit(True))
    facts = {
        "event_items": F.count("__seen"),
        "train_items": F.count_if(TRAINS),
        "count": F.sum(TRAIN_COUNT),
        "sum": F.sum("__sum"),
        "squares": F.sum("__squares"),
        "last": F.max("__last"),
    }
    order = [F.desc(TRAIN_COUNT), F.col(ITEM_ID)]
    return _catalogue(seen, rows, "items", kind, config, facts, order, ITEM_INDEX)


def write_users(catalogue: Catalogue, config: Config, features: str) -> list[EncodedFeature]:
    """Writes users/; returns the entries of features.json."""
    return _write(catalogue, {}, config, storage.join(features, USERS_DIR), [USER_INDEX, USER_ID])


def write_items(catalogue: Catalogue, mean: float | None, config: Config, features: str) -> list[EncodedFeature]:
    """Writes items/; returns the entries of features.json.

    Args:
        catalogue: the items.
        mean: of the ratings in the training part; None where the source has none.
        config: features.max_vocabulary is read.
        features: path or URI of the features folder.
    """
    from pyspark.sql import functions as F

    built_in: dict[str, Column] = {POPULARITY: F.log1p(F.col(TRAIN_COUNT).cast("double"))}
    if mean is not None:
        total = F.coalesce(F.col("__sum"), F.lit(0.0)) + SHRINKAGE * mean
        built_in[MEAN_RATING] = total / (F.col(TRAIN_COUNT) + SHRINKAGE)
    columns = [ITEM_INDEX, ITEM_ID, TITLE, TRAIN_COUNT, FIRST_SEEN]
    return _write(catalogue, built_in, config, storage.join(features, ITEMS_DIR), columns)


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
    frame = frame.withColumn(TRAINS, F.coalesce(F.col(TRAINS), F.lit(False)))
    if role == "items":
        frame = frame.withColumn(TRAIN_COUNT, F.coalesce(F.col(TRAIN_COUNT), F.lit(0)))
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


def _write(
    catalogue: Catalogue, built_in: Mapping[str, Column], config: Config, folder: str, columns: list[str]
) -> list[EncodedFeature]:
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    features = catalogue.features
    frame = catalogue.frame
    for name, column in built_in.items():
        frame = frame.withColumn(raw_name(name), column)
    numeric = [name for name, feature in features.items() if feature.kind == "numeric"] + list(built_in)
    moments: dict[str, tuple[float, float]] = {}
    if numeric:
        found = frame.agg(*codes.numeric_moments(numeric)).first() or ()
        moments = {
            name: (codes.settle(found[2 * place]), codes.settle(found[2 * place + 1])) for place, name in enumerate(numeric)
        }
    vocabulary = codes.fit_vocabulary(frame, features, config.features.max_vocabulary)
    encoded = codes.encode(frame, catalogue.index, features, vocabulary, moments)
    encoded = encoded.select(*columns, *features, *built_in)
    lists = [name for name, feature in features.items() if feature.kind in ("multi", "text")]
    sizes = Observation()
    if lists:
        encoded = encoded.observe(sizes, *(F.max(F.size(name)).alias(name) for name in lists))
    parquet.write_sorted(encoded, folder, catalogue.index, catalogue.rows, parquet.files_for(catalogue.rows))
    longest = {name: sizes.get[name] or 0 for name in lists}
    if vocabulary.frame is not None:
        vocabulary.frame.unpersist()
    kinds = {name: feature.kind for name, feature in features.items()} | dict.fromkeys(built_in, "numeric")
    return [codes.describe(name, kind, vocabulary, moments, longest) for name, kind in kinds.items()]
