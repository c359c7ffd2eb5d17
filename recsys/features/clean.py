"""Turns rows as read into typed events, users and items, and gives a reason for each row that is not used.

Of several events of a user with the same item, the first by time, then by source order, is kept and the others are set aside:
only new items are recommended, so only the first encounter is a target, and which one is first does not depend on the future.
Of several rows for the same user in the users' table, or item in the items' table, the first in source order is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from recsys.contract.schema import ITEM_ID, RATING, REASON, TIMESTAMP, TITLE, USER_ID
from recsys.errors import ConfigError, DataError
from recsys.features.read import FILE, MALFORMED, ORDER, TEXT, Rows

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

DUPLICATE: Final = "duplicate"
RARE_ITEM: Final = "rare_item"
EVENT_REASONS: Final = (
    "malformed_row",
    "undecodable_text",
    "missing_user_id",
    "bad_user_id",
    "missing_item_id",
    "bad_item_id",
    "missing_timestamp",
    "bad_timestamp",
    "timestamp_out_of_range",
    "missing_rating",
    "bad_rating",
)
ENTITY_REASONS: Final = {
    "users": ("malformed_row", "undecodable_text", "missing_user_id", "bad_user_id", DUPLICATE),
    "items": ("malformed_row", "undecodable_text", "missing_item_id", "bad_item_id", DUPLICATE),
}
HINTS: Final = {
    "timestamp_out_of_range": "times must be from 1970 to 2099, in the unit of [source] timestamp_unit: milliseconds need 'ms'",
    "bad_timestamp": "times must be numbers in the unit of [source] timestamp_unit, or dates with 'iso8601'",
    "malformed_row": "every row must have as many values as there are columns: check delimiter, quoting and header",
    "undecodable_text": "the text is not in the declared encoding: set encoding, such as 'latin-1'",
    "bad_user_id": "with [source] id_type 'integer' ids must be 64-bit integers",
    "bad_item_id": "with [source] id_type 'integer' ids must be 64-bit integers",
    "missing_rating": "leave out 'rating' if the events have none",
    "bad_rating": "ratings must be finite numbers of 32 bits",
}

INTEGER_TYPES: Final = ("tinyint", "smallint", "int", "bigint")
ARROW_NAMES: Final = {"string": "string", "tinyint": "int8", "smallint": "int16", "int": "int32", "bigint": "int64"}
LATEST: Final = 4_102_444_800
"""2100-01-01, in seconds since 1970."""
_UNITS: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_NUMBER: Final = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_DATE: Final = r"^\s*\d{4}-\d{1,2}-\d{1,2}"


def id_type(rows: Rows, name: str, declared: str) -> str:
    """Spark type of an id column in features/: its own for Parquet; for CSV string, or bigint if declared as integer.

    Raises:
        DataError: the column is neither of text nor of an integer type.
    """
    found = rows.type_name(name)
    if found == "string":
        return "bigint" if declared == "integer" and not rows.typed else "string"
    if found in INTEGER_TYPES:
        return found
    raise DataError(f"{rows.table.path}: id column '{name}' is of type {found}; ids must be text or integers of up to 64 bits")


def common_type(first: str, second: str) -> str:
    """Type for the ids of two tables: the wider of two integer types, otherwise that of the first, the events."""
    if first in INTEGER_TYPES and second in INTEGER_TYPES:
        return max(first, second, key=INTEGER_TYPES.index)
    return first


def events(rows: Rows, user_type: str, item_type: str, unit: str) -> DataFrame:
    """The interactions: user_id, item_id, rating float (1.0 if the source has none), timestamp bigint in seconds (0 if the
    source has none), REASON (null if usable), FILE, TEXT and ORDER."""
    from pyspark.sql import functions as F

    table = rows.table
    if table.user_id is None or table.item_id is None:
        raise ConfigError("[source.interactions] needs user_id and item_id, the names of the columns with the ids")
    user, user_missing = _id(rows, table.user_id, user_type)
    item, item_missing = _id(rows, table.item_id, item_type)
    reason = F.when(F.col(MALFORMED), "malformed_row").when(
        _undecodable(rows.column(table.user_id)) | _undecodable(rows.column(table.item_id)), "undecodable_text"
    )
    reason = reason.when(user_missing, "missing_user_id").when(user.isNull(), "bad_user_id")
    reason = reason.when(item_missing, "missing_item_id").when(item.isNull(), "bad_item_id")
    timestamp: Column = F.lit(0).cast("bigint")
    if table.timestamp is not None:
        raw = rows.column(table.timestamp)
        timestamp, in_range = _seconds(raw, rows.type_name(table.timestamp), unit)
        reason = reason.when(_missing(raw), "missing_timestamp").when(in_range.isNull(), "bad_timestamp")
        reason = reason.when(~in_range, "timestamp_out_of_range")
    rating: Column = F.lit(1.0).cast("float")
    if table.rating is not None:
        raw = rows.column(table.rating)
        rating = number(raw).cast("float")
        reason = reason.when(_missing(raw), "missing_rating")
        reason = reason.when(rating.isNull() | F.isnan(rating) | (F.abs(rating) == F.lit(float("inf"))), "bad_rating")
    return rows.frame.select(
        user.alias(USER_ID),
        item.alias(ITEM_ID),
        rating.alias(RATING),
        timestamp.alias(TIMESTAMP),
        reason.alias(REASON),
        FILE,
        TEXT,
        *ORDER,
    )


def entities(rows: Rows, role: str, kind: str) -> DataFrame:
    """Rows of the users' or items' table with parsed ids: the source's columns, user_id or item_id, title, REASON, FILE, TEXT
    and ORDER. Further rows of the same id have the reason `duplicate`.

    Args:
        rows: the table as read.
        role: users or items.
        kind: Spark type of the ids, as in the events.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    key = USER_ID if role == "users" else ITEM_ID
    name = rows.table.user_id if role == "users" else rows.table.item_id
    if name is None:
        raise ConfigError(f"[source.{role}] needs {key}, the name of the column with the ids")
    identifier, missing = _id(rows, name, kind)
    text_columns = [name for name in rows.columns.values() if rows.frame.schema[name].dataType.simpleString() == "string"]
    damaged = F.lit(False)
    for column in text_columns:
        damaged = damaged | F.coalesce(_undecodable(F.col(column)), F.lit(False))
    reason = F.when(F.col(MALFORMED), "malformed_row").when(damaged, "undecodable_text")
    reason = reason.when(missing, f"missing_{key}").when(identifier.isNull(), f"bad_{key}")
    frame = rows.frame.withColumn(key, identifier).withColumn(REASON, reason)
    title: Column = F.lit(None).cast("string")
    if role == "items" and rows.table.title is not None:
        title = rows.column(rows.table.title).cast("string")
    frame = frame.withColumn(TITLE, F.when(F.length(title) > 0, title))
    usable = F.col(REASON).isNull()
    window = Window.partitionBy(key, usable).orderBy(*ORDER)
    repeated = usable & (F.row_number().over(window) > 1)
    return frame.withColumn(REASON, F.when(repeated, DUPLICATE).otherwise(F.col(REASON)))


def with_repeats(frame: DataFrame) -> DataFrame:
    """Adds `repeat`: 1 for a user's first event with an item, 2, 3, … for later ones. Partitions the frame by user."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    window = Window.partitionBy(USER_ID, ITEM_ID).orderBy(TIMESTAMP, *ORDER)
    return frame.repartition(USER_ID).withColumn("repeat", F.row_number().over(window))


def number(column: Column) -> Column:
    """A column as double; null if it is not a plain decimal number."""
    from pyspark.sql import functions as F

    text = column.cast("string")
    return F.when(text.rlike(_NUMBER), text.cast("double"))


def _id(rows: Rows, name: str, kind: str) -> tuple[Column, Column]:
    """The id, null if it cannot be parsed; and whether it is missing."""
    from pyspark.sql import functions as F

    column = rows.column(name)
    found = rows.type_name(name)
    if kind == "string":
        return (column if found == "string" else column.cast("string")), _missing(column)
    if found in INTEGER_TYPES:
        return column.try_cast(kind), _missing(column)
    digits = F.when(column.rlike(r"^\s*[+-]?\d+\s*$"), column)
    return digits.try_cast(kind), _missing(column)


def _missing(column: Column) -> Column:
    from pyspark.sql import functions as F

    return column.isNull() | (F.trim(column.cast("string")) == "")


def _undecodable(column: Column) -> Column:
    return column.cast("string").contains("�")


def _seconds(column: Column, found: str, unit: str) -> tuple[Column, Column]:
    """Whole seconds, and whether they are in 1970 to 2099; both null if the value is not a time."""
    from pyspark.sql import functions as F

    if found.startswith("timestamp") or found == "date" or unit == "iso8601":
        text = column.cast("string") if found == "string" else None
        moment = column.cast("timestamp") if text is None else F.when(text.rlike(_DATE), text).try_cast("timestamp")
        seconds = F.unix_seconds(moment)
        return seconds, (seconds >= 0) & (seconds < LATEST)
    value = number(column)
    divisor = _UNITS[unit]
    whole = column.try_cast("bigint") if found in (*INTEGER_TYPES, "string") else F.lit(None).cast("bigint")
    seconds = F.coalesce((whole - F.pmod(whole, F.lit(divisor))) / divisor, F.floor(value / divisor)).cast("bigint")
    return seconds, (value >= 0) & (value < float(LATEST) * divisor)


def counted(frame: DataFrame, reasons: tuple[str, ...]) -> tuple[DataFrame, Callable[[], dict[str, int]]]:
    """The frame, and a function that, after an action on it, returns its number of rows (key "") and that of each REASON."""
    from pyspark.sql import Observation
    from pyspark.sql import functions as F

    observation = Observation()
    counts = [F.count_if(F.col(REASON) == reason).alias(reason) for reason in reasons]
    observed = frame.observe(observation, F.count(F.lit(1)).alias("rows"), *counts)

    def result() -> dict[str, int]:
        found = observation.get
        return {"": found["rows"]} | {reason: found[reason] for reason in reasons if found[reason]}

    return observed, result


def check_rejected(role: str, path: str, counts: Mapping[str, int], most: float, rejected: DataFrame) -> None:
    """Refuses a table if too many rows cannot be used; duplicates do not count.

    Args:
        role: interactions, users or items.
        path: the table's path.
        counts: see `counted`.
        most: greatest allowed share, features.max_rejected.
        rejected: the rows with a REASON; read only for an example.

    Raises:
        DataError: with the number of rows for each reason, an example, and a hint.
    """
    from pyspark.sql import functions as F

    bad = {reason: number for reason, number in counts.items() if reason not in ("", DUPLICATE, RARE_ITEM)}
    if sum(bad.values()) <= most * counts[""]:
        return
    worst = max(bad, key=lambda reason: bad[reason])
    example = rejected.where(F.col(REASON) == worst).select(FILE, TEXT).head()
    shown = f"; for example in {unquote(example[0])}: {example[1][:200]!r} is a {worst}" if example else ""
    listed = ", ".join(f"{reason} {number}" for reason, number in sorted(bad.items(), key=lambda pair: -pair[1]))
    hint = HINTS.get(worst, "correct the column, or its name in the configuration")
    raise DataError(
        f"{path}: {sum(bad.values())} of {counts['']} rows of {role} cannot be used ({listed}), more than "
        f"features.max_rejected = {most:g} allows{shown}. Hint: {hint}"
    )
