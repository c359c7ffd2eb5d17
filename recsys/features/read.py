"""Reads a source table with Spark: its columns, and the position of each row in the source."""

from __future__ import annotations

import dataclasses
import os
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from recsys import storage
from recsys.config import Table
from recsys.errors import ConfigError, DataError
from recsys.setting_types import java_encoding
from recsys.sources.columns import column_names
from recsys.sources.files import input_files, table_format

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame, SparkSession

FILE_NUMBER: Final = "__file_number"
BLOCK: Final = "__block"
ROW: Final = "__row"
CORRUPT: Final = "__corrupt"
"""Column with the text of a row that has too few or too many values, or is no CSV; null for the others."""
ORDER: Final = (FILE_NUMBER, BLOCK, ROW)
"""Source order: file, in order of path; start of the block in the file; row in the block. It does not depend on how Spark
splits the files into tasks."""

_FILE: Final = "__file"
"""Path of the row's file, percent-encoded as in URIs."""
_LOCAL: Final = "^file:/+"
_WIDE_ENCODINGS: Final = ("utf-16", "utf-32")


@dataclasses.dataclass(frozen=True)
class Rows:
    """Rows of a source table as read.

    Attributes:
        frame: the source's columns under internal names, CORRUPT and ORDER.
        columns: the internal name of each source column.
        files: path or URI of each file, by FILE_NUMBER.
        table: how the table is described in the configuration.
        typed: whether the values have types (Parquet) or are all text (CSV).
    """

    frame: DataFrame
    columns: dict[str, str]
    files: tuple[str, ...]
    table: Table
    typed: bool

    def column(self, name: str) -> Column:
        """The source column of that name; see `internal`."""
        from pyspark.sql import functions as F

        return F.col(self.internal(name))

    def internal(self, name: str) -> str:
        """The internal name of a source column.

        Raises:
            ConfigError: the table has no such column.
        """
        if name not in self.columns:
            raise ConfigError(f"{self.table.path} has no column '{name}'; its columns: {', '.join(self.columns)}")
        return self.columns[name]

    def type_name(self, name: str) -> str:
        """Spark's name for the type of a source column: string, bigint, double, …; always string for CSV."""
        return self.frame.schema[self.columns[name]].dataType.simpleString()


def read(spark: SparkSession, table: Table, role: str) -> Rows:
    """Reads a table lazily.

    CSV values are text and null if empty. Parquet values keep their types.

    Args:
        spark: the session.
        table: path and format.
        role: interactions, users or items.

    Raises:
        DataError: a file is missing or has the wrong format.
    """
    from pyspark.sql import functions as F

    files = input_files(table)
    names = column_names(table)
    columns = {name: f"c{number}" for number, name in reversed(list(enumerate(names)))}
    typed = table_format(table, files) == "parquet"
    local = storage.is_local(table.path)
    values = [f"c{number}" for number in range(len(names))]
    if not typed:
        schema = ", ".join(f"`{name}` string" for name in [*values, CORRUPT])
        options = _csv_options(table, role)
        frame, found = (_local_csv if local else _remote_csv)(spark, table, files, schema, options)
    else:
        frame, found = (_local_parquet if local else _remote_parquet)(spark, table, files, names)
        frame = frame.withColumn(CORRUPT, F.lit(None).cast("string"))
    return Rows(frame, columns, tuple(found), table, typed)


def _local_parquet(spark: SparkSession, table: Table, files: list[str], names: list[str]) -> tuple[DataFrame, list[str]]:
    raw = spark.read.parquet(*map(_spark_path, files))
    missing = [name for name in names if name not in raw.columns]
    if missing:
        raise DataError(f"{table.path}: the files have different columns; '{missing[0]}' is not in all files")
    values = [_quoted(name).alias(f"c{names.index(name)}") for name in dict.fromkeys(names)]
    return _number_files(spark, raw.select(*values, *_where()), raw.inputFiles())


def _remote_parquet(spark: SparkSession, table: Table, files: list[str], names: list[str]) -> tuple[DataFrame, list[str]]:
    return _remote(spark, table, files, tuple(names), False), files


def _local_csv(
    spark: SparkSession, table: Table, files: list[str], schema: str, options: dict[str, str]
) -> tuple[DataFrame, list[str]]:
    raw = spark.read.options(**options).csv([_spark_path(file) for file in files], schema=schema)
    return _number_files(spark, raw.select("*", *_where()), raw.inputFiles())


def _remote_csv(
    spark: SparkSession, table: Table, files: list[str], schema: str, options: dict[str, str]
) -> tuple[DataFrame, list[str]]:
    from pyspark.sql import functions as F

    from recsys.spark.remote import LINE

    raw = _remote(spark, table, files, None, options["multiLine"] == "true")
    parsed = F.from_csv(LINE, schema, {**options, "header": "false"})
    return raw.withColumn("__parsed", parsed).select("__parsed.*", *ORDER), files


def _remote(spark: SparkSession, table: Table, files: list[str], names: tuple[str, ...] | None, records: bool) -> DataFrame:
    from recsys.spark import remote

    return remote.read(spark, remote.Files(tuple(files), table, names, ORDER, records))


def _where() -> list[Column]:
    from pyspark.sql import functions as F

    return [
        F.regexp_replace(F.col("_metadata.file_path"), _LOCAL, "/").alias(_FILE),
        F.col("_metadata.file_block_start").alias(BLOCK),
        F.monotonically_increasing_id().alias(ROW),
    ]


def _csv_options(table: Table, role: str) -> dict[str, str]:
    encoding = java_encoding(table.encoding)
    # Line breaks inside quotes need a parser that reads the file as a whole: fine for users and items, slow for events.
    records = role != "interactions" if table.multiline is None else table.multiline
    whole_file = encoding.startswith(_WIDE_ENCODINGS) or (table.quoting and records)
    return {
        "sep": table.delimiter,
        "header": str(table.header).lower(),
        "encoding": encoding,
        "quote": '"' if table.quoting else "",
        "escape": '"' if table.quoting else "",
        "multiLine": str(whole_file).lower(),
        "mode": "PERMISSIVE",
        "columnNameOfCorruptRecord": CORRUPT,
        "columnPruning": "false",  # pruning would hide rows with a wrong number of values
        "maxColumns": "20480",
    }


def _number_files(spark: SparkSession, frame: DataFrame, uris: list[str]) -> tuple[DataFrame, list[str]]:
    """Adds FILE_NUMBER; returns the paths by number, too."""
    from pyspark.sql import functions as F

    found = sorted((re.sub(_LOCAL, "/", uri) for uri in uris), key=unquote)
    paths = [unquote(path) for path in found]
    if len(uris) <= 1:
        return frame.withColumn(FILE_NUMBER, F.lit(0)).drop(_FILE), paths
    numbers = spark.createDataFrame(list(zip(found, range(len(found)), strict=True)), f"{_FILE} string, {FILE_NUMBER} int")
    return frame.join(F.broadcast(numbers), _FILE, "left").drop(_FILE), paths


def _spark_path(path: str) -> str:
    """A path for Spark's readers, escaped since they read it as a glob pattern."""
    return "file://" + re.sub(r"([\\*?\[\]{}])", r"\\\1", os.path.abspath(path))


def _quoted(name: str) -> Column:
    from pyspark.sql import functions as F

    return F.col("`" + name.replace("`", "``") + "`")
