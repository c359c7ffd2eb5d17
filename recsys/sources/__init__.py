"""Where events come from. Every source yields the same three table descriptions; Spark's workers read them in pieces."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

from recsys.config import Config, Table
from recsys.progress import Log
from recsys.sources import columns, files, movielens, synthetic, tabular
from recsys.sources.columns import check_columns, column_names, first_rows, mapped_columns
from recsys.sources.files import input_files, table_format

__all__ = [
    "SourceTables",
    "check_columns",
    "check_unchanged",
    "column_names",
    "first_rows",
    "forget_inputs",
    "input_files",
    "mapped_columns",
    "open_source",
    "table_format",
]

_ROLES: Final[tuple[columns.Role, ...]] = ("interactions", "users", "items")


@dataclasses.dataclass(frozen=True)
class SourceTables:
    """The tables of a data set, checked: every file exists, can be opened and has the mapped columns.

    Attributes:
        interactions: has user_id, item_id, timestamp and usually rating.
        users: has user_id; None if nothing is known about the users.
        items: has item_id; None if nothing is known about the items.
        id_type: type of the ids in CSV files, see `Source.id_type`.
        timestamp_unit: s, ms, us, ns or iso8601.
        name: name of the data set.
        inputs: `table`, `path`, `bytes`, `modified` and, unless they are large or remote, `sha256` of each file.
    """

    interactions: Table
    users: Table | None
    items: Table | None
    id_type: Literal["auto", "string", "integer"]
    timestamp_unit: str
    name: str
    inputs: tuple[dict[str, Any], ...]

    def files(self, role: str) -> tuple[str, ...]:
        """The files of a table, in order, as they were found; none if that was not asked."""
        return tuple(entry["path"] for entry in self.inputs if entry["table"] == role)


def open_source(config: Config, work_dir: str, log: Log, known: Iterable[Mapping[str, Any]] = ()) -> SourceTables:
    """Generates, downloads or locates the configured source, and checks its files and columns.

    Args:
        config: `config.source` says which source.
        work_dir: local scratch folder of the run, for synthetic data.
        log: receives progress, a line of text at a time.
        known: `inputs` of an earlier run. A file that still has the path, size and time of change of one of them is taken to be
            the same, and is not read to be checked and hashed.

    Raises:
        ConfigError: the data set is unknown, or a required column is not mapped.
        DataError: files are missing, empty, damaged, in another encoding, or lack a mapped column.
        RetryError: a download or the storage fails for now.
    """
    source = config.source
    tables: tuple[Table, Table | None, Table | None]
    if source.dataset == "synthetic":
        tables = synthetic.open_synthetic(config, work_dir, log)
    elif source.dataset == "tabular":
        tables = tabular.open_tabular(config)
    else:
        tables = movielens.open_data_set(config, log)
    inputs: list[dict[str, Any]] = []
    before = {entry["path"]: {name: entry[name] for name in entry if name != "table"} for entry in known}
    for role, table in zip(_ROLES, tables, strict=True):
        if table is not None:
            check_columns(table, role)
            inputs += [{"table": role, **entry} for entry in files.fingerprints(table, before)]
    inputs += forget_inputs(config)
    own = source.dataset == "tabular"
    return SourceTables(
        *tables,
        id_type=source.id_type if own else "integer",
        timestamp_unit=source.timestamp_unit if own else "s",
        name=source.dataset,
        inputs=tuple(inputs),
    )


def forget_inputs(config: Config) -> list[dict[str, Any]]:
    """The entry of `SourceTables.inputs` for the users to forget, if there are any."""
    forget = config.source.forget
    if forget is None:
        return []
    return [{"table": "forget", **entry} for entry in files.fingerprints(Table(forget, format="csv"))]


def check_unchanged(source: SourceTables) -> list[str]:
    """Checks, after the tables were read, that every file is still as `open_source` found it.

    Returns:
        Warnings, one for each table to which files were added, which were not read.

    Raises:
        DataError: a file was changed or deleted.
        RetryError: the storage fails.
    """
    for entry in source.inputs:
        files.check_unchanged(entry)
    warnings = []
    known = {entry["path"] for entry in source.inputs}
    for role in _ROLES:
        table: Table | None = getattr(source, role)
        if table is not None and (new := [path for path in input_files(table) if path not in known]):
            warnings.append(
                f"{table.path} got {len(new)} more file(s) while it was being read, such as {new[0]}; this run does not "
                "contain them, the next one will"
            )
    return warnings
