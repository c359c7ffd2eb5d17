"""Dense indices: 1, 2, 3, … in a given order, without collecting the rows in one partition."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pyspark.sql import Column, DataFrame

ROWS_PER_PARTITION: Final = 1_000_000


def dense_index(
    frame: DataFrame, name: str, order: list[Column], rows: int, per_partition: int = ROWS_PER_PARTITION
) -> DataFrame:
    """Adds the int32 column `name`: the row's rank, from 1, in the given total order.

    The rows are partitioned by ranges of the order and sorted in each; only the sizes of the ranges reach the driver.

    Args:
        frame: cached or cheap; read twice if there are several ranges.
        name: of the new column.
        order: must leave no ties.
        rows: number of rows.
        per_partition: approximate number of rows in a range.

    Returns:
        A cached frame, so that every use sees the same ranges, in the order of the index; the caller unpersists it.
    """
    from pyspark.sql import functions as F

    partitions = max(1, -(-rows // per_partition))
    spread = frame.repartitionByRange(partitions, *order) if partitions > 1 else frame.coalesce(1)
    placed = spread.sortWithinPartitions(*order).withColumn("__place", F.monotonically_increasing_id())
    if partitions == 1:
        return placed.withColumn(name, (F.col("__place") + 1).cast("int")).drop("__place").persist()
    placed = placed.withColumn("__range", F.shiftright("__place", 33).cast("int")).persist()
    sizes = {row[0]: row[1] for row in placed.groupBy("__range").count().collect()}
    offsets, total = [], 0
    for partition in range(partitions):
        offsets.append(total)
        total += sizes.get(partition, 0)
    offset = F.element_at(F.array(*(F.lit(value) for value in offsets)), F.col("__range") + 1)
    in_range = F.col("__place") - F.shiftleft(F.col("__range").cast("bigint"), 33)
    return placed.withColumn(name, (in_range + offset + 1).cast("int")).drop("__place", "__range")
