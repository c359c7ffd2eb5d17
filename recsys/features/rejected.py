"""Writes the rows that were not used to rejected/*.parquet; see schema.REJECTED."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from recsys import storage
from recsys.contract.schema import REASON, REJECTED, REJECTED_DIR
from recsys.features import parquet
from recsys.features.read import FILE, TEXT

if TYPE_CHECKING:
    from pyspark.sql import DataFrame


def write_rejected(aside: list[tuple[str, DataFrame | None]], features: str) -> None:
    """Writes the rows of all tables together; one empty file if there are none.

    Args:
        aside: pairs of a source table's name and its rows with REASON, FILE and TEXT, or None.
        features: path or URI of the features folder.
    """
    from pyspark.sql import functions as F

    folder = storage.join(features, REJECTED_DIR)
    parts = [
        frame.select(
            F.lit(role).alias("table"),
            REASON,
            F.try_url_decode(F.replace(F.col(FILE), F.lit("+"), F.lit("%2B"))).alias("file"),
            F.col(TEXT).alias("row"),
        )
        for role, frame in aside
        if frame is not None
    ]
    if not parts:
        parquet.write_empty(REJECTED, folder)
        return
    parquet.write(reduce(lambda first, second: first.unionByName(second), parts).coalesce(4), folder)
