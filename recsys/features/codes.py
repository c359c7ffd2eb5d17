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

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys.config import Feature
from recsys.contract.schema import FIRST_SEEN, ITEM_ID, ITEM_INDEX, TITLE, TRAIN_COUNT, USER_ID, USER_INDEX
from recsys.errors import ConfigError
from recsys.features import values
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


Vocabulary = Mapping[str, tuple[str, ...]]
"""Values of the categorical, multi and text features, by name, in order of code; the first has code 1."""


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
    """
    from pyspark.sql import functions as F

    coded = coded_names(features)
    if not coded:
        return {}, {}
    texts = [place for place, name in enumerate(coded) if features[name].kind == "text"]
    enough = F.col("n") >= F.when(F.col("feature").isin(texts), _TEXT_ROWS).otherwise(1)
    pairs = _pairs(catalogue.where(LEARNED), coded, TRAINS).groupBy("feature", "value")
    counts = pairs.agg(F.count_if(TRAINS).alias("trained"), F.count("*").alias("n")).where(enough)
    found: pd.DataFrame = counts.toArrow().to_pandas()
    fitted: dict[str, tuple[str, ...]] = {}
    extended: dict[str, tuple[str, ...]] = {}
    for place, name in enumerate(coded):
        least = _TEXT_ROWS if features[name].kind == "text" else 1
        own = found[found["feature"] == place]
        known = own["trained"] >= least
        fitted[name] = _most_frequent(own[known], "trained", most)
        extended[name] = fitted[name] + _most_frequent(own[~known], "n", most)
    return fitted, extended


def _most_frequent(counts: pd.DataFrame, column: str, most: int) -> tuple[str, ...]:
    """Values by falling frequency, ties by value."""
    ordered = counts.sort_values([column, "value"], ascending=[False, True], kind="stable")
    return tuple(ordered["value"].head(most))


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


def scaled(numbers: Sequence[Number]) -> dict[str, Column]:
    """The encoded numeric features, float."""
    from pyspark.sql import functions as F

    found = {}
    for number in numbers:
        value = (number.raw - number.mean) / (number.deviation if number.deviation > 0 else 1.0)
        held = F.when(F.abs(value) <= GREATEST, value)
        found[number.name] = F.coalesce(held, F.lit(0.0)).cast("float")
    return found


def encode(batch: pa.RecordBatch, features: Mapping[str, Feature], vocabulary: Vocabulary) -> pa.RecordBatch:
    """A batch with codes in the place of the raw values of its coded features.

    Args:
        batch: with a column raw_name(feature) for each.
        features: as declared.
        vocabulary: of the coded features.
    """
    names = {raw_name(name): name for name in coded_names(features)}
    columns = [
        _codes(batch[column], features[names[column]], vocabulary[names[column]]) if column in names else batch[column]
        for column in batch.schema.names
    ]
    return pa.RecordBatch.from_arrays(columns, names=[names.get(column, column) for column in batch.schema.names])


def settle(value: float | None) -> float:
    """A statistic without its last digits, which depend on the order of summation; 0.0 for None."""
    return float(f"{value:.10g}") if value is not None else 0.0


def coded_names(features: Mapping[str, Feature]) -> list[str]:
    """The features that have a vocabulary."""
    return [name for name, feature in features.items() if feature.kind != "numeric"]


def _codes(raw: pa.ListArray, feature: Feature, values: tuple[str, ...]) -> pa.Array:
    """Codes of lists of distinct values: int32 if categorical, otherwise sorted lists of int32."""
    code = pc.index_in(raw.flatten(), value_set=pa.array(values, pa.string()))
    known = code.is_valid()
    row = pc.list_parent_indices(raw).filter(known).to_numpy()
    code = code.filter(known).to_numpy() + np.int32(1)
    order = np.lexsort((code, row))
    if feature.kind == "categorical":
        found = np.zeros(len(raw), np.int32)
        found[row[order]] = code[order]
        return pa.array(found)
    offsets = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(raw)))])
    kind = pa.list_(pa.field("element", pa.int32()))
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(code[order]), kind)


def _pairs(catalogue: DataFrame, coded: list[str], *keep: str) -> DataFrame:
    """One row for each value of each feature: the columns `keep`, feature (its place in `coded`) and value."""
    from pyspark.sql import functions as F

    def place(number: int, name: str) -> Column:
        values = F.coalesce(F.col(raw_name(name)), F.array().cast("array<string>"))
        return F.transform(values, lambda v: F.struct(F.lit(number).alias("feature"), v.alias("value")))

    arrays = [place(number, name) for number, name in enumerate(coded)]
    exploded = catalogue.select(*keep, F.explode(F.concat(*arrays)).alias("pair"))
    return exploded.select(*keep, "pair.feature", "pair.value")


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


def number(column: Column) -> Column:
    """A column as double; null if it is not a plain decimal number."""
    from pyspark.sql import functions as F

    text = column.cast("string")
    return F.when(text.rlike(f"^{values.NUMBER}$"), text.cast("double"))


def _words(text: Column) -> Column:
    from pyspark.sql import functions as F

    return F.filter(F.split(F.lower(text), r"(?U)\W+"), lambda word: F.length(word) >= 2)


def _clean_list(values: Column) -> Column:
    from pyspark.sql import functions as F

    def trim(value: Column) -> Column:  # F.trim has a second parameter, which F.transform would fill with the position
        return F.trim(value)

    trimmed = F.transform(values, trim)
    return F.array_distinct(F.filter(trimmed, lambda v: v.isNotNull() & (v != "")))
