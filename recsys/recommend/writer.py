"""Streams recommendations to Parquet by the contract: sorted by user and rank, in row groups, one complete file at a time."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recsys import storage
from recsys.contract import schema

ROWS_PER_GROUP = 100_000


class Writer:
    """Writes part-00000.parquet, part-00001.parquet, … into a folder; a file appears when it is complete.

    After the block, `written` holds `file`, `bytes` and `sha256` of each, as computed while it was written.

    Args:
        folder: where the files go.
        table_schema: recsys.contract.schema.recommendations(…) with the metadata.
        rows_per_file: a new file starts when this many rows are reached.
    """

    def __init__(self, folder: str, table_schema: pa.Schema, rows_per_file: int) -> None:
        self._folder, self._schema, self._rows_per_file = folder, table_schema, rows_per_file
        self._stack = contextlib.ExitStack()
        self._file: pq.ParquetWriter | None = None
        self._summed: storage.Summed | None = None
        self._pending: list[pa.RecordBatch] = []
        self._pending_rows = self._file_rows = 0
        self.rows = 0
        self.written: list[dict[str, Any]] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Takes rows of complete users, in order; they are written when a row group is full."""
        self._pending.append(batch)
        self._pending_rows += batch.num_rows
        if self._pending_rows >= ROWS_PER_GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._pending_rows:
            return
        if self._file is None:
            self._file = self._open()
        self._file.write_table(pa.Table.from_batches(self._pending, self._schema), row_group_size=self._pending_rows)
        self.rows += self._pending_rows
        self._file_rows += self._pending_rows
        self._pending, self._pending_rows = [], 0
        if self._file_rows >= self._rows_per_file:
            self._finish_file()

    def _open(self) -> pq.ParquetWriter:
        path = storage.join(self._folder, schema.part_file(len(self.written)))
        self._summed = storage.Summed(self._stack.enter_context(storage.atomic_output(path)))
        return self._stack.enter_context(pq.ParquetWriter(self._summed, self._schema, compression="zstd"))

    def _finish_file(self) -> None:
        self._stack.close()
        if self._summed is not None:
            entry = {"file": schema.part_file(len(self.written)), **dataclasses.asdict(self._summed.checksum())}
            self.written.append(entry)
        self._stack, self._file, self._summed, self._file_rows = contextlib.ExitStack(), None, None, 0

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *error: Any) -> None:
        try:
            if error[0] is None:
                self._finish()
        except BaseException:
            error = sys.exc_info()
            raise
        finally:
            self._stack.__exit__(*error)

    def _finish(self) -> None:
        self._flush()
        if self._file is None and not self.written:
            self._file = self._open()
        self._finish_file()
