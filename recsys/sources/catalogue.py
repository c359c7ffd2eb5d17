"""What `recsys dataset list`, `fetch` and `describe` know, as data; the command line gives it its form."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable
from typing import Any

from recsys import sources
from recsys.config import Config, Table
from recsys.sources import movielens


@dataclasses.dataclass(frozen=True)
class Row:
    """One data set of `recsys dataset list`; `bytes` is the size of the download, 0 where there is none."""

    name: str
    users: int
    items: int
    events: int
    bytes: int
    licence: str
    cached: bool


@dataclasses.dataclass(frozen=True)
class TableDescription:
    """One table of `recsys dataset describe`.

    Attributes:
        table: interactions, users or items.
        format: csv or parquet.
        columns: all columns of the files.
        mapping: `(key of the configuration, column)`.
        files: each file's path, bytes, and hash or time.
        first_rows: some rows as text, in the order of `columns`.
    """

    table: str
    format: str
    columns: tuple[str, ...]
    mapping: tuple[tuple[str, str], ...]
    files: tuple[dict[str, Any], ...]
    first_rows: tuple[tuple[str, ...], ...]

    @property
    def bytes(self) -> int:
        """Size of the files together."""
        return sum(file["bytes"] for file in self.files)


@dataclasses.dataclass(frozen=True)
class Description:
    """What `recsys dataset describe` shows of a source."""

    name: str
    id_type: str
    timestamp_unit: str
    tables: tuple[TableDescription, ...]


def available(config: Config) -> list[Row]:
    """The data sets that need no configuration file: the built-in one and those of MovieLens."""
    size = config.source.synthetic
    rows = [Row("synthetic", size.users, size.items, size.users * size.mean_events, 0, "made by recsys, free to use", True)]
    for data in movielens.CATALOGUE.values():
        cached = os.path.exists(movielens.zip_path(data.name, config))
        rows.append(Row(data.name, data.users, data.items, data.events, data.bytes, data.licence, cached))
    return rows


def fetch(name: str, config: Config, progress: Callable[[str], None]) -> str:
    """Downloads a MovieLens data set into the cache and returns the path of its zip; see movielens.fetch."""
    return movielens.fetch(name, config, progress)


def describe(config: Config, progress: Callable[[str], None], rows: int = 5) -> Description:
    """Opens the source of the configuration and tells what it holds.

    Raises:
        ConfigError, DataError, RetryError: see recsys.sources.open_source.
    """
    with tempfile.TemporaryDirectory(prefix="recsys-") as work_dir:
        opened = sources.open_source(config, work_dir, progress)
        tables = [("interactions", opened.interactions), ("users", opened.users), ("items", opened.items)]
        described = [_describe(name, table, opened, rows) for name, table in tables if table is not None]
    return Description(opened.name, opened.id_type, opened.timestamp_unit, tuple(described))


def _describe(name: str, table: Table, opened: sources.SourceTables, rows: int) -> TableDescription:
    return TableDescription(
        name,
        sources.table_format(table, sources.input_files(table)),
        tuple(sources.column_names(table)),
        tuple(sources.mapped_columns(table)),
        tuple(entry for entry in opened.inputs if entry["table"] == name),
        tuple(tuple(row) for row in sources.first_rows(table, rows)),
    )
