"""A user's own events: any CSV or Parquet files whose columns are mapped in the configuration."""

from __future__ import annotations

from recsys.config import Config, Table
from recsys.errors import ConfigError


def open_tabular(config: Config) -> tuple[Table, Table | None, Table | None]:
    """The configured interactions, users and items.

    Raises:
        ConfigError: there are no interactions.
    """
    source = config.source
    if source.interactions is None:
        raise ConfigError("a tabular source requires [source.interactions] in a configuration file, with at least a path")
    return source.interactions, source.users, source.items
