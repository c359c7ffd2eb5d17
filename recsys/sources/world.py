"""The world of the built-in data set: what all users share, who they are, and what each of them watches when.

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
from typing import Final

import numpy as np

from recsys.config import Synthetic

RULE: Final = 0.75
START: Final = 1_451_606_400  # 2016-01-01, seconds
PERIOD: Final = 3 * 365 * 86_400
OCCUPATIONS: Final = ("artist", "clerk", "doctor", "engineer", "farmer", "lawyer", "student", "teacher", "writer", "retired")
AGES: Final = (18, 25, 35, 45, 56)
MOST_GENRES: Final = 8
"""Each of the 64 pairs of genres must occur often enough to be learned from a small data set."""
LONGEST: Final = 6
"""No user has more than this multiple of the mean number of events."""
_SERIES_LENGTH: Final = 16


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


def make_world(size: Synthetic, seed: int) -> World:
    """What all users share; depends only on the sizes and the seed."""
    random = np.random.default_rng(np.random.SeedSequence([seed, 0]))
    items = size.items
    genres = int(np.clip(items // 8, 1, MOST_GENRES))
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
    longest = max(1, min(LONGEST * mean, warm * 3 // 4))
    lengths = np.clip(drawn, min(5, mean, longest), longest)
    return np.where((first + np.arange(count)) % 100 == 57, 0, lengths)


def make_ratings(world: World, people: People, row: np.ndarray, item: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Ratings in half stars, float32 [events]: item quality, fit of genre and style to the user, and noise."""
    share = np.diff(people.taste, prepend=0, axis=1)[row, item % world.genres] * world.genres
    own_style = (item // world.genres) % world.styles == people.style[row]
    value = 3.1 + world.quality[item] + 0.3 * np.minimum(share, 3) + 0.3 * own_style + random.normal(0, 0.6, len(item))
    ratings: np.ndarray = np.clip(np.rint(value * 2) / 2, 0.5, 5.0).astype(np.float32)
    return ratings
