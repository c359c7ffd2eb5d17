"""Turns rows as read into typed events, users and items, and gives a reason for each row that is not used.

Of several events of a user with the same item, the first by time, then by source order, is kept and the others are set aside:
only new items are recommended, so only the first encounter is a target, and which one is first does not depend on the future.
Of several rows for the same user in the users' table, or item in the items' table, the first in source order is kept.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.contract.schema import ITEM_ID, REASON, TITLE, USER_ID
from recsys.errors import ConfigError, DataError
from recsys.features import values
from recsys.features.read import CORRUPT, ORDER, Rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DUPLICATE: Final = "duplicate"
RARE_ITEM: Final = "rare_item"
OPEN_QUOTE: Final = "open_quote"
"""A malformed line with a quote that opens or closes in another line. Half a record may look like another user's event, and so
may a line between its halves: only whoever wrote the file knows whether its values have line breaks (Table.multiline)."""
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
_DATE: Final = r"^\s*\d{4}-\d{1,2}-\d{1,2}"
_SECONDS: Final = "__seconds"


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


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the rows of a table look to a worker of Spark.

    Attributes:
        columns: internal names of the source's columns, in their order, with the source's names.
        delimiter: between the values of a row of text; None for Parquet.
        user_id, item_id, rating, timestamp: internal names; None where the table has none.
        user_type, item_type: Spark types of the ids.
        unit: of the timestamps, s, ms, us or ns.
        open_quotes: whether OPEN_QUOTE is looked for.
    """

    columns: Mapping[str, str]
    delimiter: str | None
    user_id: str | None
    item_id: str | None
    rating: str | None
    timestamp: str | None
    user_type: str
    item_type: str
    unit: str
    open_quotes: bool


@dataclasses.dataclass(frozen=True)
class CleanEvents:
    """Events of one batch, with the rows that cannot be used.

    Attributes:
        user_id, item_id: of the wanted types, null where they cannot be parsed.
        rating: float32; 1.0 if the source has none.
        timestamp: int64, seconds; 0 if the source has none.
        usable: bool [rows].
        reasons: of the rows that are not usable, in order.
    """

    user_id: pa.Array
    item_id: pa.Array
    rating: pa.Array
    timestamp: pa.Array
    usable: np.ndarray
    reasons: pa.Array


def layout(rows: Rows, user_type: str, item_type: str, unit: str = "s") -> Layout:
    """The layout of a table.

    Raises:
        ConfigError: the table has no column of a name that the configuration gives.
    """
    table = rows.table
    user, item, rating, timestamp = (
        None if name is None else rows.internal(name) for name in (table.user_id, table.item_id, table.rating, table.timestamp)
    )
    delimiter = None if rows.typed else table.delimiter
    names = {name: source for source, name in rows.columns.items()}
    columns = {name: names.get(name, name) for name in rows.frame.columns if re.fullmatch(r"c\d+", name)}
    undeclared = not rows.typed and table.quoting and table.multiline is None
    return Layout(columns, delimiter, user, item, rating, timestamp, user_type, item_type, unit, undeclared)


def timed(rows: Rows, unit: str) -> tuple[Rows, str]:
    """The rows, and the unit of their timestamps; dates as text are parsed by Spark, into a further column."""
    from pyspark.sql import functions as F

    name = rows.table.timestamp
    if unit != "iso8601" or name is None:
        return rows, unit
    column = rows.column(name)
    if rows.type_name(name) == "string":
        moment = F.when(column.rlike(_DATE), column).try_cast("timestamp")
    else:
        moment = column.cast("timestamp")
    return dataclasses.replace(rows, frame=rows.frame.withColumn(_SECONDS, F.unix_seconds(moment))), "s"


def events(batch: pa.RecordBatch, layout: Layout) -> CleanEvents:
    """Parses a batch of interactions."""
    if layout.user_id is None or layout.item_id is None:
        raise ConfigError("[source.interactions] needs user_id and item_id, the names of the columns with the ids")
    reasons = _Reasons(batch, layout.open_quotes)
    raw_user, raw_item = batch[layout.user_id], batch[layout.item_id]
    reasons.add("undecodable_text", values.undecodable(raw_user) | values.undecodable(raw_item))
    user = reasons.identifiers(USER_ID, raw_user, layout.user_type)
    item = reasons.identifiers(ITEM_ID, raw_item, layout.item_type)
    timestamp = pa.array(np.zeros(len(batch), np.int64))
    if layout.timestamp is not None:
        raw = batch[layout.timestamp]
        parsed = _SECONDS if _SECONDS in batch.schema.names else layout.timestamp
        timestamp, in_range = values.seconds(batch[parsed], layout.unit)
        reasons.add("missing_timestamp", values.missing(raw))
        reasons.add("bad_timestamp", values.is_null(timestamp))
        reasons.add("timestamp_out_of_range", ~in_range)
    rating = pa.array(np.ones(len(batch), np.float32))
    if layout.rating is not None:
        raw = batch[layout.rating]
        rating = values.numbers(raw).cast(pa.float32(), safe=False)
        reasons.add("missing_rating", values.missing(raw))
        reasons.add("bad_rating", ~values.is_finite(rating))
    return CleanEvents(user, item, rating, timestamp, reasons.usable(), reasons.names())


def entities(rows: Rows, role: str, kind: str) -> DataFrame:
    """Rows of the users' or items' table with parsed ids: the source's columns, CORRUPT, ORDER, user_id or item_id, title and
    REASON. Further rows of the same id have the reason `duplicate`.

    Args:
        rows: the table as read.
        role: users or items.
        kind: Spark type of the ids, as in the events.
    """
    from pyspark.sql import Window
    from pyspark.sql import functions as F
    from pyspark.sql.types import StructType

    key = USER_ID if role == "users" else ITEM_ID
    name = rows.table.user_id if role == "users" else rows.table.item_id
    if name is None:
        raise ConfigError(f"[source.{role}] needs {key}, the name of the column with the ids")
    title = F.lit(None).cast("string")
    if role == "items" and rows.table.title is not None:
        title = rows.column(rows.table.title).cast("string")
    frame = rows.frame.withColumn(TITLE, F.when(F.length(title) > 0, title))
    added = cast(StructType, StructType.fromDDL(f"{key} {kind}, {REASON} string"))
    schema = StructType(frame.schema.fields + added.fields)
    work = partial(_clean_entities, layout=layout(rows, kind, kind), key=key, column=rows.internal(name))
    cleaned = frame.mapInArrow(work, schema)
    usable = F.col(REASON).isNull()
    window = Window.partitionBy(key, usable).orderBy(*ORDER)
    repeated = usable & (F.row_number().over(window) > 1)
    return cleaned.withColumn(REASON, F.when(repeated, DUPLICATE).otherwise(F.col(REASON)))


def _clean_entities(batches: Iterator[pa.RecordBatch], layout: Layout, key: str, column: str) -> Iterator[pa.RecordBatch]:
    """Adds the id and REASON to rows of users or items."""
    kind = layout.user_type
    for batch in map(values.decoded, batches):
        reasons = _Reasons(batch)
        damaged = [values.undecodable(batch[name]) for name in layout.columns]
        reasons.add("undecodable_text", np.logical_or.reduce(damaged))
        identifier = reasons.identifiers(key, batch[column], kind)
        columns = [*batch.columns, identifier, reasons.of(np.arange(len(batch)))]
        yield pa.RecordBatch.from_arrays(columns, names=[*batch.schema.names, key, REASON])


def texts(batch: pa.RecordBatch, rows: np.ndarray, layout: Layout) -> pa.Array:
    """The text of some rows: as read from a file of text, JSON from Parquet.

    Args:
        batch: the source's columns under internal names, and CORRUPT.
        rows: their places in it, ascending.
        layout: of the table.
    """
    some = batch.select([*layout.columns, CORRUPT]).take(pa.array(rows))
    if layout.delimiter is None:
        given = [values.in_calendar(some[name]) for name in layout.columns]
        records = pa.RecordBatch.from_arrays(given, names=list(layout.columns.values())).to_pylist()
        return pa.array([_json(record) for record in records], pa.string())
    columns = [some[name] for name in layout.columns]
    joined = pc.binary_join_element_wise(*columns, layout.delimiter, null_handling="replace", null_replacement="")
    return pc.coalesce(some[CORRUPT], joined)


def _json(record: Mapping[str, object]) -> str:
    known = {name: value for name, value in record.items() if value is not None}
    return json.dumps(known, separators=(",", ":"), ensure_ascii=False, default=str)


class _Reasons:
    """Why rows of a batch cannot be used; of several reasons the first that was added counts."""

    def __init__(self, batch: pa.RecordBatch, open_quotes: bool = False) -> None:
        self._names: list[str] = []
        self._found = np.zeros(len(batch), np.int8)  # 0: none
        if open_quotes:
            self.add(OPEN_QUOTE, values.odd_quotes(batch[CORRUPT]))
        self.add("malformed_row", ~values.is_null(batch[CORRUPT]))

    def add(self, reason: str, rows: np.ndarray) -> None:
        self._names.append(reason)
        self._found[rows & (self._found == 0)] = len(self._names)

    def identifiers(self, key: str, column: pa.Array, kind: str) -> pa.Array:
        """Parses the ids of a column."""
        found = values.identifiers(column, kind)
        self.add(f"missing_{key}", values.missing(column))
        self.add(f"bad_{key}", values.is_null(found))
        return found

    def usable(self) -> np.ndarray:
        found: np.ndarray = self._found == 0
        return found

    def of(self, rows: np.ndarray) -> pa.Array:
        """The reasons of some rows, null for usable ones."""
        return pa.array([None, *self._names], pa.string()).take(pa.array(self._found[rows]))

    def names(self) -> pa.Array:
        """The reasons of the rows that cannot be used."""
        return self.of(np.flatnonzero(self._found))


def check_rejected(
    role: str, path: str, counts: Mapping[str, int], rows: int, most: float, example: Callable[[str], tuple[str, str] | None]
) -> None:
    """Refuses a table if too many rows cannot be used; duplicates do not count.

    Args:
        role: interactions, users or items.
        path: the table's path.
        counts: number of rows for each reason.
        rows: of the table.
        most: greatest allowed share, features.max_rejected.
        example: gives file and text of a row with that reason.

    Raises:
        DataError: with the number of rows for each reason, an example, and a hint; or there are rows with an OPEN_QUOTE.
    """

    def shown(reason: str) -> str:
        found = example(reason)
        return f"; for example in {found[0]}: {found[1][:200]!r} is a {reason}" if found else ""

    if counts.get(OPEN_QUOTE):
        raise DataError(
            f"{path}: {counts[OPEN_QUOTE]} rows of {role} have a quoted value that does not end in its line"
            f"{shown(OPEN_QUOTE)}. If values contain line breaks, set multiline = true in [source.{role}] (one core then "
            "reads each file); if rows are damaged, multiline = false sets them aside; if quotes are values, quoting = false"
        )
    bad = {reason: number for reason, number in counts.items() if reason not in (DUPLICATE, RARE_ITEM)}
    if sum(bad.values()) <= most * rows:
        return
    worst = max(bad, key=lambda reason: bad[reason])
    listed = ", ".join(f"{reason} {number}" for reason, number in sorted(bad.items(), key=lambda pair: -pair[1]))
    hint = HINTS.get(worst, "correct the column, or its name in the configuration")
    raise DataError(
        f"{path}: {sum(bad.values())} of {rows} rows of {role} cannot be used ({listed}), more than "
        f"features.max_rejected = {most:g} allows{shown(worst)}. Hint: {hint}"
    )
