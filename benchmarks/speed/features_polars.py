"""The work of `recsys features` by Polars: EVENTS → histories, users and items in Parquet below OUTPUT."""

from __future__ import annotations

import sys

import polars as pl


def main(events: str, output: str) -> None:
    """Keeps each user's first event with an item, and indexes users by id and items by falling count."""
    found = pl.scan_parquet(events) if events.endswith(".parquet") else pl.scan_csv(events)
    ordered = found.with_row_index("row").sort("userId", "timestamp", "row")
    first = ordered.unique(["userId", "movieId"], keep="first", maintain_order=True).collect()
    items = first.group_by("movieId").len().sort("len", "movieId", descending=[True, False])
    items = items.with_row_index("item_index", offset=1)
    indexed = first.join(items.select("movieId", "item_index"), on="movieId", maintain_order="left")
    histories = indexed.group_by("userId", maintain_order=True).agg(
        "item_index", pl.col("rating").cast(pl.Float32), "timestamp"
    )
    histories = histories.with_row_index("user_index", offset=1)
    histories.select("user_index", "item_index", "rating", "timestamp").write_parquet(f"{output}/histories.parquet")
    histories.select("user_index", "userId").write_parquet(f"{output}/users.parquet")
    items.write_parquet(f"{output}/items.parquet")
    print(len(first))


if __name__ == "__main__":
    main(*sys.argv[1:])
