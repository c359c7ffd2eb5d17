"""Writes Parquet files from Spark's workers, in files of useful size whose names give their order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recsys import storage
from recsys.contract.schema import part_file

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

EVENTS_PER_FILE: Final = 1_000_000
Transform = Callable[[pa.RecordBatch], pa.RecordBatch]
"""What is done to each batch before it is written."""


def rows_per_file(last: int, files: int) -> int:
    """Rows of a file, of an index that ends there."""
    return max(1, -(-last // files))


def write(frame: DataFrame, folder: str, transform: Transform) -> dict[str, int]:
    """Writes a frame with one file for each partition; the order of the file names is that of the partitions.

    Args:
        frame: at least one row.
        folder: path or URI; must not contain files yet.
        transform: keeps the rows and their order.

    Returns:
        The most values of a row of each list column.
    """
    written = frame.mapInArrow(partial(_write_part, folder=folder, transform=transform), "name string, longest int").collect()
    longest: dict[str, int] = {}
    for name, length in written:
        longest[name] = max(longest.get(name, 0), length)
    return longest


def write_table(table: pa.Table, path: str) -> None:
    """Writes one file, which appears when it is complete."""
    with storage.atomic_output(path) as stream:
        pq.write_table(table, stream, write_page_checksum=True)


def files_for(events: int) -> int:
    """Number of files for that many events."""
    return max(1, -(-events // EVENTS_PER_FILE))


def partition_number() -> int:
    """Number of the partition that this worker of Spark has in hand."""
    from pyspark import TaskContext

    context = TaskContext.get()
    return context.partitionId() if context else 0


def _write_part(batches: Iterator[pa.RecordBatch], folder: str, transform: Transform) -> Iterator[pa.RecordBatch]:
    first = next(batches, None)
    if first is None:
        return
    longest: dict[str, int] = {}
    first = transform(first)
    with (
        storage.atomic_output(storage.join(folder, part_file(partition_number()))) as stream,
        pq.ParquetWriter(stream, first.schema, write_page_checksum=True) as writer,
    ):
        _write_batch(writer, first, longest)
        for batch in batches:
            _write_batch(writer, transform(batch), longest)
    columns: Sequence[pa.Array] = [pa.array(longest, pa.string()), pa.array(longest.values(), pa.int32())]
    yield pa.RecordBatch.from_arrays(columns, names=["name", "longest"])


def _write_batch(writer: pq.ParquetWriter, batch: pa.RecordBatch, longest: dict[str, int]) -> None:
    writer.write_batch(batch)
    for field in batch.schema:
        if pa.types.is_list(field.type):
            length = pc.max(pc.list_value_length(batch[field.name])).as_py() or 0
            longest[field.name] = max(longest.get(field.name, 0), length)
