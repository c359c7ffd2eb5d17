"""Parquet files that recsys has written: every page that is read is checked against its checksum."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from recsys.errors import DamagedError
from recsys.storage.faults import undamaged
from recsys.storage.paths import resolve
from recsys.storage.reading import open_input
from recsys.storage.whole import list_files


@contextlib.contextmanager
def open_parquet(uri: str) -> Iterator[Any]:
    """An open `ParquetFile`.

    Raises:
        DamagedError: in the block, too: the file is missing, is not what was written, or lacks a column.
    """
    import pyarrow.parquet as pq

    with undamaged(uri), open_input(uri) as file:
        yield pq.ParquetFile(file, page_checksum_verification=True)


def parquet_files(folder: str) -> list[str]:
    """The Parquet files of a folder that has at least one, sorted by name.

    Raises:
        DamagedError: it has none.
    """
    found = list_files(folder, ".parquet")
    if not found:
        raise DamagedError(f"{folder} has no Parquet file; expected part-00000.parquet", folder)
    return found


@contextlib.contextmanager
def open_dataset(folder: str) -> Iterator[Any]:
    """The Parquet files of a folder as one `pyarrow.dataset.Dataset`.

    Raises:
        DamagedError: in the block, too: a file is not what was written.
    """
    import pyarrow.dataset as ds

    system, _ = resolve(folder)
    paths = [resolve(path)[1] for path in parquet_files(folder)]
    checked = ds.ParquetFileFormat(default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True))
    with undamaged(folder):
        yield ds.dataset(paths, format=checked, filesystem=system)


def read_rows(folder: str, condition: Any, columns: list[str] | None = None) -> Any:
    """The rows of a folder for which a `pyarrow.compute.Expression` holds, as a table; row groups without any are skipped, by
    their statistics."""
    with open_dataset(folder) as table:
        return table.to_table(columns=columns, filter=condition)
