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
import math
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys.config import Feature
from recsys.contract.schema import FIRST_SEEN, ITEM_ID, ITEM_INDEX, TITLE, TRAIN_COUNT, USER_ID, USER_INDEX
from recsys.errors import ConfigError
from recsys.features.raw import GREATEST, raw_name

POPULARITY: Final = "popularity"
MEAN_RATING: Final = "mean_rating"
RESERVED: Final = frozenset({USER_ID, USER_INDEX, ITEM_ID, ITEM_INDEX, TITLE, TRAIN_COUNT, FIRST_SEEN, POPULARITY, MEAN_RATING})
TRAINS: Final = "__trains"
"""Boolean column: whether the user or item has an event in the training part."""
LEARNED: Final = "__learned"
"""Boolean column: whether the user or item has an event, in any part, of a user who is learned from."""
_TEXT_ROWS: Final = 2
_FEATURE, VALUE, _TRAINED, _ALL = "feature", "value", "trained", "all"


Vocabulary = Mapping[str, tuple[str, ...]]
"""Values of the categorical, multi and text features, by name, in order of code; the first has code 1."""


@dataclasses.dataclass(frozen=True)
class Moments:
    """What is known of some numbers: enough to put those of several parts together.

    Attributes:
        count: how many.
        mean: of them.
        squares: sum of the squared differences to the mean.
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, numbers: np.ndarray) -> Moments:
        """The moments of some numbers, NaN left out."""
        known = numbers[~np.isnan(numbers)]
        if not len(known):
            return cls()
        mean = float(known.mean())
        return cls(len(known), mean, float(np.square(known - mean).sum()))

    def __add__(self, other: Moments) -> Moments:
        """The moments of both together (Chan, Golub, LeVeque: Updating Formulae, 1979)."""
        count = self.count + other.count
        if not self.count or not other.count:
            return self if self.count else other
        apart = other.mean - self.mean
        mean = self.mean + apart * other.count / count
        return Moments(count, mean, self.squares + other.squares + apart * apart * self.count * other.count / count)


@dataclasses.dataclass(frozen=True)
class Number:
    """A numeric feature.

    Attributes:
        name: of the feature.
        mean, deviation: of what it is fitted on; population standard deviation.
    """

    name: str
    mean: float
    deviation: float

    @classmethod
    def fitted(cls, name: str, moments: Moments) -> Number:
        """A feature fitted on numbers with these moments."""
        return cls(name, settle(moments.mean), settle(math.sqrt(moments.squares / max(moments.count, 1))))

    def scaled(self, raw: np.ndarray) -> np.ndarray:
        """The encoded values, float32; `raw` is NaN where missing."""
        value = (raw - self.mean) / (self.deviation if self.deviation > 0 else 1.0)
        found: np.ndarray = np.where(np.abs(value) <= GREATEST, value, 0.0).astype(np.float32)
        return found


def check(features: Mapping[str, Feature], role: str) -> None:
    """Refuses names that the output already uses.

    Raises:
        ConfigError: a name is reserved, or awkward for those who read the Parquet with SQL.
    """
    for name in features:
        if name in RESERVED or name.startswith("__"):
            raise ConfigError(f"[source.{role}.features.{name}]: the name is taken; choose another")
        if "." in name or "`" in name:
            raise ConfigError(f"[source.{role}.features] {name!r}: a feature's name must not contain a dot or a backtick")


def count_values(entities: pa.RecordBatch, features: Mapping[str, Feature]) -> pa.Table:
    """How many of the rows with TRAINS, and of those with LEARNED, have each value of each coded feature.

    Args:
        entities: rows with raw values.
        features: as declared.
    """
    some = entities.filter(entities[LEARNED])
    tables = []
    for place, name in enumerate(coded_names(features)):
        raw = some[raw_name(name)]
        trained = some[TRAINS].take(pc.list_parent_indices(raw)).cast(pa.int64())
        pairs = pa.table({VALUE: raw.flatten(), _TRAINED: trained, _ALL: pa.array(np.ones(len(trained), np.int64))})
        tables.append(_summed(pairs.append_column(_FEATURE, pa.array(np.full(len(trained), place, np.int32)))))
    return pa.concat_tables(tables)


def fit_vocabularies(counts: Sequence[pa.Table], features: Mapping[str, Feature], most: int) -> tuple[Vocabulary, Vocabulary]:
    """The vocabularies fitted on the rows with TRAINS and on those with LEARNED.

    Args:
        counts: of all parts, see `count_values`.
        features: as declared.
        most: greatest number of values of one feature in the training part, and of those that only the others have.
    """
    coded = coded_names(features)
    if not coded:
        return {}, {}
    columns = [_FEATURE, VALUE, _TRAINED, _ALL]
    found = _summed(pa.concat_tables(counts)).to_pandas() if counts else pd.DataFrame(columns=columns)
    fitted: dict[str, tuple[str, ...]] = {}
    extended: dict[str, tuple[str, ...]] = {}
    for place, name in enumerate(coded):
        least = _TEXT_ROWS if features[name].kind == "text" else 1
        own = found[(found[_FEATURE] == place) & (found[_ALL] >= least)]
        known = own[_TRAINED] >= least
        fitted[name] = _most_frequent(own[known], _TRAINED, most)
        extended[name] = fitted[name] + _most_frequent(own[~known], _ALL, most)
    return fitted, extended


def summed(counts: pa.Table, features: Mapping[str, Feature]) -> pa.Table:
    """Counts of one value of a feature as one row; without words of one row alone, since no other counts are to come."""
    found = _summed(counts)
    rare = [features[name].kind == "text" for name in coded_names(features)]
    text = pa.array(rare, pa.bool_()).take(found[_FEATURE].combine_chunks())
    return found.filter(pc.or_(pc.invert(text), pc.greater_equal(found[_ALL], _TEXT_ROWS)))


def _summed(counts: pa.Table) -> pa.Table:
    found = counts.group_by([_FEATURE, VALUE], use_threads=False).aggregate([(_TRAINED, "sum"), (_ALL, "sum")])
    return found.rename_columns({f"{_TRAINED}_sum": _TRAINED, f"{_ALL}_sum": _ALL})


def _most_frequent(counts: pd.DataFrame, column: str, most: int) -> tuple[str, ...]:
    """Values by falling frequency, ties by value."""
    ordered = counts.sort_values([column, VALUE], ascending=[False, True], kind="stable")
    return tuple(ordered[VALUE].head(most))


def encode(raw: pa.Array, feature: Feature, values: tuple[str, ...]) -> pa.Array:
    """Codes of lists of distinct values: int32 if categorical, otherwise sorted lists of int32.

    Args:
        raw: lists of strings.
        feature: categorical, multi or text.
        values: its vocabulary.
    """
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


def settle(value: float) -> float:
    """A statistic without its last digits, which depend on the order of summation."""
    return float(f"{value:.10g}")


def coded_names(features: Mapping[str, Feature]) -> list[str]:
    """The features that have a vocabulary."""
    return [name for name, feature in features.items() if feature.kind != "numeric"]


def numeric_names(features: Mapping[str, Feature]) -> list[str]:
    """The declared features that are numbers."""
    return [name for name, feature in features.items() if feature.kind == "numeric"]
