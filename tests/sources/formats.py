"""Small files in the formats of the large MovieLens data sets, for tests: real layouts, encodings, quoting and traps."""

from __future__ import annotations

import csv
import random
import zipfile
from pathlib import Path

TITLES = (
    "Toy Story (1995)",
    "City of Lost Children, The (Cité des enfants perdus, La) (1995)",
    "Misérables, Les (1995)",
    '"Great Performances" Cats (1998)',
    "American President, The (1995)",
    "Fawlty Towers (1975-1979)",
    "Ça commence aujourd'hui (1999)",
    "No year at all",
)
"""With commas, quotes, accents (all in iso-8859-1 too), a span of years, and no year."""
GENRES = ("Action|Adventure", "Comedy", "Drama|Romance", "(no genres listed)", "Children's|Animation|Musical")


def ratings(users: int = 30, items: int = 40, events: int = 12, seed: int = 0) -> list[tuple[int, int, float, int]]:
    """`(user, item, rating in half stars, seconds)`, by user; item ids have gaps, as MovieLens' have."""
    chance = random.Random(seed)
    rows = []
    for user in range(1, users + 1):
        time = 1_100_000_000 + chance.randrange(10_000_000)
        for item in chance.sample(range(1, items + 1), events):
            time += chance.randrange(1, 100_000)
            rows.append((user, item * 7, chance.randrange(1, 11) / 2, time))
    return rows


def movies(items: int = 40) -> list[tuple[int, str, str]]:
    """`(item, title, genres)` for the items of `ratings`."""
    return [
        (number * 7, TITLES[number % len(TITLES)].replace("(19", f"{number} (19", 1), GENRES[number % len(GENRES)])
        for number in range(1, items + 1)
    ]


def write_10m(folder: Path, users: int = 30, items: int = 40, events: int = 12) -> Path:
    """Writes ml-10m's files, `::` and UTF-8, into `<folder>/ml-10M100K` and returns that."""
    inner = folder / "ml-10M100K"
    inner.mkdir(parents=True, exist_ok=True)
    lines = [f"{user}::{item}::{rating:g}::{time}\n" for user, item, rating, time in ratings(users, items, events)]
    (inner / "ratings.dat").write_text("".join(lines), encoding="utf-8")
    lines = [f"{item}::{title}::{genres}\n" for item, title, genres in movies(items)]
    (inner / "movies.dat").write_text("".join(lines), encoding="utf-8")
    (inner / "tags.dat").write_text("15::4973::excellent!::1215184630\n", encoding="utf-8")
    return inner


def write_1m(folder: Path, users: int = 30, items: int = 40, events: int = 12) -> Path:
    """Writes ml-1m's files, `::`, whole stars, movies in iso-8859-1, into `<folder>/ml-1m` and returns that."""
    inner = folder / "ml-1m"
    inner.mkdir(parents=True, exist_ok=True)
    lines = [f"{user}::{item}::{max(1, round(rating))}::{time}\n" for user, item, rating, time in ratings(users, items, events)]
    (inner / "ratings.dat").write_text("".join(lines), encoding="ascii")
    people = [
        f"{user}::{'FM'[user % 2]}::{(1, 18, 25)[user % 3]}::{user % 21}::{48000 + user}\n" for user in range(1, users + 1)
    ]
    (inner / "users.dat").write_text("".join(people), encoding="ascii")
    lines = [f"{item}::{title}::{genres}\n" for item, title, genres in movies(items)]
    (inner / "movies.dat").write_text("".join(lines), encoding="iso-8859-1")
    return inner


def write_csv(folder: Path, name: str = "ml-20m", users: int = 30, items: int = 40, events: int = 12) -> Path:
    """Writes the files of ml-20m, 25m, 32m or latest-small (header, CRLF, quoted titles) into `<folder>/<name>`."""
    inner = folder / name
    inner.mkdir(parents=True, exist_ok=True)
    with open(inner / "ratings.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("userId", "movieId", "rating", "timestamp"))
        writer.writerows(ratings(users, items, events))
    with open(inner / "movies.csv", "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("movieId", "title", "genres"))
        writer.writerows(movies(items))
    (inner / "README.txt").write_text("Summary\n", encoding="utf-8")
    return inner


def zipped(inner: Path, target: Path) -> Path:
    """Packs a folder, under its own name, into a zip, as GroupLens does."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(inner.iterdir()):
            archive.write(path, f"{inner.name}/{path.name}")
    return target
