"""Writes Parquet files from Spark's workers, in files of useful size whose names give their order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from recsys import storage
from recsys.contract.schema import part_file
from recsys.features import chunks
from recsys.features.chunks import Packed

ROWS_PER_FILE: Final = 1_000_000


def files_for(rows: int) -> int:
    """Number of files for that many rows, or events in rows."""
    return max(1, -(-rows // ROWS_PER_FILE))


def rows_per_file(last: int, files: int) -> int:
    """Rows of a file, of an index that ends there."""
    return max(1, -(-last // files))


def write_sorted(packed: Iterable[Packed], columns: Sequence[str], folder: str, number: int) -> pa.Table:
    """Writes one file of a folder; returns what it holds.

    Args:
        packed: batches of its rows.
        columns: by which they are sorted.
        folder: path or URI.
        number: of the file.
    """
    table = pa.Table.from_batches(list(map(chunks.unpack, packed)))
    if not chunks.ascending([table[name].to_numpy() for name in columns]):
        table = table.sort_by([(name, "ascending") for name in columns])
    write_table(table, storage.join(folder, part_file(number)))
    return table


def write_table(table: pa.Table, path: str) -> None:
    """Writes one file, which appears when it is complete.

    Numbers of 64 bits are times, ascending in each history, or ids: their differences take less room than a dictionary, and
    less time to write and to read.
    """
    packed, others = list[str](), list[str]()
    for field in table.schema:
        is_list = pa.types.is_list(field.type)
        leaf = f"{field.name}.list.element" if is_list else field.name
        (packed if pa.types.is_int64(field.type.value_type if is_list else field.type) else others).append(leaf)
    encoded = {leaf: "DELTA_BINARY_PACKED" for leaf in packed}
    with storage.atomic_output(path) as stream:
        pq.write_table(table, stream, write_page_checksum=True, use_dictionary=others, column_encoding=encoded)
