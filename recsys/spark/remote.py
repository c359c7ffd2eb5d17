"""Reads files in an object store from Spark: a Python data source that streams Arrow batches through recsys.storage.

Spark's own readers would need a Hadoop connector for each store. Text files reach Spark as lines (as records where
quoted values may contain line breaks), which Spark's own CSV parser then parses; Parquet files are read by row group. The
workers take endpoint and credentials from their environment, as every part of recsys does.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import dataclasses
import io
import itertools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyspark.errors import PySparkTypeError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.datasource import DataSource, DataSourceReader, InputPartition
from pyspark.sql.pandas.types import from_arrow_schema
from pyspark.sql.types import StructType

from recsys import settings, storage
from recsys.config import Table
from recsys.errors import DataError
from recsys.sources.columns import open_parquet
from recsys.sources.files import open_binary, size

LINE: Final = "__line"
SPLIT_BYTES: Final = 64 << 20
"""Bytes of one partition of an uncompressed text file."""
_BLOCK: Final = 4 << 20
_TYPES: Final = {
    pa.uint8(): pa.int16(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.decimal128(20, 0),
    pa.large_string(): pa.string(),
    pa.large_binary(): pa.binary(),
}
_BREAK: Final = re.compile(r"\r\n|\n|\r")


@dataclasses.dataclass(frozen=True)
class Files:
    """What to read; travels as the single option of the data source.

    Attributes:
        uris: the files, in order.
        table: the format of a text file.
        names: the columns of a Parquet table, read as c0, c1, …; None for text.
        where: names of the columns for the number of the file, the block in the file and the row in the block.
        records: whether quoted values may contain line breaks, or the encoding uses several bytes a unit.
    """

    uris: tuple[str, ...]
    table: Table
    names: tuple[str, ...] | None
    where: tuple[str, ...]
    records: bool


def read(spark: SparkSession, files: Files) -> DataFrame:
    """The rows of the files: the columns `where`, then c0, c1, … for Parquet or LINE for text.

    The headers of text files and blank lines are left out.
    """
    spark.dataSource.register(_Source)
    return spark.read.format(_Source.name()).option("files", _to_json(files)).load()


class _Source(DataSource):
    @classmethod
    def name(cls) -> str:
        return "recsys-files"

    def schema(self) -> StructType:
        return from_arrow_schema(_schema(_files(self.options)), prefer_timestamp_ntz=True)

    def reader(self, schema: StructType) -> DataSourceReader:
        return _Reader(_files(self.options))


class _Reader(DataSourceReader):
    def __init__(self, files: Files) -> None:
        self._files, self._schema = files, _schema(files)

    def partitions(self) -> Sequence[InputPartition]:
        """(number of the file, block, end of the block): a block is a row group of Parquet or a byte range of text."""
        parts = []
        for number, uri in enumerate(self._files.uris):
            if self._files.names is not None:
                blocks = [(group, group + 1) for group in range(open_parquet(uri).num_row_groups)]
            elif self._files.records or uri.endswith((".gz", ".bz2")):
                blocks = [(0, sys.maxsize)]
            else:
                blocks = [(start, start + SPLIT_BYTES) for start in range(0, size(uri), SPLIT_BYTES)]
            parts += [InputPartition((number, *block)) for block in blocks]
        return parts

    def read(self, partition: InputPartition) -> Iterator[pa.RecordBatch]:
        if partition.value is None:  # Spark passes this if there are no partitions
            return
        number, block, end = partition.value
        uri = self._files.uris[number]
        row = 0
        for columns in self._columns(uri, block, end):
            rows = len(columns[0])
            place = [np.full(rows, number, np.int32), np.full(rows, block, np.int64), np.arange(row, row + rows)]
            yield pa.RecordBatch.from_arrays([*map(pa.array, place), *columns], schema=self._schema)
            row += rows

    def _columns(self, uri: str, block: int, end: int) -> Iterator[list[pa.Array]]:
        if self._files.names is not None:
            wanted = self._schema.types[len(self._files.where) :]
            for batch in open_parquet(uri).iter_batches(row_groups=[block]):
                columns = [_column(batch, name, self._files.table.path) for name in self._files.names]
                yield [_cast(uri, *found) for found in zip(self._files.names, columns, wanted, strict=True)]
            return
        lines = _records(uri, self._files.table) if self._files.records else _lines(uri, self._files.table, block, end)
        if self._files.table.header and block == 0:
            next(lines, None)
        while some := list(itertools.islice(lines, 1 << 16)):
            yield [pa.array(some, pa.string())]


def _to_json(files: Files) -> str:
    plain = {field.name: getattr(files, field.name) for field in dataclasses.fields(files)}
    return json.dumps({**plain, "table": settings.to_dict(files.table)})


def _files(options: Any) -> Files:
    """The inverse of `_to_json`."""
    found = json.loads(options["files"])
    names = None if found["names"] is None else tuple(found["names"])
    table = settings.from_dict(Table, found["table"])
    return Files(tuple(found["uris"]), table, names, tuple(found["where"]), found["records"])


def _schema(files: Files) -> pa.Schema:
    types = dict(zip(files.where, (pa.int32(), pa.int64(), pa.int64()), strict=True))
    if files.names is None:
        return pa.schema({**types, LINE: pa.string()})
    uri = files.uris[0]
    found = open_parquet(uri).schema_arrow
    for number, name in enumerate(files.names):
        types[f"c{number}"] = kind = _plain(found.field(name).type)
        try:
            from_arrow_schema(pa.schema({name: kind}))
        except PySparkTypeError:
            raise DataError(
                f"{uri}: column '{name}' is of type {kind}, which Spark does not support; write the file without that column"
            ) from None
    return pa.schema(types)


def _plain(kind: pa.DataType) -> pa.DataType:
    """The closest type that Spark supports to that of a Parquet column."""
    if pa.types.is_dictionary(kind):
        return _plain(kind.value_type)
    if pa.types.is_timestamp(kind):
        return pa.timestamp("us", kind.tz and "UTC")
    return _TYPES.get(kind, kind)


def _column(batch: pa.RecordBatch, name: str, path: str) -> pa.Array:
    if name not in batch.schema.names:
        raise DataError(f"{path}: the files have different columns; '{name}' is not in all files")
    return batch.column(name)


def _cast(uri: str, name: str, column: pa.Array, wanted: pa.DataType) -> pa.Array:
    found = _plain(column.type)
    with contextlib.suppress(pa.ArrowInvalid):
        if found == wanted or (pa.types.is_integer(found) and pa.types.is_integer(wanted)):
            return column.cast(wanted, safe=not pa.types.is_timestamp(wanted))
    raise DataError(f"{uri}: column '{name}' is of type {found}, but {wanted} in the other files of the table")


def _lines(uri: str, table: Table, start: int, end: int) -> Iterator[str]:
    """The non-blank lines that begin after byte `start` (or at 0) and at `end` at the latest, as Hadoop splits files."""
    with _opened(uri) as stream:
        position = start
        if start:
            stream.seek(start)
            position += len(stream.readline())
        while position <= end:
            lines = stream.readlines(min(_BLOCK, end - position)) if position < end else [stream.readline()]
            block = b"".join(lines)
            if not block:
                return
            if position == 0:
                block = block.removeprefix(codecs.BOM_UTF8)
            position += sum(map(len, lines))
            yield from filter(str.strip, _BREAK.split(block.decode(table.encoding, "replace")))


def _records(uri: str, table: Table) -> Iterator[str]:
    """The records of a file: lines, joined where Python's csv module finds a line break inside quotes."""
    with _opened(uri) as stream:
        if stream.peek(3).startswith(codecs.BOM_UTF8):
            stream.read(3)
        text: Iterable[str] = io.TextIOWrapper(stream, table.encoding, "replace")
        if not table.quoting:
            yield from (line.rstrip("\n") for line in text if line.strip())
            return
        taken: list[str] = []
        csv.field_size_limit(sys.maxsize)
        separator = table.delimiter if len(table.delimiter) == 1 else "\x1f"
        for _ in csv.reader(_kept(text, table.delimiter, separator, taken), delimiter=separator):
            record = "".join(taken).rstrip("\n")
            taken.clear()
            if record.strip():
                yield record


def _kept(lines: Iterable[str], delimiter: str, separator: str, taken: list[str]) -> Iterator[str]:
    """Yields the lines with another delimiter, and appends the original lines to `taken`."""
    for line in lines:
        taken.append(line)
        yield line.replace(delimiter, separator)


@contextlib.contextmanager
def _opened(uri: str) -> Iterator[io.BufferedReader]:
    if uri.endswith((".gz", ".bz2")):
        with open_binary(uri) as stream:
            yield io.BufferedReader(stream, _BLOCK)
        return
    system, path = storage.resolve(uri)
    with system.open_input_file(path) as file:
        yield io.BufferedReader(file, _BLOCK)
