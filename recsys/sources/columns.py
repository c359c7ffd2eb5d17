"""The columns of a source table: their names, whether the mapped ones exist, and the first rows."""

from __future__ import annotations

import codecs
import difflib
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from recsys import storage
from recsys.config import Table
from recsys.errors import ConfigError, DataError
from recsys.sources import delimited, files

Role = Literal["interactions", "users", "items"]
REQUIRED: dict[Role, tuple[str, ...]] = {
    "interactions": ("user_id", "item_id", "timestamp"),
    "users": ("user_id",),
    "items": ("item_id",),
}
"""What the configuration must map to a column, by kind of table."""
_OTHER_FORMATS = ((b"\x1f\x8b", "gzip: its name must end in .gz"), (b"PK\x03\x04", "a zip: unpack it"), (b"PAR1", "Parquet"))
_HEADER_BYTES = 1 << 20


def column_names(table: Table) -> list[str]:
    """The names of a table's columns, in order, from the first of its files that is not empty.

    A CSV file without a header has the configured names; there must be as many as values in the first line.

    Raises:
        DataError: there is no file, all are empty, or one cannot be decompressed, decoded or (Parquet) opened.
        ConfigError: neither header nor names are configured, or both.
    """
    paths = files.input_files(table)
    return _names(table, _first_with_content(table, paths), files.table_format(table, paths))


def check_columns(table: Table, role: Role) -> None:
    """Checks that every mapped column is in every file of the table.

    Raises:
        ConfigError: a column that this kind of table requires is not mapped.
        DataError: a column is missing or duplicated, or the files differ in their columns.
    """
    paths = files.input_files(table)
    kind = files.table_format(table, paths)
    first = _first_with_content(table, paths)
    names = _names(table, first, kind)
    for field in REQUIRED[role]:
        if getattr(table, field) is None:
            raise ConfigError(
                f"[source.{role}] does not say which column is the {field}; "
                f'add {field} = "…", one of the columns of {first}: {_listed(names)}'
            )
    for where, column in mapped_columns(table):
        _check_column(table, role, first, names, where, column)
    for path in paths:
        if path == first or (kind == "csv" and files.size(path) == 0):
            continue
        other = _names(table, path, kind)
        if kind == "csv" and other != names:
            raise DataError(
                f"{path} has the columns {_listed(other)}, but {first} has {_listed(names)}; "
                "files of one table must have the same columns in the same order"
            )
        for where, column in mapped_columns(table):
            _check_column(table, role, path, other, where, column)


def mapped_columns(table: Table) -> list[tuple[str, str]]:
    """Each configuration key that names a column, with that column: `("user_id", "userId")`, `("features.x", "age")`."""
    pairs = [(field, getattr(table, field)) for field in ("user_id", "item_id", "rating", "timestamp", "title")]
    result = [(field, column) for field, column in pairs if column is not None]
    for name, feature in table.features.items():
        columns = feature.flags or (feature.column or name,)
        result += [(f"features.{name}", column) for column in columns]
    return result


def first_rows(table: Table, count: int = 5) -> list[list[str]]:
    """The first rows as text, one list of values per row, in the order of `column_names`.

    Raises:
        DataError: see column_names.
    """
    paths = files.input_files(table)
    path = _first_with_content(table, paths)
    if files.table_format(table, paths) == "parquet":
        batches = open_parquet(path).iter_batches(batch_size=count)
        batch = next(batches, None)
        rows = [] if batch is None else batch.to_pylist()
        return [["" if value is None else str(value) for value in row.values()] for row in rows]
    lines = _lines(table, path)
    start = 1 if table.header else 0
    return [_split(table, line) for line in lines[start : start + count]]


def _check_column(table: Table, role: Role, path: str, names: list[str], where: str, column: str) -> None:
    found = names.count(column)
    if found == 1:
        return
    if found > 1:
        raise DataError(f"{path} has {found} columns named '{column}' ({where}); rename all but one")
    advice = f"correct {where} in [source.{role}]"
    if len(names) == 1 and files.table_format(table, [path]) == "csv":
        advice = f"the file has a single column, so the delimiter {table.delimiter!r} is probably wrong: set delimiter"
    else:
        close = difflib.get_close_matches(column.lower(), [name.lower() for name in names], 1)
        if close:
            advice += f", perhaps to '{next(name for name in names if name.lower() == close[0])}'"
    raise DataError(f"{path} has no column '{column}' ({where}); it has {_listed(names)}; {advice}")


def _names(table: Table, path: str, kind: str) -> list[str]:
    if kind == "parquet":
        return [str(name) for name in open_parquet(path).schema_arrow.names]
    if table.header and table.names:
        raise ConfigError(f"{table.path}: names are only for files without a header; add header = false or remove names")
    if not table.header and not table.names:
        raise ConfigError(f"{table.path}: header = false requires names, the column names in order")
    lines = _lines(table, path)
    if not lines:
        raise DataError(f"{path} contains only empty lines; expected a header and rows")
    values = _split(table, lines[0])
    if table.header:
        return values
    if len(values) != len(table.names):
        raise DataError(
            f"{path}: with the delimiter {table.delimiter!r} the first line has {len(values)} values, "
            f"expected {len(table.names)} ({_listed(list(table.names))}); correct the delimiter or names: {lines[0][:80]!r}"
        )
    return list(table.names)


def _lines(table: Table, path: str) -> list[str]:
    """The first non-empty lines of a CSV file, without a byte-order mark; the last one may be truncated."""
    head = files.read_head(path, _HEADER_BYTES)
    for magic, what in _OTHER_FORMATS:
        if head.startswith(magic):
            raise DataError(f"{path} is not a CSV file but {what}" + ('; set format = "parquet"' if what == "Parquet" else ""))
    try:
        decode = files.decoder(table)
        if head.startswith(codecs.BOM_UTF8):
            head = head[len(codecs.BOM_UTF8) :]
        text = decode.decode(head, final=len(head) < _HEADER_BYTES)
    except UnicodeError as error:
        raise files.undecodable(table, path, error) from None
    return [
        line for line in delimited.LINE_END.split(text.removeprefix("\ufeff")) if not delimited.is_blank(line, table.delimiter)
    ]


def _split(table: Table, line: str) -> list[str]:
    return delimited.split(line, table.delimiter, table.quoting) or line.split(table.delimiter)


def _first_with_content(table: Table, paths: list[str]) -> str:
    for path in paths:
        if files.size(path) > 0:
            return path
    raise DataError(
        f"{paths[0]} is empty (0 bytes); expected rows" if len(paths) == 1 else f"all files of {table.path} are empty"
    )


def open_parquet(path: str) -> Any:
    """An open Parquet file.

    Raises:
        DataError: it is not a Parquet file, or incomplete.
    """
    try:
        return pq.ParquetFile(storage.open_input(path))
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise storage.failure(str(error)) or DataError(
            f"{path} is not a complete Parquet file: {reason}; it was truncated or has another format"
        ) from None


def _listed(names: list[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:30])
    return shown + (f" and {len(names) - 30} more" if len(names) > 30 else "")
