"""Titles and genres of the built-in items, for people and for features."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from recsys.sources.world import World

GENRES: Final = (
    *("Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy", "Film-Noir"),
    *("Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
_ADJECTIVES: Final = (
    *(
        "Amber",
        "Bitter",
        "Broken",
        "Crimson",
        "Distant",
        "Electric",
        "Empty",
        "Endless",
        "Fallen",
        "Forgotten",
        "Frozen",
        "Gentle",
    ),
    *(
        "Golden",
        "Hidden",
        "Hollow",
        "Iron",
        "Last",
        "Little",
        "Lonely",
        "Lost",
        "Midnight",
        "Quiet",
        "Restless",
        "Sacred",
        "Secret",
    ),
    *("Silent", "Silver", "Stolen", "Velvet", "Wild"),
)
_NOUNS: Final = (
    *(
        "Bridge",
        "Castle",
        "City",
        "Cloud",
        "Crown",
        "Dream",
        "Empire",
        "Forest",
        "Garden",
        "Harbor",
        "Highway",
        "Horizon",
        "House",
    ),
    *(
        "Island",
        "Journey",
        "Kingdom",
        "Letter",
        "Lighthouse",
        "Mirror",
        "Mountain",
        "Ocean",
        "Orchard",
        "Promise",
        "River",
        "Road",
    ),
    *("Shadow", "Summer", "Tower", "Train", "Valley", "Winter"),
)


def item_table(world: World, first: int, last: int) -> pa.Table:
    """The items of indices first to last - 1: item_id int64, title such as `The Lost River 3 (1995)`, genres such as `A|B`."""
    index = np.arange(first, last)
    genre, style, position = (
        index % world.genres,
        (index // world.genres) % world.styles,
        index // (world.genres * world.styles),
    )
    rows = list(zip(genre.tolist(), style.tolist(), position.tolist(), strict=True))
    return pa.table(
        {
            "item_id": world.item_ids[first:last],
            "title": [_title(g, s, p, world.genres) for g, s, p in rows],
            "genres": [_genres(g, s, p, world.genres) for g, s, p in rows],
        }
    )


def _title(genre: int, style: int, position: int, genres: int) -> str:
    """The title of a series, numbered from its second part on."""
    series = style * genres + genre
    adjective = _ADJECTIVES[series * 7 % len(_ADJECTIVES)]
    noun = _NOUNS[series * 11 % len(_NOUNS)]
    volume = series // (len(_ADJECTIVES) * len(_NOUNS))
    name = f"{adjective} {noun}, The" + (f" of {volume + 1}" if volume else "")
    number = f" {position + 1}" if position else ""
    return f"{name}{number} ({1960 + (series * 5 % 30) + position * 2 % 28})"


def _genres(genre: int, style: int, position: int, genres: int) -> str:
    """The genre that the rule uses and, for two parts in three, a second one that depends on the style."""
    second = (genre + 1 + style) % genres
    if second == genre or position % 3 == 2:
        return GENRES[genre]
    return f"{GENRES[genre]}|{GENRES[second]}"
