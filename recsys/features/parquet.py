"""Writes frames as Parquet, in files of useful size whose names give their order."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from recsys import storage

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

VALUES_PER_FILE: Final = 1_000_000


def write_sorted(frame: DataFrame, folder: str, index: str, last: int, files: int) -> None:
    """Writes a frame sorted by an index that starts at 1; the order of the file names continues that of the rows.

    Args:
        frame: with the column `index`.
        folder: path or URI; must not contain files yet.
        index: name of the index column.
        last: greatest possible index.
        files: number of files.
    """
    from pyspark.sql import functions as F

    rows_per_file = max(1, -(-last // files))
    if files == 1:
        spread = frame.repartition(1)
    else:
        spread = frame.repartitionById(files, F.floor((F.col(index) - 1) / rows_per_file).cast("int"))
    write(spread.sortWithinPartitions(index), folder)


def write(frame: DataFrame, folder: str) -> None:
    """Writes a frame with one file for each partition."""
    if storage.is_local(folder):
        frame.write.mode("append").parquet(folder)
        _tidy(storage.resolve(folder)[1])
        return
    from recsys.spark import remote

    remote.write(frame, folder)


def write_empty(schema: pa.Schema, folder: str) -> None:
    """Writes one file without rows, so that readers find the columns."""
    with storage.atomic_output(storage.join(folder, "part-00000.parquet")) as stream:
        pq.write_table(schema.empty_table(), stream)


def files_for(values: int) -> int:
    """Number of files for that many values (events, or rows of a narrow table)."""
    return max(1, -(-values // VALUES_PER_FILE))


def _tidy(folder: str) -> None:
    """Replaces Spark's random file names by plain ones, and deletes checksum files."""
    for number, name in enumerate(sorted(name for name in os.listdir(folder) if name.endswith(".parquet") and name[0] != ".")):
        os.replace(os.path.join(folder, name), os.path.join(folder, f"part-{number:05d}.parquet"))
    for name in os.listdir(folder):
        if name.startswith(".") and name.endswith(".crc"):
            os.unlink(os.path.join(folder, name))
