"""The usable events as histories: read once, divided by user once, each user's events in order of time.

Two passes of Spark's workers with one shuffle between them; see recsys.features.gather. What cannot be used travels with the
rest, so that no row is read twice.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from recsys.config import Features
from recsys.errors import DataError
from recsys.features import chunks, clean, gather, merge, moments, rare
from recsys.features.chunks import Chunk, Packed
from recsys.features.earlier_features import Base
from recsys.features.gather import ASIDE, HISTORIES, SPANS, SUMS, Part
from recsys.features.read import Rows
from recsys.features.sums import Sums, total

if TYPE_CHECKING:
    from pyspark import RDD, SparkContext


@dataclasses.dataclass(frozen=True)
class Events:
    """The usable events.

    Attributes:
        parts: see `gather.gather`; kept on disk.
        sums: what they hold in numbers; at least two users and one who is learned from.
        spans: `moments.overview` of the timestamps of those who are learned from.
        files: path of each file of the source.
        partitions: number of the parts' partitions.
    """

    parts: RDD[Part]
    sums: Sums
    spans: np.ndarray
    files: tuple[str, ...]
    partitions: int

    @property
    def histories(self) -> RDD[Chunk]:
        """The histories."""
        return self.parts.mapPartitions(partial(of_kind, kind=HISTORIES)).map(chunks.unpack_chunk)

    @property
    def aside(self) -> RDD[Packed]:
        """Batches of (reason, file, row) set aside."""
        return self.parts.mapPartitions(partial(of_kind, kind=ASIDE))


def prepare(
    context: SparkContext, rows: Rows, layout: clean.Layout, partitions: int, options: Features, base: Base | None = None
) -> Events:
    """Cleans the interactions, and sorts each user's events by time, ties in source order.

    Items with fewer than features.min_item_events events, of all parts together, are left out of the catalogue.

    Args:
        context: of Spark.
        rows: the interactions.
        layout: of their table.
        partitions: into how many the users are divided.
        options: the configuration's section.
        base: features of an earlier run to build on; decides the number of partitions.

    Raises:
        DataError: too many rows are unusable, or there is nothing to learn from in the rest.
    """
    from pyspark import StorageLevel

    path = rows.table.path
    if base is None:
        divided = rows.read(context, partial(gather.divide, layout=layout, partitions=partitions))
        spread = divided.partitionBy(partitions, int).values()
        work = partial(gather.gather, least=options.min_user_events, layout=layout, spans=moments.share(partitions))
        parts = spread.mapPartitions(work)
    else:
        parts = merge.parts(context, rows, layout, options.min_user_events, base)
        partitions = parts.getNumPartitions()
    parts = parts.persist(StorageLevel.DISK_ONLY)
    found, spans = _summed(parts)
    clean.check_rejected("interactions", path, found.rejected, found.rows, options.max_rejected, found.example(rows.files))
    if options.min_item_events > 1 and found.count:
        whole = parts
        parts = rare.left_out(whole, options.min_item_events, options.min_user_events, layout)
        parts = parts.persist(StorageLevel.DISK_ONLY)
        found, spans = _summed(parts)
        whole.unpersist()
    if not found.count:
        shown = ", ".join(f"{reason} {number}" for reason, number in found.rejected.items()) or "there are no rows"
        raise DataError(f"{path} has no usable event: {shown}")
    if found.users < 2:
        raise DataError(f"{path} has the events of one user only; there is nothing to learn from what users have in common")
    if not found.learned_users:
        least = options.min_user_events
        raise DataError(
            f"{path}: no user has features.min_user_events = {least} events (the most is {found.longest}); lower it"
        )
    return Events(parts, found, spans, rows.files, partitions)


def of_kind(parts: Iterator[Part], kind: str) -> Iterator[Any]:
    """The contents of one kind."""
    return (value for found, value in parts if found == kind)


def _summed(parts: RDD[Part]) -> tuple[Sums, np.ndarray]:
    """What the driver has to know of all partitions: the sums, and the spans of time."""
    told = parts.mapPartitions(_told).collect()
    sums, spans = ([value for found, value in told if found == kind] for kind in (SUMS, SPANS))
    return total(value.decode() for value in sums), moments.overview(spans, moments.share(parts.getNumPartitions()))


def _told(parts: Iterable[Part]) -> Iterator[Part]:
    return (part for part in parts if part[0] in (SUMS, SPANS))
