"""A user's own events: any CSV or Parquet files whose columns the configuration names."""

from __future__ import annotations

from recsys.config import Config, Table
from recsys.errors import ConfigError


def open_tabular(config: Config) -> tuple[Table, Table | None, Table | None]:
    """The interactions, users and items of the configuration, as they stand there.

    Raises:
        ConfigError: no interactions.
    """
    source = config.source
    if source.interactions is None:
        raise ConfigError("a tabular source needs [source.interactions] in a configuration file, with at least its path")
    return source.interactions, source.users, source.items
