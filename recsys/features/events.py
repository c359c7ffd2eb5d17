"""The usable events as histories: read once, divided by user once, each user's events in order of time.

Two passes of Spark's workers with one shuffle between them; see recsys.features.gather. What cannot be used travels with the
rest, so that no row is read twice.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING

from recsys.config import Config
from recsys.errors import DataError
from recsys.features import clean, gather, rare
from recsys.features.chunks import BYTES
from recsys.features.gather import ASIDE, HISTORIES, KIND, PARTITION, SUMS
from recsys.features.read import Rows
from recsys.features.sums import Sums, total

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


@dataclasses.dataclass(frozen=True)
class Events:
    """The usable events.

    Attributes:
        parts: (KIND, BYTES), see `gather.gather`; cached.
        sums: what they hold in numbers; at least two users and one who is learned from.
        files: path of each file of the source.
    """

    parts: DataFrame
    sums: Sums
    files: tuple[str, ...]

    @property
    def histories(self) -> DataFrame:
        """Chunks of histories in the column BYTES."""
        return _of_kind(self.parts, HISTORIES)

    @property
    def aside(self) -> DataFrame:
        """Batches of (reason, file, row) set aside, in the column BYTES."""
        return _of_kind(self.parts, ASIDE)


def prepare(rows: Rows, user_type: str, item_type: str, unit: str, config: Config) -> Events:
    """Cleans the interactions, and sorts each user's events by time, ties in source order.

    Items with fewer than features.min_item_events events, of all parts together, are left out of the catalogue.

    Raises:
        DataError: too many rows are unusable, or there is nothing to learn from in the rest.
    """
    from pyspark import StorageLevel

    path, options = rows.table.path, config.features
    timed, unit = clean.timed(rows, unit)
    layout = clean.layout(timed, user_type, item_type, unit)
    partitions = int(rows.frame.sparkSession.conf.get("spark.sql.shuffle.partitions") or 1)
    packed = f"{KIND} string, {BYTES} binary"
    divided = timed.frame.mapInArrow(partial(gather.divide, layout=layout, partitions=partitions), f"{PARTITION} int, {packed}")
    spread = divided.repartitionById(partitions, PARTITION).select(KIND, BYTES)
    parts = spread.mapInArrow(partial(gather.gather, least=options.min_user_events, layout=layout), packed)
    parts = parts.persist(StorageLevel.DISK_ONLY)
    found = _sums(parts)
    clean.check_rejected("interactions", path, found.rejected, found.rows, options.max_rejected, found.example(rows.files))
    if options.min_item_events > 1 and found.count:
        whole = parts
        parts = rare.left_out(whole, item_type, options.min_item_events, options.min_user_events, layout)
        parts = parts.persist(StorageLevel.DISK_ONLY)
        found = _sums(parts)
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
    return Events(parts, found, rows.files)


def _of_kind(parts: DataFrame, kind: str) -> DataFrame:
    from pyspark.sql import functions as F

    return parts.where(F.col(KIND) == kind).select(BYTES)


def _sums(parts: DataFrame) -> Sums:
    return total(bytes(row[BYTES]).decode() for row in _of_kind(parts, SUMS).collect())
