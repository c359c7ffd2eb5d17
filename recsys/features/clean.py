"""Turns rows as read into typed events, users and items, and says of every unusable row why it is not used.

Duplicates: a user's first event with an item, by time and then by source order, is kept; the later ones are set aside. What is
recommended is new to the user, so only the first encounter is a target, and which one is first does not depend on the future.
Of several rows for one user or item of the users' or items' table, the first in source order is kept.
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
    "timestamp_out_of_range": "times must lie between 1970 and 2100 in [source] timestamp_unit: milliseconds need 'ms'",
    "bad_timestamp": "times must be numbers in [source] timestamp_unit, or dates with 'iso8601'",
    "malformed_row": "every row must have as many values as there are columns: check delimiter, quoting and header",
    "undecodable_text": "the text is not in the declared encoding: check encoding, such as 'latin-1'",
    "bad_user_id": "with [source] id_type 'integer' ids must be whole numbers of 64 bits",
    "bad_item_id": "with [source] id_type 'integer' ids must be whole numbers of 64 bits",
    "missing_rating": "leave out 'rating' where the events have none",
    "bad_rating": "ratings must be finite numbers",
}

INTEGER_TYPES: Final = ("tinyint", "smallint", "int", "bigint")
ARROW_NAMES: Final = {"string": "string", "tinyint": "int8", "smallint": "int16", "int": "int32", "bigint": "int64"}
LATEST: Final = 4_102_444_800
"""2100-01-01 in seconds."""
_UNITS: Final = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_NUMBER: Final = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_DATE: Final = r"^\s*\d{4}-\d{1,2}-\d{1,2}"


def id_type(rows: Rows, name: str, declared: str) -> str:
    """Spark type that an id column has in features/: its own for Parquet; for text, string or, if so declared, bigint.

    Raises:
        DataError: the column is neither text nor an integer type.
    """
    found = rows.type_name(name)
    if found == "string":
        return "bigint" if declared == "integer" and not rows.typed else "string"
    if found in INTEGER_TYPES:
        return found
    raise DataError(f"{rows.table.path}: id column '{name}' is of type {found}; ids must be text or integers of up to 64 bits")


def common_type(first: str, second: str) -> str:
    """Type of the ids of two tables: that of the events; of two integer types the wider."""
    if first in INTEGER_TYPES and second in INTEGER_TYPES:
        return max(first, second, key=INTEGER_TYPES.index)
    return first


def events(rows: Rows, user_type: str, item_type: str, unit: str) -> DataFrame:
    """The interactions: user_id, item_id, rating float (1.0 where the source has none), timestamp bigint in seconds (0 where
    the source has none), REASON (null for a usable row), FILE, TEXT and ORDER."""
    from pyspark.sql import functions as F

    table = rows.table
    if table.user_id is None or table.item_id is None:
        raise ConfigError("[source.interactions] needs user_id and item_id: the names of those columns")
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
    """Rows of the users' or items' table with their id parsed: the source's columns, user_id or item_id, title (items), REASON,
    FILE, TEXT and ORDER. A second row of one id has the reason `duplicate`.

    Args:
        rows: the table as read.
        role: users or items.
        kind: Spark type of the ids, that of the events.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    key = USER_ID if role == "users" else ITEM_ID
    name = rows.table.user_id if role == "users" else rows.table.item_id
    if name is None:
        raise ConfigError(f"[source.{role}] needs {key}: the name of that column")
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
    """Adds `repeat`, 1 for a user's first event with an item and 2, 3, … for the later ones; partitioned by user."""
    from pyspark.sql import Window
    from pyspark.sql import functions as F

    window = Window.partitionBy(USER_ID, ITEM_ID).orderBy(TIMESTAMP, *ORDER)
    return frame.repartition(USER_ID).withColumn("repeat", F.row_number().over(window))


def number(column: Column) -> Column:
    """A column as double; null where it is no plain decimal number."""
    from pyspark.sql import functions as F

    text = column.cast("string")
    return F.when(text.rlike(_NUMBER), text.cast("double"))


def _id(rows: Rows, name: str, kind: str) -> tuple[Column, Column]:
    """The id, null where it cannot be parsed; and whether there is none."""
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
    """Whole seconds, and whether they lie in 1970 … 2100: null where the value is no time."""
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
    """The frame, and a function that gives, after an action on it, its rows (key "") and those of each REASON that occurs."""
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
    """Refuses a table of which too much cannot be used; duplicates do not count.

    Args:
        role: interactions, users or items.
        path: the table's path.
        counts: see `counted`.
        most: greatest share, features.max_rejected.
        rejected: the rows with a REASON, read only for an example.

    Raises:
        DataError: says how many rows for which reason, shows one of them, and what may help.
    """
    from pyspark.sql import functions as F

    bad = {reason: number for reason, number in counts.items() if reason not in ("", DUPLICATE, RARE_ITEM)}
    if sum(bad.values()) <= most * counts[""]:
        return
    worst = max(bad, key=lambda reason: bad[reason])
    example = rejected.where(F.col(REASON) == worst).select(FILE, TEXT).head()
    shown = f"; for example in {unquote(example[0])}: {example[1][:200]!r} is a {worst}" if example else ""
    listed = ", ".join(f"{reason} {number}" for reason, number in sorted(bad.items(), key=lambda pair: -pair[1]))
    hint = HINTS.get(worst, "correct the column or its name in the configuration")
    raise DataError(
        f"{path}: {sum(bad.values())} of {counts['']} rows of {role} cannot be used ({listed}), more than "
        f"features.max_rejected = {most:g} allows{shown}. What may help: {hint}"
    )
