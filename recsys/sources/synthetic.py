"""The built-in data set: shaped like MovieLens, of any size, reproducible by seed, with something to learn in its order.

Every item has a genre and a style and belongs to a series; users watch a series in order. What a user watches next:

- with probability `RULE`: the next genre follows from the genres of the *last two* items by a Latin square, so that neither of
  them alone says anything about it; the item is the first unseen one of that genre in the user's favourite style;
- otherwise a popular item (Zipf) or one of a genre that the user likes.

So counts, co-occurrences and transitions of items reveal a user's style and what is popular, but only a model that sees two
items together, in order, knows what comes next. Users join over the whole period; each watches most items soon after joining,
and the rest now and then until the end.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.config import Config, Feature, Synthetic, Table
from recsys.errors import ConfigError, RetryError
from recsys.progress import Log
from recsys.sources import titles

VERSION: Final = 1
"""Incremented whenever the same options and seed produce different data."""
RULE: Final = 0.75
START: Final = 1_451_606_400  # 2016-01-01, seconds
PERIOD: Final = 3 * 365 * 86_400
OCCUPATIONS: Final = ("artist", "clerk", "doctor", "engineer", "farmer", "lawyer", "student", "teacher", "writer", "retired")
AGES: Final = (18, 25, 35, 45, 56)
GENRES: Final = 8
"""At most: each of the 64 pairs of genres must occur often enough to be learned from a small data set."""
_SIZES: Final = ("users", "items", "mean_events")
_SERIES_LENGTH: Final = 16
_CHUNK_EVENTS: Final = 1 << 20
_CHUNK_ITEMS: Final = 100_000
_LONGEST: Final = 6
"""No user has more than this multiple of the mean number of events."""


@dataclasses.dataclass(frozen=True)
class World:
    """What all users share. An item's index is `(position * styles + style) * genres + genre`; ids are shuffled indices.

    Attributes:
        warm: number of items with events; the remaining ones, at the last positions, have none.
        rule: int64 [genres, genres], the genre after those of the item before the last and of the last: a Latin square.
        popularity: float64 [warm], cumulative probabilities of the popular draws.
        quality: float64 [items], added to every rating of the item.
        item_ids: int64 [items]
        group_styles: int64 [groups], the usual style of each demographic group.
    """

    genres: int
    styles: int
    warm: int
    rule: np.ndarray
    popularity: np.ndarray
    quality: np.ndarray
    item_ids: np.ndarray
    group_styles: np.ndarray


@dataclasses.dataclass(frozen=True)
class People:
    """The users of one chunk: int64 [users] each; taste is float64 [users, genres], cumulative probabilities."""

    gender: np.ndarray
    age: np.ndarray
    occupation: np.ndarray
    zip: np.ndarray
    style: np.ndarray
    taste: np.ndarray


def open_synthetic(config: Config, work_dir: str, log: Log) -> tuple[Table, Table, Table]:
    """Writes the data set as Parquet to `<work_dir>/synthetic`, unless it exists, and describes its tables.

    Columns: interactions (user_id int64, item_id int64, rating float32 0.5 to 5, timestamp int64 seconds), users (user_id
    int64, gender, age int32, occupation, zip), items (item_id int64, title, genres separated by `|`).

    Raises:
        ConfigError: more events per user than half the items.
        RetryError: the folder cannot be written.
    """
    size = config.source.synthetic
    if size.mean_events > max(size.items // 2, 1):
        raise ConfigError(
            f"source.synthetic.mean_events is {size.mean_events}, expected at most half of the {size.items} items "
            "(source.synthetic.items): nobody watches an item twice"
        )
    folder = os.path.join(work_dir, "synthetic")
    wanted = {"version": VERSION, "seed": config.seed, **{name: getattr(size, name) for name in _SIZES}}
    if _parameters(folder) != wanted:
        log(f"generating {size.users} users, {size.items} items, about {size.users * size.mean_events} events")
        try:
            _write(folder, size, config.seed, log)
            with open(os.path.join(folder, "_parameters.json"), "w", encoding="ascii") as file:
                json.dump(wanted, file)
        except OSError as error:
            raise RetryError(f"{folder} cannot be written: {error}; free space and run the same command again") from None
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


def make_world(size: Synthetic, seed: int) -> World:
    """What all users share; depends only on the sizes and the seed."""
    random = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    items = size.items
    genres = int(np.clip(items // 8, 1, GENRES))
    styles = max(1, round(items / (genres * _SERIES_LENGTH)))
    rows, columns, values = (random.permutation(genres) for _ in range(3))
    warm = items - (max(1, items // 50) if items >= 20 else 0)
    weights = 1 / (np.arange(warm) * np.exp(random.normal(0, 0.5, warm)) + 10)
    return World(
        genres,
        styles,
        warm,
        rule=values[(rows[:, None] + columns[None, :]) % genres],
        popularity=np.cumsum(weights) / weights.sum(),
        quality=random.normal(0, 0.4, items),
        item_ids=random.permutation(items) + 1,
        group_styles=random.integers(0, styles, 2 * len(AGES)),
    )


def make_people(world: World, count: int, random: np.random.Generator) -> People:
    """Draws users; with probability 0.7 their style follows from gender and age."""
    gender, age = random.integers(0, 2, count), random.integers(0, len(AGES), count)
    usual = world.group_styles[gender * len(AGES) + age]
    other = np.minimum(random.geometric(0.3, count) - 1, world.styles - 1)
    style = np.where(random.random(count) < 0.7, usual, other)
    occupation = random.integers(0, len(OCCUPATIONS), count)
    liking = random.gamma(0.5, 1.0, (count, world.genres)) + 0.05
    liking[np.arange(count), occupation % world.genres] += 1.0
    taste = np.cumsum(liking / liking.sum(1, keepdims=True), axis=1)
    return People(gender, age, occupation, random.integers(1_000, 99_999, count), style, taste)


def make_items(world: World, people: People, lengths: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The items that each user watches, in order, none twice: indices, int32 [users, longest], padded with -1."""
    users, longest = len(lengths), int(lengths.max(initial=0))
    watched = np.full((users, longest), -1, np.int32)
    pointer = np.zeros((users, world.genres), np.int64)
    for step in range(longest):
        active = np.flatnonzero(lengths > step)
        chosen = np.full(len(active), -1, np.int64)
        if step >= 2:
            follows = random.random(len(active)) < RULE
            rows = active[follows]
            before, last = watched[rows, step - 2] % world.genres, watched[rows, step - 1] % world.genres
            chosen[follows] = _next_of_genre(world, people, watched[:, :step], pointer, rows, world.rule[before, last])
        for _ in range(20):
            open_rows = np.flatnonzero(chosen < 0)
            if not len(open_rows):
                break
            drawn = _drawn(world, people, active[open_rows], random)
            seen = (watched[active[open_rows], :step] == drawn[:, None]).any(1)
            chosen[open_rows] = np.where(seen, -1, drawn)
        for row in np.flatnonzero(chosen < 0):
            unseen = np.setdiff1d(np.arange(world.warm), watched[active[row], :step])
            chosen[row] = unseen[random.integers(len(unseen))]
        watched[active, step] = chosen
    return watched


def _next_of_genre(
    world: World, people: People, watched: np.ndarray, pointer: np.ndarray, rows: np.ndarray, genre: np.ndarray
) -> np.ndarray:
    """The first unseen item of the genre, in the order of the user's favourite style; -1 if there is none."""
    result = np.full(len(rows), -1, np.int64)
    waiting = np.arange(len(rows))
    while len(waiting):
        users, genres = rows[waiting], genre[waiting]
        items = (pointer[users, genres] * world.styles + people.style[users]) * world.genres + genres
        ended = items >= world.warm
        seen = ~ended & (watched[users] == items[:, None]).any(1)
        pointer[users[~ended], genres[~ended]] += 1
        found = ~ended & ~seen
        result[waiting[found]] = items[found]
        waiting = waiting[seen]
    return result


def _drawn(world: World, people: People, rows: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """An item for each user: a popular one, or an early one of a genre and, usually, a style that the user likes."""
    popular = np.searchsorted(world.popularity, random.random(len(rows)), side="right").clip(0, world.warm - 1)
    genre = (people.taste[rows] < random.random(len(rows))[:, None]).sum(1).clip(0, world.genres - 1)
    style = np.where(random.random(len(rows)) < 0.6, people.style[rows], random.integers(0, world.styles, len(rows)))
    liked = ((random.geometric(0.25, len(rows)) - 1) * world.styles + style) * world.genres + genre
    return np.where((random.random(len(rows)) < 0.5) | (liked >= world.warm), popular, liked)


def make_times(lengths: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """When each user watches: seconds, int64 [users, longest], strictly increasing up to the user's length."""
    users, longest = len(lengths), int(lengths.max(initial=0))
    joined = random.random(users) * 0.97
    tail = np.minimum(1 + random.poisson(1.5, users), np.maximum(lengths - 2, 0))
    step = np.arange(longest)
    early = step[None, :] < (lengths - tail)[:, None]
    valid = step[None, :] < lengths[:, None]
    sessions = np.where(random.random((users, longest)) < 0.6, 0.01, random.exponential(1.0, (users, longest)))
    gaps = np.where(early, sessions, 0)
    gaps[:, :1] = 0
    burst = np.minimum(0.05, (0.995 - joined) * 0.5)
    within = np.cumsum(gaps, 1) / np.maximum(gaps.sum(1, keepdims=True), 1e-9) * burst[:, None]
    later = np.where(valid & ~early, random.random((users, longest)), np.inf)
    later = np.sort(np.where(early, -1.0, later), axis=1)
    rest = (0.998 - joined - burst)[:, None] * np.where(valid & ~early, later, 0) + burst[:, None]
    moments = joined[:, None] + np.where(early, within, rest)
    return START + (np.where(valid, moments, 0) * PERIOD).astype(np.int64) + step[None, :]


def make_lengths(size: Synthetic, warm: int, count: int, first: int, random: np.random.Generator) -> np.ndarray:
    """Numbers of events, int64 [users]: log-normal around the mean; one user in a hundred has none."""
    sigma = 0.6
    mean = size.mean_events
    drawn = np.rint(random.lognormal(np.log(mean) - sigma**2 / 2, sigma, count)).astype(np.int64)
    longest = max(1, min(_LONGEST * mean, warm * 3 // 4))
    lengths = np.clip(drawn, min(5, mean, longest), longest)
    return np.where((first + np.arange(count)) % 100 == 57, 0, lengths)


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
    users_a_chunk = int(np.clip(_CHUNK_EVENTS // (_LONGEST * size.mean_events), 64, 4096))
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
        ratings = _ratings(world, people, row, item, random)
        interactions = {"user_id": ids[row], "item_id": world.item_ids[item], "rating": ratings, "timestamp": times[row, step]}
        users = {
            "user_id": ids,
            "gender": np.array(["F", "M"])[people.gender],
            "age": np.array(AGES, np.int32)[people.age],
            "occupation": np.array(OCCUPATIONS)[people.occupation],
            "zip": np.char.zfill(people.zip.astype(str), 5),
        }
        yield pa.table(users), pa.table(interactions)


def _ratings(world: World, people: People, row: np.ndarray, item: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Ratings in half stars, float32 [events]: item quality, fit of genre and style to the user, and noise."""
    share = np.diff(people.taste, prepend=0, axis=1)[row, item % world.genres] * world.genres
    own_style = (item // world.genres) % world.styles == people.style[row]
    value = 3.1 + world.quality[item] + 0.3 * np.minimum(share, 3) + 0.3 * own_style + random.normal(0, 0.6, len(item))
    ratings: np.ndarray = np.clip(np.rint(value * 2) / 2, 0.5, 5.0).astype(np.float32)
    return ratings


def _part(folder: str, name: str, number: int, table: pa.Table) -> None:
    pq.write_table(table, os.path.join(folder, name, f"part-{number:05d}.parquet"))


def _parameters(folder: str) -> dict[str, Any] | None:
    try:
        with open(os.path.join(folder, "_parameters.json"), encoding="ascii") as file:
            value: dict[str, Any] = json.load(file)
    except (OSError, ValueError):
        return None
    return value
