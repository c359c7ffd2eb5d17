"""Parquet files that recsys has written: every page that is read is checked against its checksum."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from recsys.errors import DamagedError
from recsys.storage.faults import undamaged
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
