"""Encodes the declared features of users and items: vocabularies and normalisation, fitted on the training part alone.

* categorical → int32: 0 for unknown or missing, then 1, 2, … by falling frequency, ties by value.
* multi, text → list<int32>: sorted, distinct codes of the same kind, unknown values dropped. Text is lower-cased and divided at
  everything that is no letter, digit or underscore; words have at least two characters and occur in at least two rows.
* numeric → float32: (x - mean) / standard deviation; missing → 0.0.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from recsys.config import Feature, Kind
from recsys.contract.features_info import EncodedFeature
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
_TEXT_ROWS: Final = 2
_RAW: Final = "__raw_"


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """Values of the categorical, multi and text features.

    Attributes:
        values: of each feature, in order of code, the first of which is 1.
        frame: (__feature int, __value string, __code int), cached.
    """

    values: dict[str, list[str]]
    frame: DataFrame | None


def check(features: Mapping[str, Feature], role: str) -> None:
    """Refuses names that the output already uses.

    Raises:
        ConfigError: names the feature.
    """
    for name in features:
        if name in RESERVED or name.startswith("__"):
            raise ConfigError(f"[source.{role}.features.{name}]: the name is taken; call the feature something else")


def raw_values(rows: Rows) -> list[Column]:
    """One column a feature, named raw_name(feature): double for numeric, an array of distinct strings for the others."""
    return [_raw(rows, name, feature).alias(raw_name(name)) for name, feature in rows.table.features.items()]


def raw_name(feature: str) -> str:
    """Column of a feature before it is encoded."""
    return _RAW + feature


def fit_vocabulary(catalogue: DataFrame, features: Mapping[str, Feature], most: int) -> Vocabulary:
    """Counts the values of the rows with TRAINS, and numbers the most frequent `most` of each feature."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    coded = _coded(features)
    if not coded:
        return Vocabulary({}, None)
    counts = _pairs(catalogue.where(TRAINS), coded).groupBy("__feature", "__value").agg(F.count("*").alias("n"))
    texts = [place for place, name in enumerate(coded) if features[name].kind == "text"]
    if texts:
        counts = counts.where(~F.col("__feature").isin(texts) | (F.col("n") >= _TEXT_ROWS))
    window = Window.partitionBy("__feature").orderBy(F.desc("n"), "__value")
    ranked = counts.withColumn("__code", F.row_number().over(window)).where(F.col("__code") <= most).drop("n").persist()
    values: dict[str, list[str]] = {name: [] for name in coded}
    for row in sorted(ranked.collect(), key=lambda row: (row["__feature"], row["__code"])):
        values[coded[row["__feature"]]].append(row["__value"])
    return Vocabulary(values, ranked)


def encode(
    catalogue: DataFrame,
    index: str,
    features: Mapping[str, Feature],
    vocabulary: Vocabulary,
    moments: Mapping[str, tuple[float, float]],
) -> DataFrame:
    """The catalogue with one encoded column a feature in place of the raw ones.

    Args:
        catalogue: rows with a unique column `index` and raw values.
        index: name of that column.
        features: as declared.
        vocabulary: see `fit_vocabulary`.
        moments: mean and standard deviation of each numeric column, the built-in ones included.
    """
    from pyspark.sql import functions as F

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
    for name, (mean, deviation) in moments.items():
        scaled = (F.col(raw_name(name)) - mean) / (deviation if deviation > 0 else 1.0)
        catalogue = catalogue.withColumn(name, F.coalesce(scaled, F.lit(0.0)).cast("float"))
    return catalogue.drop(*(raw_name(name) for name in {**features, **moments}))


def describe(
    name: str, kind: Kind, vocabulary: Vocabulary, moments: Mapping[str, tuple[float, float]], longest: Mapping[str, int]
) -> EncodedFeature:
    """The feature's entry in features.json."""
    values = vocabulary.values.get(name)
    mean, deviation = moments.get(name, (None, None))
    size = 1 if values is None else len(values) + 1
    return EncodedFeature(name, kind, size, longest.get(name, 1), None if values is None else tuple(values), mean, deviation)


def numeric_moments(names: list[str]) -> list[Column]:
    """Aggregates over the rows with TRAINS: mean and population standard deviation of each raw numeric column, in turn."""
    from pyspark.sql import functions as F

    columns = []
    for name in names:
        value = F.when(F.col(TRAINS), F.col(raw_name(name)))
        columns += [F.avg(value), F.stddev_pop(value)]
    return columns


def settle(value: float | None) -> float:
    """A statistic without the last digits, which depend on the order of summation; 0.0 for none."""
    return float(f"{value:.10g}") if value is not None else 0.0


def _coded(features: Mapping[str, Feature]) -> list[str]:
    return [name for name, feature in features.items() if feature.kind != "numeric"]


def _codes(feature: Feature, code: Column) -> Column:
    from pyspark.sql import functions as F

    return F.max(code) if feature.kind == "categorical" else F.sort_array(F.collect_list(code))


def _pairs(catalogue: DataFrame, coded: list[str], *keep: str) -> DataFrame:
    """One row for every value of every feature: __feature (its place in `coded`) and __value."""
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
            raise ConfigError(f"feature '{name}': column '{source}' holds lists; its kind must be multi or text")
        values = F.transform(column, lambda v: v.cast("string"))
        return _clean_list(values) if feature.kind == "multi" else _clean_list(_words(F.array_join(values, " ")))
    text = column.cast("string")
    if feature.pattern is not None:
        text = F.regexp_extract(text, feature.pattern, 1)
    if feature.kind == "numeric":
        value = number(text)
        return F.when(F.abs(value) < float("inf"), value)
    if feature.kind == "categorical":
        return _clean_list(F.array(text))
    return _clean_list(F.split(text, re.escape(feature.separator)) if feature.kind == "multi" else _words(text))


def _words(text: Column) -> Column:
    from pyspark.sql import functions as F

    return F.filter(F.split(F.lower(text), r"(?U)\W+"), lambda word: F.length(word) >= 2)


def _clean_list(values: Column) -> Column:
    from pyspark.sql import functions as F

    def trim(value: Column) -> Column:  # F.trim itself has a second parameter, and would be given the place in the array
        return F.trim(value)

    trimmed = F.transform(values, trim)
    return F.array_distinct(F.filter(trimmed, lambda v: v.isNotNull() & (v != "")))
