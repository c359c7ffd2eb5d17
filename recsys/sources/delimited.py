"""Values of delimited text (CSV): of one line, and of many lines at once as columns of Arrow.

Values and quotes follow RFC 4180. Where text follows a closing quote, or a quote stands inside a value that does not begin with
one, the quotes are part of the value. A quote that is never closed makes a line malformed, as does a wrong number of values.
"""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import itertools
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.csv

from recsys.config import Table

csv.field_size_limit(sys.maxsize)  # of the whole process; otherwise a value of 131,072 characters would be an error

LINE_END: Final = re.compile(r"\r\n|\n|\r")
_BLANK: Final = "".join(map(chr, range(33)))
_MARKS: Final = b"\x1f\x1e\x1d\x1c\x1b\x1a\x19"
"""One of these stands for a delimiter of several characters, which Arrow's reader does not accept."""
_QUOTED: Final = re.compile(r'"((?:[^"]+|"")*+)"')


@dataclasses.dataclass(frozen=True)
class Block:
    """Some lines as columns; well-formed lines and malformed ones, each in source order.

    Attributes:
        columns: strings, null where empty; one array a column, all [lines].
        malformed: text of the lines that do not fit [malformed].
        rows: int64 [lines], numbers of the lines in the block, without blank lines.
        malformed_rows: int64 [malformed], likewise.
    """

    columns: list[pa.Array]
    malformed: pa.Array
    rows: np.ndarray
    malformed_rows: np.ndarray


def is_blank(line: str, delimiter: str) -> bool:
    """Whether a line holds nothing but white space, and no delimiter; such lines are left out."""
    return not line.strip(_BLANK) and delimiter not in line


def parse(text: bytes, table: Table, width: int) -> Block:
    """Parses whole lines.

    Args:
        text: in UTF-8.
        table: delimiter and quoting are read.
        width: number of columns.
    """
    if width > 1 and (not table.quoting or b'"' not in text) and (separated := _separated(text, table.delimiter)):
        return _fast(*separated, table.delimiter, width)
    return of_records(LINE_END.split(text.decode()), table, width)


def of_records(records: Iterable[str], table: Table, width: int) -> Block:
    """Parses lines, or records with line breaks inside quotes, that are at hand one by one; those without quotes together."""
    numbered = [record for record in records if not is_blank(record, table.delimiter)]
    quoted = np.array([table.quoting and '"' in record for record in numbered], bool)
    if width > 1 and not quoted.all():
        plain = "\n".join(itertools.compress(numbered, ~quoted)).encode()
        if separated := _separated(plain, table.delimiter):
            return _joined(
                _fast(*separated, table.delimiter, width),
                np.flatnonzero(~quoted),
                _slow(list(itertools.compress(numbered, quoted)), table, width),
                np.flatnonzero(quoted),
            )
    return _slow(numbered, table, width)


def split(line: str, delimiter: str, quoting: bool = True) -> list[str] | None:
    """The values of one line; None if a quote stays open.

    Args:
        line: without its line break.
        delimiter: of one character or more.
        quoting: whether double quotes quote.
    """
    if not quoting or '"' not in line:
        return line.split(delimiter)
    mark = delimiter
    if len(mark) > 1:
        mark = next(unused for unused in map(chr, itertools.count(0xE000)) if unused not in line)
    try:
        values = next(csv.reader((line.replace(delimiter, mark),), delimiter=mark, strict=True))
        return [value.replace(mark, delimiter) for value in values]
    except csv.Error:
        return _split_at_odd_quotes(line, delimiter)


def _split_at_odd_quotes(line: str, delimiter: str) -> list[str] | None:
    """`split` where something follows a closing quote, or there is none."""
    values, place = [], 0
    while True:
        end = line.find(delimiter, place)
        value = line[place : end if end >= 0 else None]
        if line.startswith('"', place):
            if (found := _QUOTED.match(line, place)) is None:
                return None
            if found.end() == len(line) or line.startswith(delimiter, found.end()):
                value = found[1].replace('""', '"')
                end = found.end() if found.end() < len(line) else -1
        values.append(value)
        if end < 0:
            return values
        place = end + len(delimiter)


def _split_all(lines: Sequence[str], delimiter: str, quoting: bool) -> list[list[str] | None]:
    """`split` of each line, several times as fast where they are regular."""
    if not quoting or len(delimiter) > 1:
        return [split(line, delimiter, quoting) for line in lines]
    found: list[list[str] | None] = []
    while len(found) < len(lines):
        begun = len(found)
        reader = csv.reader(map(lines.__getitem__, range(begun, len(lines))), delimiter=delimiter, strict=True)
        with contextlib.suppress(csv.Error):
            for values in reader:
                if begun + reader.line_num > len(found) + 1:
                    break  # a quote that stays open has taken the next line too
                found.append(values)
        if len(found) < len(lines):
            found.append(split(lines[len(found)], delimiter))
    return found


def _separated(text: bytes, delimiter: str) -> tuple[bytes, str] | None:
    """The text with a delimiter of one ASCII character, and that; None if none is free."""
    if len(delimiter) == 1 and delimiter.isascii():
        return text, delimiter
    mark = next((bytes([mark]) for mark in _MARKS if mark not in text), None)
    return None if mark is None else (text.replace(delimiter.encode(), mark), mark.decode())


def _fast(text: bytes, mark: str, delimiter: str, width: int) -> Block:
    """Parses lines without quoted values by Arrow.

    Args:
        text: the lines.
        mark: separates their values.
        delimiter: what it stands for.
        width: number of columns.
    """
    bad: list[tuple[int, str]] = []

    def aside(row: pa.csv.InvalidRow) -> str:
        bad.append((row.number, row.text))
        return "skip"

    names = [str(number) for number in range(width)]
    table = pa.csv.read_csv(
        pa.BufferReader(text or b"\n"),
        pa.csv.ReadOptions(use_threads=False, column_names=names, block_size=len(text) + 1),
        pa.csv.ParseOptions(delimiter=mark, quote_char=False, double_quote=False, escape_char=False, invalid_row_handler=aside),
        pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=True, null_values=[""], check_utf8=False
        ),
    ).combine_chunks()
    columns = [column.chunk(0) if column.num_chunks else pa.nulls(0, pa.string()) for column in table.columns]
    numbers = np.array([number - 1 for number, _ in bad], np.int64)
    rows = np.delete(np.arange(table.num_rows + len(bad)), numbers)
    texts = ((number - 1, line.replace(mark, delimiter)) for number, line in bad)
    filled = [(number, line) for number, line in texts if not is_blank(line, delimiter)]
    malformed = pa.array([line for _, line in filled], pa.string())
    return Block(columns, malformed, rows, np.array([number for number, _ in filled], np.int64))


def _slow(lines: Sequence[str], table: Table, width: int) -> Block:
    """Parses lines that are not blank, by Python."""
    found = _split_all(lines, table.delimiter, table.quoting)
    good = np.array([values is not None and len(values) == width for values in found], bool)
    kept: list[list[str]] = [values for values in found if values is not None and len(values) == width]
    columns = [pa.array([value or None for value in column], pa.string()) for column in zip(*kept, strict=True)]
    bad = np.flatnonzero(~good)
    malformed = pa.array([lines[row] for row in bad.tolist()], pa.string())
    return Block(columns or [pa.nulls(0, pa.string())] * width, malformed, np.flatnonzero(good), bad)


def _joined(first: Block, first_rows: np.ndarray, second: Block, second_rows: np.ndarray) -> Block:
    """One block of two; `…_rows` are the numbers of their lines in it."""
    columns = [pa.concat_arrays(pair) for pair in zip(first.columns, second.columns, strict=True)]
    rows = np.concatenate([first_rows[first.rows], second_rows[second.rows]])
    bad_rows = np.concatenate([first_rows[first.malformed_rows], second_rows[second.malformed_rows]])
    order, bad_order = np.argsort(rows), np.argsort(bad_rows)
    return Block(
        [column.take(pa.array(order)) for column in columns],
        pa.concat_arrays([first.malformed, second.malformed]).take(pa.array(bad_order)),
        rows[order],
        bad_rows[bad_order],
    )
