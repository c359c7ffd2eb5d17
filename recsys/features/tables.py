"""The catalogues: all users and all items with their id, raw features, and what the events say of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial, reduce
from operator import add
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from recsys.config import Config, Feature
from recsys.features import chunks, clean, codes, entities, raw, split, sums
from recsys.features.chunks import Packed
from recsys.features.codes import Moments
from recsys.features.entities import ENTITIES, ITEMS, KEYS, MOMENTS, USERS, VALUES, Role
from recsys.features.events import Events, of_kind
from recsys.features.gather import ASIDE, SUMS, Part
from recsys.features.read import Rows

if TYPE_CHECKING:
    from pyspark import RDD


@dataclasses.dataclass(frozen=True)
class Aside:
    """Rows of a source table that are not used.

    Attributes:
        rows: batches of (reason, file, row).
        files: path of each file of the table.
    """

    rows: RDD[Packed]
    files: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Catalogue:
    """All users or all items.

    Attributes:
        parts: ENTITIES and others; kept on disk.
        keys: id and the columns of the role, in order of the index.
        role: which of the two.
        features: as declared for the source table.
        counts: see `codes.count_values`, of each part.
        moments: of the declared numbers, on the training part and on the whole.
        rejected: number of rows of the source table set aside, by reason.
        aside: those rows; None if there are none.
    """

    parts: RDD[Part]
    keys: pa.Table
    role: Role
    features: Mapping[str, Feature]
    counts: list[pa.Table]
    moments: tuple[dict[str, Moments], dict[str, Moments]]
    rejected: dict[str, int]
    aside: Aside | None

    @property
    def entities(self) -> RDD[pa.RecordBatch]:
        """All that is known of them, with raw features."""
        return self.parts.mapPartitions(partial(of_kind, kind=ENTITIES)).map(chunks.unpack)

    @property
    def rows(self) -> int:
        """How many there are."""
        return int(self.keys.num_rows)

    @property
    def ids(self) -> pa.Array:
        """All ids, in order of their index."""
        return self.keys[self.role.key].combine_chunks()

    def numbers(self, column: str) -> np.ndarray:
        """A column of `keys`, in order of the index."""
        found: np.ndarray = self.keys[column].to_numpy()
        return found


def users_and_items(
    events: Events,
    cut: split.Cut,
    tables: tuple[Rows | None, Rows | None],
    kinds: tuple[pa.DataType, pa.DataType],
    config: Config,
) -> tuple[Catalogue, Catalogue]:
    """Both catalogues: users indexed in order of id, items by falling number of training events, ties by id.

    Args:
        events: what is known of both.
        cut: the split.
        tables: of the source, for users and for items.
        kinds: types of the ids of both.
        config: the sections features and source are read.
    """
    from pyspark import StorageLevel

    said = events.histories.flatMap(partial(entities.said, cut=cut, partitions=events.partitions))
    said = said.persist(StorageLevel.DISK_ONLY)  # small, and made by one pass for both
    found = [_catalogue(events, said, *given, config) for given in zip(tables, (USERS, ITEMS), kinds, strict=True)]
    said.unpersist()
    return found[0], found[1]


def _catalogue(
    events: Events, said: RDD[tuple[str, tuple[int, Part]]], rows: Rows | None, role: Role, kind: pa.DataType, config: Config
) -> Catalogue:
    """Joins what the events say of each user or item with its row in the source table."""
    from pyspark import StorageLevel

    context, partitions = events.parts.context, events.partitions
    declared: tuple[raw.Declared, ...] = ()
    found = said.mapPartitions(partial(entities.of_role, role=role))
    if rows is not None:
        declared = raw.declared(rows)
        layout = clean.layout(rows, kind, kind, forget=config.source.forget if role == USERS else None)
        work = partial(entities.described, rows=rows, layout=layout, role=role, declared=declared, partitions=partitions)
        found = context.union([found, rows.read(context, work)])
    features: Mapping[str, Feature] = {one.name: one.feature for one in declared}
    spread = found.partitionBy(partitions, int).values()
    parts = spread.mapPartitions(partial(entities.joined, role=role, kind=kind, features=features)).persist(
        StorageLevel.DISK_ONLY
    )
    told = parts.mapPartitions(_told).collect()
    of = {name: [value for found, value in told if found == name] for name in (KEYS, MOMENTS, SUMS)}
    total = sums.total(value.decode() for value in of[SUMS])
    if rows is not None:
        most, example = config.features.max_rejected, total.example(rows.files)
        clean.check_rejected(role.name, rows.table.path, total.rejected, total.rows, most, example)
    aside = (
        Aside(parts.mapPartitions(partial(of_kind, kind=ASIDE)), rows.files) if rows is not None and total.rejected else None
    )
    keys = pa.Table.from_batches(list(map(chunks.unpack, of[KEYS]))).sort_by(list(role.order))
    counts = _counts(parts, features)
    moments = [json.loads(value) for value in of[MOMENTS]]
    summed = tuple(
        {name: reduce(add, (Moments(*part[place][name]) for part in moments)) for name in codes.numeric_names(features)}
        for place in range(2)
    )
    return Catalogue(parts, keys, role, features, counts, (summed[0], summed[1]), dict(total.rejected), aside)


def _counts(parts: RDD[Part], features: Mapping[str, Feature]) -> list[pa.Table]:
    """How many have each value; what is too rare to matter does not reach the driver."""
    if not codes.coded_names(features):
        return []
    counts = parts.mapPartitions(partial(of_kind, kind=VALUES))
    if (partitions := parts.getNumPartitions()) > 1:
        counts = counts.flatMap(partial(entities.by_value, partitions=partitions)).partitionBy(partitions, int).values()
    frequent = counts.mapPartitions(partial(entities.frequent, features=features)).collect()
    return [pa.Table.from_batches([chunks.unpack(value)]) for value in frequent]


def _told(parts: Iterable[Part]) -> Iterator[Part]:
    """What the driver has to know."""
    return (part for part in parts if part[0] not in (ENTITIES, VALUES, ASIDE))
