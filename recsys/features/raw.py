"""The raw values of declared features, from the columns of a source table: numbers, or lists of distinct strings."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from recsys.config import Feature
from recsys.errors import ConfigError
from recsys.features import values
from recsys.features.read import Rows
from recsys.sources.pieces import is_list

GREATEST: Final = 3.4e38
"""About the greatest number that float32 holds."""
_RAW: Final = "__raw_"
_BETWEEN_WORDS: Final = r"[^\pL\pM\p{Nd}\p{Nl}\p{Pc}\x{200c}\x{200d}]+"
"""What Unicode's word characters are not (Technical Standard 18, Annex C)."""
_STRINGS: Final = pa.list_(pa.string())


@dataclasses.dataclass(frozen=True)
class Declared:
    """A declared feature and where it comes from.

    Attributes:
        name: of the feature.
        feature: how it is encoded.
        columns: internal names of its source columns; more than one only for flags.
    """

    name: str
    feature: Feature
    columns: tuple[str, ...]


def declared(rows: Rows) -> tuple[Declared, ...]:
    """The features of a source table.

    Raises:
        ConfigError: the table has no such column, or lists where the feature takes one value.
    """
    found = []
    for name, feature in rows.table.features.items():
        sources = feature.flags or (feature.column or name,)
        for source in sources:
            if is_list(rows.type(source)) and (feature.flags or feature.kind in ("categorical", "numeric")):
                kinds = "must be 'multi', with this column alone," if feature.flags else "must be 'multi' or 'text'"
                raise ConfigError(f"feature '{name}': column '{source}' holds lists; its kind {kinds}")
        found.append(Declared(name, feature, tuple(map(rows.internal, sources))))
    return tuple(found)


def raw_name(feature: str) -> str:
    """Name of the column with a feature's raw values."""
    return _RAW + feature


def type_of(feature: Feature) -> pa.DataType:
    """The type of its raw values."""
    return pa.float64() if feature.kind == "numeric" else _STRINGS


def raw_values(batch: pa.RecordBatch, feature: Declared) -> pa.Array:
    """The values of a feature: float64 if numeric, otherwise lists of distinct strings; null where missing."""
    kind, options = feature.feature.kind, feature.feature
    if options.flags:
        return _flags(batch, feature)
    column = batch[feature.columns[0]]
    if is_list(column.type):
        listed = (found if isinstance(found, list) else None for found in values.python_values(column))
        lists = [None if found is None else [_text(value) for value in found] for found in listed]
        given = [None if found is None else [value for value in found if value is not None] for found in lists]
        if kind == "multi":
            return pa.array([None if found is None else _distinct(found) for found in given], _STRINGS)
        return _words(pa.array([None if found is None else " ".join(found) for found in given], pa.string()))
    if kind == "numeric" and options.pattern is None:
        found = values.numbers(column)
    else:
        text = texts(column)
        if options.pattern is not None:
            text = _each(text, _group(options.pattern), pa.string())
        if kind == "text":
            return _words(text)
        if kind != "numeric":
            separator = options.separator if kind == "multi" else None
            return _each(text, lambda value: _distinct(value.split(separator) if separator else [value]), _STRINGS)
        found = values.numbers(text)
    return pc.if_else(pc.less_equal(pc.abs(found), GREATEST), found, pa.scalar(None, pa.float64()))


def _flags(batch: pa.RecordBatch, feature: Declared) -> pa.Array:
    names: list[list[str]] = [[] for _ in range(len(batch))]
    for flag, column in zip(feature.feature.flags, feature.columns, strict=True):
        given = batch[column]
        found = given.cast(pa.int8()) if pa.types.is_boolean(given.type) else given
        for row in pc.indices_nonzero(pc.equal(values.numbers(found), 1.0).fill_null(False)).to_pylist():
            names[row].append(flag)
    return pa.array(names, _STRINGS)


def texts(column: pa.Array) -> pa.Array:
    """A column as strings."""
    if pa.types.is_string(column.type):
        return column
    return pa.array([_text(value) for value in values.python_values(values.in_calendar(column))], pa.string())


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _group(pattern: str) -> Callable[[str], str | None]:
    search = re.compile(pattern).search

    def first(text: str) -> str | None:
        found = search(text)
        return None if found is None else found[1]

    return first


def _each(given: pa.Array, function: Callable[[str], object], kind: pa.DataType) -> pa.Array:
    """The results of a function of the text, which is called once for each distinct text."""
    found = given.dictionary_encode()
    results = pa.array([function(text) for text in found.dictionary.to_pylist()], kind)
    return results.take(found.indices)


def _words(given: pa.Array) -> pa.Array:
    """Lower-cased words of at least two characters."""
    found = given.dictionary_encode()
    split = pc.split_pattern_regex(pc.utf8_lower(found.dictionary), _BETWEEN_WORDS)
    words = [list(dict.fromkeys(word for word in some if len(word) > 1)) for some in split.to_pylist()]
    return pa.array(words, _STRINGS).take(found.indices)


def _distinct(given: list[str]) -> list[str]:
    """What is not empty, without spaces around it, once."""
    return list(dict.fromkeys(text for text in (one.strip(" ") for one in given) if text))
