"""Encodes the declared features of users and items: fits vocabularies and moments, and applies them.

* categorical → int32: 0 for unknown or missing, then 1, 2, … by falling frequency, ties by value.
* multi, text → list<int32>: sorted, distinct codes of the same kind, unknown values dropped. Text is lower-cased and split at
  everything but letters, digits and underscores; a word has at least two characters and occurs in at least two rows.
* numeric → float32: (x - mean) / standard deviation; missing → 0.0. What float32 cannot hold counts as missing.

Everything is fitted twice: on the training part, and on all events of the users who are learned from. In the second vocabulary
a value keeps the code that it has in the first; values that are new follow by falling frequency, while there is room.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from recsys.config import Feature
from recsys.contract.schema import FIRST_SEEN, ITEM_ID, ITEM_INDEX, TITLE, TRAIN_COUNT, USER_ID, USER_INDEX
from recsys.errors import ConfigError
from recsys.features.clean import number
from recsys.features.read import Rows

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

POPULARITY: Final = "popularity"
MEAN_RATING: Final = "mean_rating"
RESERVED: Final = frozenset({USER_ID, USER_INDEX, ITEM_ID, ITEM_INDEX, TITLE, TRAIN_COUNT, FIRST_SEEN, POPULARITY, MEAN_RATING})
TRAINS: Final = "__trains"
"""Boolean column: whether the user or item has an event in the training part."""
LEARNED: Final = "__learned"
"""Boolean column: whether the user or item has an event, in any part, of a user who is learned from."""
GREATEST: Final = 3.4e38
"""About the greatest number that float32 holds."""
_TEXT_ROWS: Final = 2
_RAW: Final = "__raw_"
_FITTED: Final = "__fitted"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Values of the categorical, multi and text features.

    Attributes:
        values: of each feature, in order of code; the first has code 1.
        frame: (__feature int, __value string, __code int); None where there is no such feature.
    """

    values: dict[str, tuple[str, ...]]
    frame: DataFrame | None


@dataclasses.dataclass(frozen=True)
class Number:
    """A numeric feature.

    Attributes:
        name: of the encoded column.
        raw: the numbers, null where missing.
        mean, deviation: of the rows that it is fitted on.
    """

    name: str
    raw: Column
    mean: float
    deviation: float


def check(features: Mapping[str, Feature], role: str) -> None:
    """Refuses names that the output already uses.

    Raises:
        ConfigError: a name is reserved, or Spark would misread it.
    """
    for name in features:
        if name in RESERVED or name.startswith("__"):
            raise ConfigError(f"[source.{role}.features.{name}]: the name is taken; choose another")
        if "." in name or "`" in name:
            raise ConfigError(f"[source.{role}.features] {name!r}: a feature's name must not contain a dot or a backtick")


def raw_values(rows: Rows) -> list[Column]:
    """One column for each feature, named raw_name(feature): double if numeric, otherwise an array of distinct strings."""
    return [_raw(rows, name, feature).alias(raw_name(name)) for name, feature in rows.table.features.items()]


def raw_name(feature: str) -> str:
    """Name of the column with a feature's raw values."""
    return _RAW + feature


def fit_vocabularies(catalogue: DataFrame, features: Mapping[str, Feature], most: int) -> tuple[Vocabulary, Vocabulary]:
    """The vocabularies fitted on the rows with TRAINS and on those with LEARNED.

    Args:
        catalogue: rows with raw values; those with TRAINS must have LEARNED too.
        features: as declared.
        most: greatest number of values of one feature in the training part, and of those that only the others have.

    Returns:
        Both, of one frame that is cached under the second.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    coded = _coded(features)
    if not coded:
        return Vocabulary({}, None), Vocabulary({}, None)
    pairs = _pairs(catalogue.where(LEARNED), coded, TRAINS)
    counts = pairs.groupBy("__feature", "__value").agg(F.count_if(TRAINS).alias("trained"), F.count("*").alias("n"))
    texts = [place for place, name in enumerate(coded) if features[name].kind == "text"]
    least = F.when(F.col("__feature").isin(texts), _TEXT_ROWS).otherwise(1)
    counts = counts.where(F.col("n") >= least).withColumn(_FITTED, F.col("trained") >= least)
    # One order serves both: the values of the training part come first, as they would without the others.
    frequency = F.when(F.col(_FITTED), F.col("trained")).otherwise(F.col("n"))
    within = Window.partitionBy("__feature", _FITTED).orderBy(frequency.desc(), "__value")
    window = Window.partitionBy("__feature").orderBy(F.desc(_FITTED), "__rank")
    kept = counts.withColumn("__rank", F.row_number().over(within)).where(F.col("__rank") <= most)
    ranked = kept.withColumn("__code", F.row_number().over(window)).drop("trained", "n", "__rank").persist()
    rows = sorted(ranked.collect(), key=lambda row: (row["__feature"], row["__code"]))

    def values(fitted: bool) -> dict[str, tuple[str, ...]]:
        return {
            name: tuple(row["__value"] for row in rows if row["__feature"] == place and (row[_FITTED] or not fitted))
            for place, name in enumerate(coded)
        }

    return Vocabulary(values(True), ranked.where(_FITTED)), Vocabulary(values(False), ranked)


def fit_numbers(catalogue: DataFrame, wanted: Sequence[tuple[str, Mapping[str, Column]]]) -> list[list[Number]]:
    """Mean and population standard deviation of numeric columns, in one pass.

    Args:
        catalogue: rows with raw values.
        wanted: the boolean column of the rows to fit on, and the columns by the name of the feature; any number of such pairs.

    Returns:
        The features of each pair.
    """
    from pyspark.sql import functions as F

    fitted = [F.when(F.col(rows), column) for rows, columns in wanted for column in columns.values()]
    if not fitted:
        return [[] for _ in wanted]
    found = catalogue.agg(*(moment(column) for column in fitted for moment in (F.avg, F.stddev_pop))).first() or ()
    values = (settle(value) for value in found)
    return [[Number(name, column, next(values), next(values)) for name, column in columns.items()] for _, columns in wanted]


def encode(
    catalogue: DataFrame, index: str, features: Mapping[str, Feature], vocabulary: Vocabulary, numbers: Sequence[Number]
) -> DataFrame:
    """The catalogue with one encoded column for each feature, beside the raw ones.

    Args:
        catalogue: rows with a unique column `index` and raw values.
        index: name of that column.
        features: as declared.
        vocabulary: of the coded features.
        numbers: the numeric features, the built-in ones included.
    """
    from pyspark.sql import functions as F

    for feature in numbers:
        scaled = (feature.raw - feature.mean) / (feature.deviation if feature.deviation > 0 else 1.0)
        held = F.when(F.abs(scaled) <= GREATEST, scaled)
        catalogue = catalogue.withColumn(feature.name, F.coalesce(held, F.lit(0.0)).cast("float"))
    coded = _coded(features)
    if coded and vocabulary.frame is not None:
        pairs = _pairs(catalogue, coded, index).join(F.broadcast(vocabulary.frame), ["__feature", "__value"])
        codes = [
            _codes(features[name], F.when(F.col("__feature") == place, F.col("__code"))).alias(name)
            for place, name in enumerate(coded)
        ]
        catalogue = catalogue.join(pairs.groupBy(index).agg(*codes), index, "left")
        for name in coded:
            empty = F.lit(0) if features[name].kind == "categorical" else F.array().cast("array<int>")
            catalogue = catalogue.withColumn(name, F.coalesce(F.col(name), empty))
    return catalogue


def settle(value: float | None) -> float:
    """A statistic without its last digits, which depend on the order of summation; 0.0 for None."""
    return float(f"{value:.10g}") if value is not None else 0.0


def _coded(features: Mapping[str, Feature]) -> list[str]:
    return [name for name, feature in features.items() if feature.kind != "numeric"]


def _codes(feature: Feature, code: Column) -> Column:
    from pyspark.sql import functions as F

    return F.max(code) if feature.kind == "categorical" else F.sort_array(F.collect_list(code))


def _pairs(catalogue: DataFrame, coded: list[str], *keep: str) -> DataFrame:
    """One row for each value of each feature: the columns `keep`, __feature (its place in `coded`) and __value."""
    from pyspark.sql import functions as F

    def place(number: int, name: str) -> Column:
        values = F.coalesce(F.col(raw_name(name)), F.array().cast("array<string>"))
        return F.transform(values, lambda v: F.struct(F.lit(number).alias("__feature"), v.alias("__value")))

    arrays = [place(number, name) for number, name in enumerate(coded)]
    exploded = catalogue.select(*keep, F.explode(F.concat(*arrays)).alias("pair"))
    return exploded.select(*keep, "pair.__feature", "pair.__value")


def _raw(rows: Rows, name: str, feature: Feature) -> Column:
    from pyspark.sql import functions as F

    if feature.flags:
        names = [
            F.when(number(rows.column(flag).cast("int") if rows.type_name(flag) == "boolean" else rows.column(flag)) == 1, flag)
            for flag in feature.flags
        ]
        return F.array_compact(F.array(*names))
    source = feature.column or name
    column = rows.column(source)
    kind = rows.type_name(source)
    if kind.startswith("array"):
        if feature.kind in ("categorical", "numeric"):
            raise ConfigError(f"feature '{name}': column '{source}' holds lists; its kind must be 'multi' or 'text'")
        values = F.transform(column, lambda v: v.cast("string"))
        return _clean_list(values) if feature.kind == "multi" else _clean_list(_words(F.array_join(values, " ")))
    text = column.cast("string")
    if feature.pattern is not None:
        text = F.regexp_extract(text, feature.pattern, 1)
    if feature.kind == "numeric":
        value = number(text)
        return F.when(F.abs(value) <= GREATEST, value)
    if feature.kind == "categorical":
        return _clean_list(F.array(text))
    return _clean_list(F.split(text, re.escape(feature.separator)) if feature.kind == "multi" else _words(text))


def _words(text: Column) -> Column:
    from pyspark.sql import functions as F

    return F.filter(F.split(F.lower(text), r"(?U)\W+"), lambda word: F.length(word) >= 2)


def _clean_list(values: Column) -> Column:
    from pyspark.sql import functions as F

    def trim(value: Column) -> Column:  # F.trim has a second parameter, which F.transform would fill with the position
        return F.trim(value)

    trimmed = F.transform(values, trim)
    return F.array_distinct(F.filter(trimmed, lambda v: v.isNotNull() & (v != "")))
