"""Reads a table in pieces that do not need each other: byte ranges of text files, row groups of Parquet files.

Text is read by lines; where quoted values may contain line breaks, by records, and then a file is one piece, as it is if it is
compressed. Files on this machine and in object stores are read alike.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import dataclasses
import io
import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from recsys import storage
from recsys.config import Table
from recsys.errors import DataError
from recsys.sources import delimited
from recsys.sources.columns import open_parquet
from recsys.sources.files import open_binary, open_seekable, size

FILE_NUMBER: Final = "__file_number"
BLOCK: Final = "__block"
ROW: Final = "__row"
CORRUPT: Final = "__corrupt"
"""Column with the text of a line that has too few or too many values, or is no CSV; null for the others."""
ORDER: Final = (FILE_NUMBER, BLOCK, ROW)
"""Source order: file, in order of path; start of the piece in the file; row in the piece."""

_BLOCK: Final = 8 << 20
_RECORDS: Final = 1 << 16
_LONGEST: Final = 1 << 30
"""Bytes of a line, at most."""
_COMPRESSED: Final = (".gz", ".bz2")
_WIDE_ENCODINGS: Final = ("utf-16", "utf-32")
_UTF_8: Final = ("utf-8", "utf-8-sig")
_LISTS: Final = (
    *(pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list),
    *(pa.types.is_list_view, pa.types.is_large_list_view),
)
_TYPES: Final = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.large_string(): pa.string(),
    pa.string_view(): pa.string(),
    pa.large_binary(): pa.binary(),
    pa.binary_view(): pa.binary(),
}
"""In what types values of others are passed on."""
_FIRST_LINE: Final = re.compile(rb"([^\r\n]*)(?:\r\n|\n|\r|$)")


@dataclasses.dataclass(frozen=True)
class Piece:
    """A part of a file.

    Attributes:
        uri: path or URI of the file.
        number: of the file.
        start, end: bytes of text, row groups of Parquet.
    """

    uri: str
    number: int
    start: int
    end: int


@dataclasses.dataclass(frozen=True)
class Format:
    """How the rows of a table look.

    Attributes:
        table: delimiter, encoding, quoting and header of text.
        names: the columns.
        types: their types in Parquet; None for text.
        records: whether text is read by records.
    """

    table: Table
    names: tuple[str, ...]
    types: tuple[pa.DataType, ...] | None
    records: bool


def format_of(
    table: Table, names: Sequence[str], kind: Literal["csv", "parquet"], uris: Sequence[str], records: bool
) -> Format:
    """The format of a table.

    Args:
        table: as configured.
        names: its columns.
        kind: of its files.
        uris: its files.
        records: whether quoted values of text may contain line breaks.
    """
    if kind == "parquet":
        return Format(table, tuple(names), _types(names, uris), False)
    wide = codecs.lookup(table.encoding).name.startswith(_WIDE_ENCODINGS)
    return Format(table, tuple(names), None, wide or (records and table.quoting))


def is_list(kind: pa.DataType) -> bool:
    """Whether values of this type are lists, of whatever layout."""
    return any(check(kind) for check in _LISTS)


def pieces(uris: Sequence[str], form: Format, target: int) -> list[list[Piece]]:
    """The pieces of files, in order, in groups of about `target` bytes."""
    found: list[list[Piece]] = []
    room = 0
    for number, uri in enumerate(uris):
        for start, end, cost in _parts(uri, form, target):
            if room < cost or not found:
                found.append([])
                room = target
            found[-1].append(Piece(uri, number, start, end))
            room -= cost
    return found


def read(piece: Piece, form: Format) -> Iterator[pa.RecordBatch]:
    """The rows of a piece: columns c0, c1, … (text: strings, null where empty), CORRUPT and ORDER. Headers and blank lines are
    left out.

    Raises:
        DataError: the file is damaged, or has other columns than the table.
    """
    if form.types is not None:
        yield from _parquet(piece, form, form.types)
        return
    row = 0
    for block in _blocks(piece, form):
        good, bad = len(block.rows), len(block.malformed_rows)
        columns = [pa.concat_arrays([column, pa.nulls(bad, pa.string())]) for column in block.columns]
        corrupt = pa.concat_arrays([pa.nulls(good, pa.string()), block.malformed])
        rows = row + np.concatenate([block.rows, block.malformed_rows])
        yield _batch(columns, corrupt, piece, rows)
        row = int(rows.max(initial=row - 1)) + 1


def _parts(uri: str, form: Format, target: int) -> Iterator[tuple[int, int, int]]:
    """(start, end, bytes) of the pieces of a file."""
    if form.types is not None:
        metadata = open_parquet(uri).metadata
        for group in range(metadata.num_row_groups):
            yield group, group + 1, metadata.row_group(group).total_byte_size
    elif form.records or uri.endswith(_COMPRESSED):
        yield 0, sys.maxsize, size(uri)
    else:
        whole = size(uri)
        for start in range(0, whole, target):
            yield start, start + target, min(target, whole - start)


def _batch(columns: list[pa.Array], corrupt: pa.Array, piece: Piece, rows: np.ndarray) -> pa.RecordBatch:
    place = [np.full(len(rows), piece.number, np.int32), np.full(len(rows), piece.start, np.int64), rows]
    names = [f"c{number}" for number in range(len(columns))]
    return pa.RecordBatch.from_arrays([*columns, corrupt, *map(pa.array, place)], names=[*names, CORRUPT, *ORDER])


def _blocks(piece: Piece, form: Format) -> Iterator[delimited.Block]:
    table, width = form.table, len(form.names)
    if form.records:
        records = _records(piece.uri, table)
        if table.header:
            next(records, None)
        while some := list(itertools.islice(records, _RECORDS)):
            yield delimited.of_records(some, table, width)
        return
    header = table.header and piece.start == 0
    for text in _lines(piece, table.encoding):
        rest = _without_header(text, table.delimiter) if header else text
        if rest is not None:
            header = False
            yield delimited.parse(rest, table, width)


def _without_header(text: bytes, delimiter: str) -> bytes | None:
    """Some lines without the first that is not blank; None if all are."""
    place = 0
    while place < len(text) and (line := _FIRST_LINE.match(text, place)):
        place = line.end()
        if not delimited.is_blank(line[1].decode(), delimiter):
            return text[place:]
    return None


def _lines(piece: Piece, encoding: str) -> Iterator[bytes]:
    """The lines that begin after byte `start` (or at 0) and at `end` at the latest, as Hadoop splits files; blocks in UTF-8."""
    with _opened(piece.uri) as stream:
        position = piece.start
        if position:
            stream.seek(position)
            position += len(stream.readline())
        while position <= piece.end:
            block = stream.read(min(_BLOCK, piece.end - position)) + stream.readline()
            if not block:
                return
            if len(block) > _LONGEST:
                raise DataError(f"{piece.uri} has a line of more than {_LONGEST >> 30} GiB; is it text, with line breaks?")
            first, position = position == 0, position + len(block)
            yield _utf8(block.removeprefix(codecs.BOM_UTF8) if first else block, encoding)


def _utf8(block: bytes, encoding: str) -> bytes:
    """Text in UTF-8, with the character � in the place of what is not in its encoding."""
    if codecs.lookup(encoding).name in _UTF_8:
        with contextlib.suppress(UnicodeDecodeError):
            block.decode()
            return block
    return block.decode(encoding, "replace").encode()


def _records(uri: str, table: Table) -> Iterator[str]:
    """The records of a file: lines, joined where Python's csv module finds a line break inside quotes."""
    with _opened(uri) as stream:
        if stream.peek(3).startswith(codecs.BOM_UTF8):
            stream.read(3)
        text: Iterable[str] = io.TextIOWrapper(stream, table.encoding, "replace", newline="")
        if not table.quoting:
            yield from (record for record in map(_unbroken, text) if not delimited.is_blank(record, table.delimiter))
            return
        taken: list[str] = []
        separator = table.delimiter if len(table.delimiter) == 1 else "\x1f"
        for _ in csv.reader(_kept(text, table.delimiter, separator, taken), delimiter=separator):
            record = _unbroken("".join(taken))
            taken.clear()
            if not delimited.is_blank(record, table.delimiter):
                yield record


def _unbroken(line: str) -> str:
    """A line without its line break."""
    return line.removesuffix("\n").removesuffix("\r")


def _kept(lines: Iterable[str], delimiter: str, separator: str, taken: list[str]) -> Iterator[str]:
    """Yields the lines with another delimiter, and appends the original lines to `taken`."""
    for line in lines:
        taken.append(line)
        yield line.replace(delimiter, separator)


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[io.BufferedReader]:
    """A file, decompressed; only what is not compressed can be read at any place."""
    with (open_binary if uri.endswith(_COMPRESSED) else open_seekable)(uri) as stream:
        yield io.BufferedReader(stream, 1 << 20)


def _parquet(piece: Piece, form: Format, types: Sequence[pa.DataType]) -> Iterator[pa.RecordBatch]:
    file = open_parquet(piece.uri)
    row = 0
    try:
        for batch in file.iter_batches(row_groups=[piece.start], batch_size=1 << 17):
            columns = [
                _cast(piece.uri, name, _column(batch, name, form.table.path), kind)
                for name, kind in zip(form.names, types, strict=True)
            ]
            yield _batch(columns, pa.nulls(len(batch), pa.string()), piece, np.arange(row, row + len(batch)))
            row += len(batch)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise storage.failure(str(error)) or DataError(
            f"{piece.uri} cannot be read to the end: {reason}; it was cut off or is damaged, copy it again"
        ) from None


def _types(names: Sequence[str], uris: Sequence[str]) -> tuple[pa.DataType, ...]:
    """The types of Parquet columns, from the first file in which they have values."""
    types = [pa.null()] * len(names)
    for uri in uris:
        found = open_parquet(uri).schema_arrow
        for number, name in enumerate(names):
            if pa.types.is_null(types[number]) and name in found.names:
                types[number] = _plain(found.field(found.names.index(name)).type)
        if not any(map(pa.types.is_null, types)):
            break
    return tuple(types)


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type in which the values of a Parquet column are passed on."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz and "UTC")
    if is_list(kind):
        return pa.list_(_plain(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain(field.type)) for field in kind])
    return _TYPES.get(kind, kind)


def _column(batch: pa.RecordBatch, name: str, path: str) -> pa.Array:
    if name not in batch.schema.names:
        raise DataError(f"{path}: the files have different columns; '{name}' is not in all files")
    return batch.column(batch.schema.names.index(name))


def _cast(uri: str, name: str, column: pa.Array, wanted: pa.DataType) -> pa.Array:
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), wanted)
    found = _plain(column.type)
    with contextlib.suppress(pa.ArrowException):
        if found == wanted or (pa.types.is_integer(found) and pa.types.is_integer(wanted)):
            return column.cast(wanted, safe=not pa.types.is_timestamp(wanted))
    raise DataError(f"{uri}: column '{name}' is of type {found}, but {wanted} in the other files of the table")
