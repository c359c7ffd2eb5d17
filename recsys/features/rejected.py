"""Writes the rows that were not used to rejected/*.parquet; see schema.REJECTED."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from recsys import storage
from recsys.contract.schema import FILE, REASON, REJECTED, REJECTED_DIR, part_file
from recsys.features import chunks, parquet, sums
from recsys.features.chunks import Packed
from recsys.features.tables import Aside

_FILES: Final = 4
"""At most so many for each table."""


def write_rejected(asides: Sequence[tuple[str, Aside | None]], features: str) -> None:
    """Writes the rows of all tables that were set aside; one empty file if there are none.

    Args:
        asides: pairs of a source table's name and its rows that are not used, None if there are none.
        features: path or URI of the features folder.
    """
    folder = storage.join(features, REJECTED_DIR)
    written = False
    for place, (table, aside) in enumerate(asides):
        if aside is not None:
            work = partial(_write_part, table=table, files=aside.files, folder=folder, start=place * _FILES)
            aside.rows.coalesce(_FILES).mapPartitionsWithIndex(work).collect()
            written = True
    if not written:
        parquet.write_table(REJECTED.empty_table(), storage.join(folder, part_file(0)))


def _write_part(
    number: int, rows: Iterator[Packed], table: str, files: tuple[str, ...], folder: str, start: int
) -> Iterator[int]:
    """Writes a file for each partition that has rows, numbered from `start` on."""
    first = next(rows, None)
    if first is None:
        return
    path = storage.join(folder, part_file(start + number))
    with storage.atomic_output(path) as stream, pq.ParquetWriter(stream, REJECTED) as writer:
        for batch in map(chunks.unpack, chain([first], rows)):
            names = pa.array(files, pa.string()).take(batch[FILE])
            tables = pa.repeat(table, len(batch))
            writer.write_batch(pa.RecordBatch.from_arrays([tables, batch[REASON], names, batch[sums.TEXT]], schema=REJECTED))
    yield number
