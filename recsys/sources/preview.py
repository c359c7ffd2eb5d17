"""What a run would read, told without downloading, unpacking or generating anything."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any

from recsys import sources
from recsys.config import Config
from recsys.progress import silent
from recsys.sources import archive, download, movielens, synthetic


@dataclasses.dataclass(frozen=True)
class Preview:
    """What a run would read.

    Attributes:
        inputs: `table`, `path` and `bytes` of each file that is there, as in SourceTables.inputs.
        told: what happens before files are read, in words; empty if nothing does.
        opened: the tables, if they can be opened as they are.
    """

    inputs: tuple[dict[str, Any], ...]
    told: str = ""
    opened: sources.SourceTables | None = None


def preview(config: Config, known: Iterable[Mapping[str, Any]] = ()) -> Preview:
    """Checks the source as far as its files are there.

    Args:
        config: `config.source` says which source.
        known: see recsys.sources.open_source.

    Raises:
        ConfigError, DataError, RetryError: see recsys.sources.open_source.
    """
    source = config.source
    if source.dataset == "synthetic":
        size = source.synthetic
        synthetic.check(size)
        made = f"{size.users:,} users, {size.items:,} items and about {size.users * size.mean_events:,} events"
        return Preview(tuple(sources.forget_inputs(config)), f"{made} are generated in the run's folder")
    if source.dataset != "tabular":
        data = movielens.known(source.dataset)
        path = source.path or movielens.cached(data, config)
        place = None if path is None else movielens.local(data, path)
        if place is None or not os.path.isdir(place):
            return _packed(config, data, place)
    opened = sources.open_source(config, "", silent, known)
    return Preview(opened.inputs, opened=opened)


def _packed(config: Config, data: movielens.DataSet, path: str | None) -> Preview:
    """What is read of a zip at a path, or to be downloaded."""
    cache, forget = download.cache_folders(config)[0], sources.forget_inputs(config)
    if path is None:
        told = f"{movielens.url_of(data, config)} ({data.bytes:,} bytes) is downloaded into {cache} and unpacked there"
        return Preview(tuple(forget), told)
    sizes = archive.sizes(path, movielens.FILES[data.layout], movielens.most_bytes(data))
    roles = ("interactions", "users", "items") if len(sizes) == 3 else ("interactions", "items")
    inputs = [
        {"table": role, "path": f"{path}/{name}", "bytes": size}
        for role, (name, size) in zip(roles, sizes.items(), strict=True)
    ]
    return Preview((*inputs, *forget), f"{path} is unpacked into {cache}, unless it was before")
