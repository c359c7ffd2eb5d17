"""A source table as Spark's workers read it: its columns, and its files in groups of pieces, one group a task."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from recsys.config import Table
from recsys.errors import ConfigError
from recsys.sources import pieces
from recsys.sources.columns import column_names
from recsys.sources.files import input_files, size, table_format
from recsys.sources.pieces import Format, Piece

if TYPE_CHECKING:
    from pyspark import RDD, SparkContext

LEAST_BYTES: Final = 1 << 20
MOST_BYTES: Final = 64 << 20
"""Bounds of the bytes that one task reads."""

Work = Callable[[Iterator[pa.RecordBatch]], Iterator[Any]]


@dataclasses.dataclass(frozen=True)
class Rows:
    """A source table.

    Attributes:
        form: its columns, and how they are read.
        columns: the internal name, c0, c1, …, of each source column.
        files: path or URI of each file, by number.
        groups: the pieces that each task reads.
    """

    form: Format
    columns: dict[str, str]
    files: tuple[str, ...]
    groups: tuple[tuple[Piece, ...], ...]

    @property
    def table(self) -> Table:
        """How the table is described in the configuration."""
        return self.form.table

    @property
    def typed(self) -> bool:
        """Whether the values have types (Parquet) or are all text (CSV)."""
        return self.form.types is not None

    def internal(self, name: str) -> str:
        """The internal name of a source column.

        Raises:
            ConfigError: the table has no such column.
        """
        if name not in self.columns:
            raise ConfigError(f"{self.table.path} has no column '{name}'; its columns: {', '.join(self.columns)}")
        return self.columns[name]

    def type(self, name: str) -> pa.DataType:
        """The type of a source column; always string for CSV."""
        place = int(self.internal(name)[1:])
        return pa.string() if self.form.types is None else self.form.types[place]

    def without(self, paths: Collection[str]) -> Rows:
        """The same table, of which some files are not read."""
        groups = (tuple(piece for piece in group if piece.uri not in paths) for group in self.groups)
        return dataclasses.replace(self, groups=tuple(group for group in groups if group))

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All rows, read in this process."""
        return (batch for piece in itertools.chain.from_iterable(self.groups) for batch in pieces.read(piece, self.form))

    def read(self, context: SparkContext, work: Work) -> RDD[Any]:
        """Gives the rows of each task to `work`, in batches as `pieces.read` makes them."""
        groups = context.parallelize(self.groups or [()], max(1, len(self.groups)))
        return groups.mapPartitions(partial(_rows, form=self.form, work=work))


def describe(table: Table, role: str, cores: int, files: Sequence[str] = ()) -> Rows:
    """Divides the files of a table into pieces.

    Args:
        table: path and format.
        role: interactions, users or items.
        cores: how many tasks run at a time.
        files: the files; by default those that are there now.

    Raises:
        DataError: a file is missing or has the wrong format.
    """
    found = heading(table, role, files)
    target = min(max(sum(map(size, found.files)) // cores + 1, LEAST_BYTES), MOST_BYTES)
    return dataclasses.replace(found, groups=tuple(map(tuple, pieces.pieces(found.files, found.form, target))))


def heading(table: Table, role: str, files: Sequence[str] = ()) -> Rows:
    """The same without any pieces: its columns and their types."""
    files = list(files) or input_files(table)
    names = column_names(table)
    columns = {name: f"c{number}" for number, name in reversed(list(enumerate(names)))}
    # Line breaks inside quotes need a reader that takes the file as a whole: fine for users and items, slow for events.
    records = role != "interactions" if table.multiline is None else table.multiline
    form = pieces.format_of(table, names, table_format(table, files), files, records)
    return Rows(form, columns, tuple(files), ())


def _rows(groups: Iterator[tuple[Piece, ...]], form: Format, work: Work) -> Iterator[Any]:
    return work(batch for piece in itertools.chain.from_iterable(groups) for batch in pieces.read(piece, form))
