"""The built-in data set as files: shaped like MovieLens, of any size, reproducible by seed; see recsys.sources.world."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys import storage
from recsys.config import Config, Feature, Synthetic, Table
from recsys.errors import ConfigError
from recsys.progress import Log
from recsys.sources import titles
from recsys.sources.world import (
    AGES,
    LONGEST,
    OCCUPATIONS,
    World,
    make_items,
    make_lengths,
    make_people,
    make_ratings,
    make_times,
    make_world,
)

VERSION: Final = 1
"""Incremented whenever the same options and seed produce different data."""
_SIZES: Final = ("users", "items", "mean_events")
_CHUNK_EVENTS: Final = 1 << 20
_CHUNK_ITEMS: Final = 100_000


def open_synthetic(config: Config, work_dir: str, log: Log) -> tuple[Table, Table, Table]:
    """Writes the data set as Parquet to `<work_dir>/synthetic`, unless it exists, and describes its tables.

    Columns: interactions (user_id int64, item_id int64, rating float32 0.5 to 5, timestamp int64 seconds), users (user_id
    int64, gender, age int32, occupation, zip), items (item_id int64, title, genres separated by `|`).

    Raises:
        ConfigError: more events per user than half the items, or this user may not write into the folder.
        RetryError: the disk is full or fails.
    """
    size = config.source.synthetic
    check(size)
    folder = os.path.join(work_dir, "synthetic")
    wanted = {"version": VERSION, "seed": config.seed, **{name: getattr(size, name) for name in _SIZES}}
    if _parameters(folder) != wanted:
        log(f"generating {size.users} users, {size.items} items, about {size.users * size.mean_events} events")
        try:
            _write(folder, size, config.seed, log)
            with open(os.path.join(folder, "_parameters.json"), "w", encoding="ascii") as file:
                json.dump(wanted, file)
        except OSError as error:
            raise storage.of_disk(error, f"{folder} cannot be written", folder) from None
    users = {name: Feature(kind="categorical") for name in ("gender", "age", "occupation")}
    users["region"] = Feature(kind="categorical", column="zip", pattern=r"^(\d)")
    items = {
        "genres": Feature(kind="multi"),
        "year": Feature(kind="numeric", column="title", pattern=r"\((\d{4})\)\s*$"),
        "title_words": Feature(kind="text", column="title", pattern=r"^(.*?)\s*\(\d{4}\)\s*$"),
    }
    return (
        Table(
            path=os.path.join(folder, "interactions"),
            format="parquet",
            user_id="user_id",
            item_id="item_id",
            rating="rating",
            timestamp="timestamp",
        ),
        Table(path=os.path.join(folder, "users"), format="parquet", user_id="user_id", features=users),
        Table(path=os.path.join(folder, "items"), format="parquet", item_id="item_id", title="title", features=items),
    )


def check(size: Synthetic) -> None:
    """Refuses what cannot be made.

    Raises:
        ConfigError: more events per user than half the items.
    """
    if size.mean_events > max(size.items // 2, 1):
        raise ConfigError(
            f"source.synthetic.mean_events is {size.mean_events}, expected at most half of the {size.items} items "
            "(source.synthetic.items): nobody watches an item twice"
        )


def _write(folder: str, size: Synthetic, seed: int, log: Log) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("interactions", "users", "items"):
        os.makedirs(os.path.join(folder, name))
    world = make_world(size, seed)
    for chunk, first in enumerate(range(0, size.items, _CHUNK_ITEMS)):
        _part(folder, "items", chunk, titles.item_table(world, first, min(first + _CHUNK_ITEMS, size.items)))
    made = 0
    for chunk, (users, interactions) in enumerate(_chunks(world, size, seed)):
        _part(folder, "users", chunk, users)
        _part(folder, "interactions", chunk, interactions)
        made += len(users)
        if chunk % 20 == 19:
            log(f"generated {made} of {size.users} users")


def _chunks(world: World, size: Synthetic, seed: int) -> Iterator[tuple[pa.Table, pa.Table]]:
    """Users and interactions in chunks of at most 4096 users, fewer if histories are long."""
    users_a_chunk = int(np.clip(_CHUNK_EVENTS // (LONGEST * size.mean_events), 64, 4096))
    for chunk, first in enumerate(range(0, size.users, users_a_chunk)):
        random = np.random.default_rng(np.random.SeedSequence([seed, 1, chunk]))
        count = min(users_a_chunk, size.users - first)
        people = make_people(world, count, random)
        lengths = make_lengths(size, world.warm, count, first, random)
        items = make_items(world, people, lengths, random)
        times = make_times(lengths, random)
        ids = np.arange(first + 1, first + count + 1)
        row, step = np.nonzero(items >= 0)
        item = items[row, step].astype(np.int64)
        ratings = make_ratings(world, people, row, item, random)
        interactions = {"user_id": ids[row], "item_id": world.item_ids[item], "rating": ratings, "timestamp": times[row, step]}
        users = {
            "user_id": ids,
            "gender": np.array(["F", "M"])[people.gender],
            "age": np.array(AGES, np.int32)[people.age],
            "occupation": np.array(OCCUPATIONS)[people.occupation],
            "zip": np.char.zfill(people.zip.astype(str), 5),
        }
        yield pa.table(users), pa.table(interactions)


def _part(folder: str, name: str, number: int, table: pa.Table) -> None:
    pq.write_table(table, os.path.join(folder, name, f"part-{number:05d}.parquet"))


def _parameters(folder: str) -> dict[str, Any] | None:
    try:
        with open(os.path.join(folder, "_parameters.json"), encoding="ascii") as file:
            value: dict[str, Any] = json.load(file)
    except (OSError, ValueError):
        return None
    return value
