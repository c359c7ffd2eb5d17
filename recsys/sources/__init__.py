"""Where events come from. Every source is brought down to the same three table descriptions, which Spark reads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from recsys.config import Config, Table
from recsys.sources import columns, files, movielens, synthetic, tabular
from recsys.sources.columns import check_columns, column_names, first_rows, mapped_columns
from recsys.sources.files import input_files, table_format

__all__ = [
    "SourceTables",
    "check_columns",
    "column_names",
    "first_rows",
    "input_files",
    "mapped_columns",
    "open_source",
    "table_format",
]


@dataclasses.dataclass(frozen=True)
class SourceTables:
    """The tables of a data set, checked: every file is there, opens, and has the columns that are mapped.

    Attributes:
        interactions: has user_id, item_id and timestamp, mostly rating.
        users: has user_id; None where nothing is known of the users.
        items: has item_id; None where nothing is known of the items.
        id_type: type of the ids of CSV files, as `Source.id_type`.
        timestamp_unit: s, ms, us, ns or iso8601.
        name: name of the data set.
        inputs: for each file `table`, `path`, `bytes` and `sha256` or, for large or remote files, `modified`.
    """

    interactions: Table
    users: Table | None
    items: Table | None
    id_type: Literal["auto", "string", "integer"]
    timestamp_unit: str
    name: str
    inputs: tuple[dict[str, Any], ...]


def open_source(config: Config, work_dir: str, progress: Callable[[str], None]) -> SourceTables:
    """Makes, downloads or finds the source of the configuration, and checks its files and columns.

    Args:
        config: `config.source` says which source.
        work_dir: local scratch folder of the run, for synthetic data.
        progress: is told now and then what is going on, in a line of text.

    Raises:
        ConfigError: an unknown data set, or a column that the configuration does not map.
        DataError: files that are missing, empty, damaged, in another encoding, or without a mapped column.
        RetryError: a download or storage that fails for now.
    """
    source = config.source
    tables: tuple[Table, Table | None, Table | None]
    if source.dataset == "synthetic":
        tables = synthetic.open_synthetic(config, work_dir, progress)
    elif source.dataset == "tabular":
        tables = tabular.open_tabular(config)
    else:
        tables = movielens.open_data_set(config, progress)
    roles: tuple[columns.Role, ...] = ("interactions", "users", "items")
    inputs: list[dict[str, Any]] = []
    for role, table in zip(roles, tables, strict=True):
        if table is not None:
            check_columns(table, role)
            inputs += [{"table": role, **entry} for entry in files.fingerprints(table)]
    known = source.dataset == "tabular"
    return SourceTables(
        *tables,
        id_type=source.id_type if known else "integer",
        timestamp_unit=source.timestamp_unit if known else "s",
        name=source.dataset,
        inputs=tuple(inputs),
    )
