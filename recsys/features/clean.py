"""Turns rows as read into typed events, users and items, and gives a reason for each row that is not used.

Of several events of a user with the same item, the first by time, then by source order, is kept and the others are set aside:
only new items are recommended, so only the first encounter is a target, and which one is first does not depend on the future.
Of several rows for the same user in the users' table, or item in the items' table, the first in source order is kept.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.contract.schema import ITEM_ID, RATING, TIMESTAMP, USER_ID
from recsys.errors import ConfigError, DataError
from recsys.features import values
from recsys.features.forgetting import NOBODY, Forgotten
from recsys.features.read import Rows
from recsys.sources.pieces import CORRUPT

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

_INTEGERS: Final = (pa.int8(), pa.int16(), pa.int32(), pa.int64())


def id_type(rows: Rows, name: str, declared: str) -> pa.DataType:
    """Type of an id column in features/: its own for Parquet; for CSV string, or int64 if declared as integer.

    Raises:
        DataError: the column is neither of text nor of an integer type.
    """
    found = rows.type(name)
    if pa.types.is_string(found):
        return pa.int64() if declared == "integer" and not rows.typed else found
    if found in _INTEGERS:
        return found
    raise DataError(f"{rows.table.path}: id column '{name}' is of type {found}; ids must be text or integers of up to 64 bits")


def common_type(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """Type for the ids of two tables: the wider of two integer types, otherwise that of the first, the events."""
    if first in _INTEGERS and second in _INTEGERS:
        return max(first, second, key=_INTEGERS.index)
    return first


@dataclasses.dataclass(frozen=True)
class Layout:
    """Which columns of a table hold what.

    Attributes:
        columns: internal names of the source's columns, in their order, with the source's names.
        delimiter: between the values of a row of text; None for Parquet.
        user_id, item_id, rating, timestamp: internal names; None where the table has none.
        user_type, item_type: types of the ids.
        unit: of the timestamps, see `values.seconds`.
        open_quotes: whether OPEN_QUOTE is looked for.
        forgotten: users whose rows are left out.
    """

    columns: Mapping[str, str]
    delimiter: str | None
    user_id: str | None
    item_id: str | None
    rating: str | None
    timestamp: str | None
    user_type: pa.DataType
    item_type: pa.DataType
    unit: str
    open_quotes: bool
    forgotten: Forgotten = NOBODY


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


def layout(rows: Rows, user_type: pa.DataType, item_type: pa.DataType, unit: str = "s", forget: str | None = None) -> Layout:
    """The layout of a table; `forget` is config.Source.forget.

    Raises:
        DataError: the list of users to forget is damaged.
        ConfigError: the table has no column of a name that the configuration gives.
    """
    table = rows.table
    user, item, rating, timestamp = (
        None if name is None else rows.internal(name) for name in (table.user_id, table.item_id, table.rating, table.timestamp)
    )
    delimiter = None if rows.typed else table.delimiter
    columns = {f"c{number}": name for number, name in enumerate(rows.form.names)}
    undeclared = not rows.typed and table.quoting and table.multiline is None
    forgotten = Forgotten.read(forget, user_type)
    return Layout(columns, delimiter, user, item, rating, timestamp, user_type, item_type, unit, undeclared, forgotten)


def events(batch: pa.RecordBatch, layout: Layout) -> CleanEvents:
    """Parses a batch of interactions."""
    if layout.user_id is None or layout.item_id is None:
        raise ConfigError("[source.interactions] needs user_id and item_id, the names of the columns with the ids")
    reasons = _Reasons(batch, layout.open_quotes)
    raw_user, raw_item = batch[layout.user_id], batch[layout.item_id]
    user, item = values.identifiers(raw_user, layout.user_type), values.identifiers(raw_item, layout.item_type)
    reasons.unreadable((raw_user, user), (raw_item, item))
    reasons.unparsed(USER_ID, raw_user, user)
    reasons.unparsed(ITEM_ID, raw_item, item)
    timestamp = pa.array(np.zeros(len(batch), np.int64))
    if layout.timestamp is not None:
        raw = batch[layout.timestamp]
        timestamp, in_range = values.seconds(raw, layout.unit)
        reasons.unparsed(TIMESTAMP, raw, timestamp)
        reasons.add("timestamp_out_of_range", ~in_range)
    rating = pa.array(np.ones(len(batch), np.float32))
    if layout.rating is not None:
        raw = batch[layout.rating]
        rating = values.numbers(raw).cast(pa.float32(), safe=False)
        reasons.unparsed(RATING, raw, rating)
        reasons.add("bad_rating", ~values.is_finite(rating))
    return CleanEvents(user, item, rating, timestamp, reasons.usable(), reasons.names())


def entities(batch: pa.RecordBatch, layout: Layout, key: str, column: str) -> tuple[pa.Array, pa.Array]:
    """The ids of a batch of users or items, and for each row the reason why it cannot be used, null if it can.

    Args:
        batch: of the source's table, decoded.
        layout: of the table.
        key: USER_ID or ITEM_ID.
        column: internal name of the column with the ids.
    """
    reasons = _Reasons(batch)
    damaged = [values.undecodable(batch[name]) for name in layout.columns]
    reasons.add("undecodable_text", np.logical_or.reduce(damaged))
    identifier = values.identifiers(batch[column], layout.user_type)
    reasons.unparsed(key, batch[column], identifier)
    return identifier, reasons.of(np.arange(len(batch)))


def forgotten(batch: pa.RecordBatch, rows: np.ndarray, users: pa.Array, text: pa.Array, layout: Layout) -> np.ndarray:
    """Which of the rows that are set aside are of users to forget; bool [rows].

    Where the columns are not to be trusted, any value counts.

    Args:
        batch: of the source's table.
        rows: places of the rows in it.
        users: the users' ids in it, as far as they could be parsed.
        text: of the rows, see `texts`.
        layout: of the table.
    """
    if not layout.forgotten:
        return np.zeros(len(rows), bool)
    found = users.take(pa.array(rows))
    unsure = ~values.is_null(batch[CORRUPT].take(pa.array(rows))) | values.is_null(found)
    return np.where(unsure, layout.forgotten.are_named(text, layout.delimiter), layout.forgotten.are(found))


def texts(batch: pa.RecordBatch, rows: np.ndarray, layout: Layout) -> pa.Array:
    """The text of some rows: as read from a file of text, JSON from Parquet.

    Args:
        batch: the source's columns under internal names, and CORRUPT.
        rows: their places in it, ascending.
        layout: of the table.
    """
    some = batch.select([*layout.columns, CORRUPT]).take(pa.array(rows))
    if layout.delimiter is None:
        columns = [values.python_values(values.in_calendar(some[name])) for name in layout.columns]
        records = (dict(zip(layout.columns.values(), row, strict=True)) for row in zip(*columns, strict=True))
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

    def unreadable(self, *columns: tuple[pa.Array, pa.Array]) -> None:
        """Adds the rows with text that could not be decoded, of columns as read and as parsed; none is in numbers."""
        for raw, found in columns:
            if pa.types.is_string(found.type) or found.null_count:
                self.add("undecodable_text", values.undecodable(raw))

    def unparsed(self, key: str, raw: pa.Array, found: pa.Array) -> None:
        """Adds the rows without a value, and those whose value could not be parsed, of a column as read and as parsed."""
        if pa.types.is_string(found.type) or found.null_count:
            self.add(f"missing_{key}", values.missing(raw))
            self.add(f"bad_{key}", values.is_null(found))

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
