"""Writes the rows that were not used to rejected/*.parquet; see schema.REJECTED."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys import storage
from recsys.contract.schema import REASON, REJECTED, REJECTED_DIR, part_file
from recsys.features import chunks, clean, parquet, sums
from recsys.features.chunks import BYTES
from recsys.features.events import Events
from recsys.features.read import FILE_NUMBER, ORDER
from recsys.features.tables import Catalogue

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

_EVENT_FILES: Final = 4
Rows = Callable[[pa.RecordBatch], Iterator[pa.RecordBatch]]
"""Gives batches of (reason, number of the file, text) from a batch of Spark."""


def write_rejected(events: Events, catalogues: Sequence[tuple[str, Catalogue]], features: str) -> None:
    """Writes the rows of all tables that were set aside; one empty file if there are none.

    Args:
        events: the interactions.
        catalogues: pairs of a source table's name and what was made of it.
        features: path or URI of the features folder.
    """
    folder = storage.join(features, REJECTED_DIR)
    written = False
    if events.sums.rejected:
        _write(events.aside.coalesce(_EVENT_FILES), "interactions", events.files, _packed, folder, 0)
        written = True
    for number, (table, catalogue) in enumerate(catalogues):
        if (aside := catalogue.aside) is not None:
            frame = aside.frame.coalesce(1).sortWithinPartitions(*ORDER)
            _write(frame, table, aside.files, partial(_plain, layout=aside.layout), folder, _EVENT_FILES + number)
            written = True
    if not written:
        parquet.write_table(REJECTED.empty_table(), storage.join(folder, part_file(0)))


def _write(frame: DataFrame, table: str, files: tuple[str, ...], rows: Rows, folder: str, start: int) -> None:
    """Writes a file for each partition, numbered from `start` on."""
    work = partial(_write_part, table=table, files=files, rows=rows, folder=folder, start=start)
    frame.mapInArrow(work, "written int").collect()


def _write_part(
    batches: Iterator[pa.RecordBatch], table: str, files: tuple[str, ...], rows: Rows, folder: str, start: int
) -> Iterator[pa.RecordBatch]:
    first = next(batches, None)
    if first is None:
        return
    path = storage.join(folder, part_file(start + parquet.partition_number()))
    with storage.atomic_output(path) as stream, pq.ParquetWriter(stream, REJECTED) as writer:
        for reasons, numbers, texts in (found.columns for batch in chain([first], batches) for found in rows(batch)):
            names = pa.array(files, pa.string()).take(numbers)
            tables = pa.array([table] * len(reasons), pa.string())
            writer.write_batch(pa.RecordBatch.from_arrays([tables, reasons, names, texts], schema=REJECTED))
    yield pa.RecordBatch.from_pydict({"written": pa.array([1], pa.int32())})


def _packed(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    for value in batch[BYTES]:
        yield chunks.unpack(value).select([REASON, sums.FILE, sums.TEXT])


def _plain(batch: pa.RecordBatch, layout: clean.Layout) -> Iterator[pa.RecordBatch]:
    text = clean.texts(batch, np.arange(len(batch)), layout)
    yield pa.RecordBatch.from_arrays([batch[REASON], batch[FILE_NUMBER], text], names=[REASON, sums.FILE, sums.TEXT])
