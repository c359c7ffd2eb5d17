"""The usable events, each with its position in its user's history."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from recsys.config import Config
from recsys.contract.schema import (
    ITEM_ID,
    RATING,
    REASON,
    TIMESTAMP,
    USER_ID,
)
from recsys.errors import DataError
from recsys.features import clean, split
from recsys.features.read import ORDER, Rows

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

POSITION = "position"
LENGTH = "length"


@dataclasses.dataclass(frozen=True)
class Events:
    """The usable events.

    Attributes:
        frame: user_id, item_id, rating float, timestamp bigint, POSITION int in the user's history (from 0) and the history's
            LENGTH int; cached, partitioned by user.
        count: number of events.
        users: number of users with an event.
        learned_users: number of users with at least features.min_user_events events.
        earliest: least timestamp.
        latest: greatest timestamp.
        longest: number of events of the user with the most.
        rejected: number of rows set aside, by reason.
        aside: those rows, with REASON, FILE and TEXT; None if there are none.
    """

    frame: DataFrame
    count: int
    users: int
    learned_users: int
    earliest: int
    latest: int
    longest: int
    rejected: dict[str, int]
    aside: DataFrame | None


def prepare(rows: Rows, user_type: str, item_type: str, unit: str, config: Config) -> Events:
    """Cleans the interactions, and sorts each user's events by time, ties in source order.

    Items with fewer than features.min_item_events events, of all parts together, are left out of the catalogue.

    Raises:
        DataError: too many rows are unusable, or there is nothing to learn from in the rest.
    """
    from pyspark.sql import Observation, Window
    from pyspark.sql import functions as F

    parsed = clean.events(rows, user_type, item_type, unit)
    observed, counts_of = clean.counted(parsed, clean.EVENT_REASONS)
    usable = observed.where(F.col(REASON).isNull()).select(USER_ID, ITEM_ID, RATING, TIMESTAMP, *ORDER)
    repeats = Observation()
    repeated = F.count_if(F.col("repeat") > 1).alias("repeated")
    first = clean.with_repeats(usable).observe(repeats, repeated).where("repeat = 1").drop("repeat")
    frequent: DataFrame | None = None
    least = config.features.min_item_events
    if least > 1:
        first = first.persist()
        frequent = first.groupBy(ITEM_ID).agg(F.count("*").alias("n")).where(F.col("n") >= least).select(ITEM_ID)
    kept = first if frequent is None else first.join(frequent, ITEM_ID, "left_semi")
    user = Window.partitionBy(USER_ID)
    position = F.row_number().over(user.orderBy(TIMESTAMP, *ORDER)) - 1
    length = F.count("*").over(user).cast("int")
    frame = kept.select(USER_ID, ITEM_ID, RATING, TIMESTAMP, position.alias(POSITION), length.alias(LENGTH)).persist()
    starts = F.col(POSITION) == 0
    enough = split.learned(config.features.min_user_events, F.col(LENGTH))
    sums = [F.count("*"), F.count_if(starts), F.count_if(starts & enough), F.min(TIMESTAMP), F.max(TIMESTAMP), F.max(LENGTH)]
    count, users, learned_users, earliest, latest, longest = frame.agg(*sums).first() or (0,) * 6
    counts = counts_of()
    path = rows.table.path
    clean.check_rejected("interactions", path, counts, config.features.max_rejected, parsed)
    rejected = {reason: number for reason, number in counts.items() if reason}
    if repeats.get["repeated"]:
        rejected[clean.DUPLICATE] = repeats.get["repeated"]
    if frequent is not None:
        rare = counts[""] - sum(rejected.values()) - count
        rejected |= {clean.RARE_ITEM: rare} if rare else {}
    if count == 0:
        shown = ", ".join(f"{reason} {number}" for reason, number in rejected.items()) or "there are no rows"
        raise DataError(f"{path} has no usable event: {shown}")
    if users < 2:
        raise DataError(f"{path} has the events of one user only; there is nothing to learn from what users have in common")
    if not learned_users:
        least = config.features.min_user_events
        raise DataError(f"{path}: no user has features.min_user_events = {least} events (the most is {longest}); lower it")
    aside = _aside(parsed, frequent, rejected)
    if frequent is not None and aside is None:
        first.unpersist()
    return Events(frame, count, users, learned_users, earliest, latest, longest, rejected, aside)


def of_learned_users(events: Events, min_user_events: int) -> DataFrame:
    """The events of the users who are learned from."""
    from pyspark.sql import functions as F

    return events.frame.where(split.learned(min_user_events, F.col(LENGTH)))


def _aside(parsed: DataFrame, frequent: DataFrame | None, rejected: dict[str, int]) -> DataFrame | None:
    """The rows that were not used, read again with their text; duplicates are found in the same way."""
    from pyspark.sql import functions as F

    if not rejected:
        return None
    unusable = parsed.where(F.col(REASON).isNotNull())
    if not {clean.DUPLICATE, clean.RARE_ITEM} & set(rejected):
        return unusable
    usable = clean.with_repeats(parsed.where(F.col(REASON).isNull()))
    usable = usable.withColumn(REASON, F.when(F.col("repeat") > 1, clean.DUPLICATE))
    if frequent is not None:
        marked = usable.join(frequent.withColumn("frequent", F.lit(True)), ITEM_ID, "left")
        rare = F.col(REASON).isNull() & F.col("frequent").isNull()
        usable = marked.withColumn(REASON, F.when(rare, clean.RARE_ITEM).otherwise(F.col(REASON))).drop("frequent")
    return unusable.unionByName(usable.drop("repeat").where(F.col(REASON).isNotNull()))
