"""A user's own events: any CSV or Parquet files whose columns are mapped in the configuration."""

from __future__ import annotations

from typing import cast

from recsys.config import Config, Table


def open_tabular(config: Config) -> tuple[Table, Table | None, Table | None]:
    """The interactions, users and items of the configuration, unchanged; Config makes sure that there are interactions."""
    source = config.source
    return cast(Table, source.interactions), source.users, source.items
