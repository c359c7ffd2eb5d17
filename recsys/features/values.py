"""Parses columns of a source table, as Arrow arrays: ids, numbers and times.

Text that is plain (digits only, or what Arrow takes for a number) is parsed at once; only what is left is looked at value by
value. What cannot be parsed is null.
"""

from __future__ import annotations

import datetime
import math
import re
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from recsys.contract.schema import DAY

NUMBER: Final = r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*"
"""A plain decimal number."""
LATEST: Final = 4_102_444_800
"""2100-01-01, in seconds since 1970."""
_INTEGER: Final = r"\s*[+-]?\d+\s*"
_SAFE_DIGITS: Final = 18
"""Every number of so many digits fits into 64 bits."""
_MOST_DIGITS: Final = 100
_DATE: Final = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
    r"(?:[T ](?P<hour>\d{1,2}):(?P<minute>\d{1,2})(?::(?P<second>\d{1,2})(?:\.\d*)?)?"
    r"\s*(?:(?P<sign>[+-])(?P<hours>\d{1,2}):?(?P<minutes>\d{2})?|(?P<zone>[A-Za-z][\w/+-]*))?)?",
    re.ASCII,
)
_DATE_PARTS: Final = ("year", "month", "day", "hour", "minute", "second")
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_UNITS: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def is_null(column: pa.Array) -> np.ndarray:
    """Which values are null; bool [rows]."""
    return _mask(column.is_null()) if column.null_count else np.zeros(len(column), bool)


def is_finite(column: pa.Array) -> np.ndarray:
    """Which values of a float column are numbers; bool [rows]."""
    finite = pc.is_finite(column)
    return np.ones(len(column), bool) if _all(finite) else _mask(finite.fill_null(False))


def missing(column: pa.Array) -> np.ndarray:
    """Which values are null or nothing but spaces; bool [rows]."""
    if not pa.types.is_string(column.type):
        return is_null(column)
    if not column.null_count and not pc.any(pc.or_(pc.starts_with(column, " "), pc.equal(column, ""))).as_py():
        return np.zeros(len(column), bool)
    empty = pc.equal(pc.utf8_trim(column, " "), "")
    return _mask(empty.fill_null(True))


def undecodable(column: pa.Array) -> np.ndarray:
    """Which values hold the character that stands for bytes outside of the declared encoding; bool [rows]."""
    if not pa.types.is_string(column.type):
        return np.zeros(len(column), bool)
    return _mask(pc.match_substring(column, "�").fill_null(False))


def odd_quotes(column: pa.Array) -> np.ndarray:
    """Which values are texts with an odd number of double quotes; bool [rows]."""
    return _mask(pc.equal(pc.bit_wise_and(pc.count_substring(column, '"'), 1), 1).fill_null(False))


def decoded(batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch with the character � in the place of bytes that are no UTF-8, which Parquet files may hold as text."""
    return pa.RecordBatch.from_arrays([_decoded(column) for column in batch.columns], names=batch.schema.names)


def python_values(column: pa.Array) -> list[Any]:
    """The values as Python's own objects; text and bytes in nested values that are no UTF-8, and times that Python cannot hold,
    have a mark in their place.
    """
    try:
        found: list[Any] = column.to_pylist()
        return found
    except (ValueError, OverflowError, pa.ArrowException):
        return [_python_value(value) for value in column]


def _python_value(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except (ValueError, OverflowError, pa.ArrowException):
        return "<value that cannot be shown>"


def in_calendar(column: pa.Array) -> pa.Array:
    """A column with its times and dates as text: they may lie outside of the years 1 to 9999, which Python's own types hold."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp(kind.unit)).cast(pa.string())
    return column.cast(pa.string()) if pa.types.is_date(kind) else column


def identifiers(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Ids, null where they cannot be parsed.

    Args:
        column: of text or integers.
        kind: the wanted type: string or a signed integer.
    """
    if pa.types.is_string(kind):
        return column if pa.types.is_string(column.type) else column.cast(pa.string())
    whole = integers(column) if pa.types.is_string(column.type) else column.cast(pa.int64())
    if kind.bit_width < 64:
        least = 1 << kind.bit_width - 1
        fits = pc.and_(pc.greater_equal(whole, -least), pc.less(whole, least))
        whole = pc.if_else(fits, whole, pa.scalar(None, pa.int64()))
    return whole.cast(kind)


def integers(column: pa.Array) -> pa.Array:
    """Text as int64; null if it is not a whole number of 64 bits."""
    plain = pc.and_(pc.ascii_is_decimal(column), pc.less_equal(pc.binary_length(column), _SAFE_DIGITS))
    if _all(plain):
        return column.cast(pa.int64())
    found = pc.if_else(plain, column, pa.scalar(None, column.type)).cast(pa.int64())
    rest = np.flatnonzero(~_mask(plain.fill_null(True)))
    return _put(found, rest, [_integer(text) for text in column.take(pa.array(rest)).to_pylist()])


def numbers(column: pa.Array) -> pa.Array:
    """A column as float64; null if the value is not a plain decimal number."""
    kind = column.type
    if pa.types.is_string(kind):
        return _numbers_of_text(column)
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind):
        return _finite(column.cast(pa.float64(), safe=False))
    return pa.nulls(len(column), pa.float64())


def seconds(column: pa.Array, unit: str) -> tuple[pa.Array, np.ndarray]:
    """Whole seconds since 1970, null if the value is not a time; and whether they are in 1970 to 2099, bool [rows].

    Args:
        column: numbers or text in that unit, timestamps in UTC, or dates.
        unit: s, ms, us, ns, or iso8601: text such as 2020-01-31, 2020-01-31 23:59:59.5 or 2020-01-31T23:59:59+01:00, in UTC
            unless it says otherwise.
    """
    kind = column.type
    if unit == "iso8601":
        if pa.types.is_string(kind):
            found = _seconds_of_dates(column)
            return found, _in_range(found, 1)
        unit = "s"
    if pa.types.is_date(kind):
        column, unit = column.cast(pa.date32()).cast(pa.int32()).cast(pa.int64()), "days"
    elif pa.types.is_timestamp(kind):
        column, unit = column.cast(pa.int64()), kind.unit
    if unit == "days":
        found = pc.multiply(column, DAY)
        return found, _in_range(found, 1)
    divisor = _UNITS[unit]
    if pa.types.is_integer(column.type):
        whole = column.cast(pa.int64(), safe=False)
    elif pa.types.is_string(column.type):
        whole = integers(column)
    else:
        whole = pa.nulls(len(column), pa.int64())
    if whole.null_count == column.null_count:
        return _floor_divided(whole, divisor), _in_range(whole, divisor)
    value = numbers(column)
    in_range = _in_range(value, divisor)
    inside = pc.if_else(pa.array(in_range), value, pa.scalar(0.0))
    rounded = pc.floor(pc.divide(inside, float(divisor))).cast(pa.int64())
    found = pc.coalesce(_floor_divided(whole, divisor), pc.if_else(value.is_valid(), rounded, pa.scalar(None, pa.int64())))
    return found, in_range


def _seconds_of_dates(column: pa.Array) -> pa.Array:
    """Seconds of dates as text: by pandas, and those that it does not take one by one."""
    dates = pc.if_else(pc.match_substring_regex(column, r"^\s*\d{4}-\d{1,2}-\d{1,2}"), column, pa.scalar(None, pa.string()))
    moments = pd.DatetimeIndex(pd.to_datetime(dates.to_numpy(False), format="ISO8601", utc=True, errors="coerce"))
    known = np.asarray(moments.notna())
    found = pa.array(np.where(known, moments.as_unit("s").asi8, 0), mask=~known)
    rest = np.flatnonzero(~known & ~is_null(dates))
    return _put(found, rest, [_second(text) for text in column.take(pa.array(rest)).to_pylist()])


def _second(text: str) -> int | None:
    if (match := _DATE.fullmatch(text.strip())) is None:
        return None
    year, month, day, hour, minute, second = (int(match[name] or 0) for name in _DATE_PARTS)
    try:
        zone = ZoneInfo(match["zone"] or "UTC")
        moment = datetime.datetime(year, month, day, hour, minute, second, tzinfo=zone)
    except (ValueError, OSError, KeyError):  # no such day, time or zone
        return None
    shift = (
        (int(match["hours"]) * 60 + int(match["minutes"] or 0)) * (-60 if match["sign"] == "-" else 60) if match["sign"] else 0
    )
    return int((moment - _EPOCH).total_seconds()) - shift


def _decoded(column: pa.Array) -> pa.Array:
    if not pa.types.is_string(column.type):
        return column
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        texts = column.cast(pa.binary()).to_pylist()
        return pa.array([None if text is None else text.decode(errors="replace") for text in texts], column.type)
    return column


def _in_range(moment: pa.Array, divisor: int) -> np.ndarray:
    inside = pc.and_(pc.greater_equal(moment, 0), pc.less(moment, LATEST * divisor))
    return np.ones(len(moment), bool) if _all(inside) else _mask(inside.fill_null(False))


def _floor_divided(whole: pa.Array, divisor: int) -> pa.Array:
    if divisor == 1:
        return whole
    values = whole.fill_null(0).to_numpy(zero_copy_only=False) // divisor
    return pa.array(values, pa.int64(), mask=is_null(whole))


def _numbers_of_text(column: pa.Array) -> pa.Array:
    try:
        found = column.cast(pa.float64())
    except pa.ArrowInvalid:
        values = column.dictionary_encode()
        parsed = pa.array([_number(text) for text in values.dictionary.to_pylist()], pa.float64())
        return parsed.take(values.indices)
    return _finite(found)


def _finite(column: pa.Array) -> pa.Array:
    """Null instead of infinity and NaN."""
    finite = pc.is_finite(column)
    return column if _all(finite) else pc.if_else(finite, column, pa.scalar(None, pa.float64()))


def _number(text: str) -> float | None:
    value = float(text) if re.fullmatch(NUMBER, text, re.ASCII) else math.inf
    return value if math.isfinite(value) else None


def _integer(text: str) -> int | None:
    if len(text) > _MOST_DIGITS or not re.fullmatch(_INTEGER, text, re.ASCII):
        return None
    value = int(text)
    return value if -(1 << 63) <= value < 1 << 63 else None


def _put(column: pa.Array, rows: np.ndarray, values: list[int | None]) -> pa.Array:
    """The column with other values in some rows."""
    if not len(rows):
        return column
    replaced = np.zeros(len(column), bool)
    replaced[rows] = True
    return pc.replace_with_mask(column, pa.array(replaced), pa.array(values, column.type))


def _all(column: pa.Array) -> bool:
    """Whether all are true, and none null: the common case, in which there is no mask to make."""
    return not column.null_count and bool(pc.all(column, min_count=0).as_py())


def _mask(column: pa.Array) -> np.ndarray:
    found: np.ndarray = np.asarray(column.to_numpy(zero_copy_only=False), bool)
    return found
