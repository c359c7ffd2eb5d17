"""The MovieLens data sets: where GroupLens publishes them, and how their files map to tables.

F. Maxwell Harper and Joseph A. Konstan, The MovieLens Datasets: History and Context, ACM TiiS 5(4), 2015.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Final, Literal

from recsys.config import Config, Feature, Table
from recsys.errors import ConfigError, DataError
from recsys.progress import Log
from recsys.sources import archive, download

BASE_URL: Final = "https://files.grouplens.org/datasets/movielens"
_RESEARCH = "research use only, no redistribution (GroupLens)"
_SHARE_ALIKE = "non-commercial, redistribution under the same terms (GroupLens)"
Layout = Literal["100k", "1m", "10m", "csv"]


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A published data set. Counts are from its README, `bytes` the size of the zip, `md5` None: see the file beside it."""

    name: str
    layout: Layout
    md5: str | None
    bytes: int
    users: int
    items: int
    events: int
    licence: str


CATALOGUE: Final[Mapping[str, DataSet]] = {
    row.name: row
    for row in (
        DataSet("ml-100k", "100k", "0e33842e24a9c977be4e0107933c0723", 4_924_029, 943, 1_682, 100_000, _RESEARCH),
        DataSet("ml-1m", "1m", "c4d9eecfca2ab87c1945afe126590906", 5_917_549, 6_040, 3_883, 1_000_209, _RESEARCH),
        DataSet("ml-10m", "10m", "ce571fd55effeba0271552578f2648bd", 65_566_137, 71_567, 10_681, 10_000_054, _RESEARCH),
        DataSet("ml-20m", "csv", "cd245b17a1ae2cc31bb14903e1204af3", 198_702_078, 138_493, 27_278, 20_000_263, _SHARE_ALIKE),
        DataSet("ml-25m", "csv", "6b51fb2759a8657d3bfcbfc42b592ada", 261_978_986, 162_541, 62_423, 25_000_095, _SHARE_ALIKE),
        DataSet("ml-32m", "csv", "d472be332d4daa821edc399621853b57", 238_950_008, 200_948, 87_585, 32_000_204, _SHARE_ALIKE),
        DataSet("ml-latest-small", "csv", None, 978_202, 610, 9_742, 100_836, _SHARE_ALIKE),
    )
}

FILES: Final[Mapping[Layout, tuple[str, ...]]] = {
    "100k": ("u.data", "u.user", "u.item"),
    "1m": ("ratings.dat", "users.dat", "movies.dat"),
    "10m": ("ratings.dat", "movies.dat"),
    "csv": ("ratings.csv", "movies.csv"),
}
"""The files that are read, by layout."""

GENRES_100K: Final = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy"),
    *("Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"),
)

BYTES_PER_EVENT: Final = 64
"""More than twice what the files of any data set take for each event, unpacked."""
LEAST_LIMIT: Final = 64 << 20

_REGION = Feature(kind="categorical", column="zip", pattern=r"^(\d)")
_GENRES = Feature(kind="multi", column="genres", separator="|")


def fetch(name: str, config: Config, log: Log, wait: float = 1.0) -> str:
    """Downloads the zip of a data set into the cache, unless it is cached, and returns its path.

    Raises:
        ConfigError: the data set is unknown.
        RetryError, DataError: see recsys.sources.download.
    """
    data_set = known(name)
    url = url_of(data_set, config)
    target = zip_path(name, config)
    if data_set.md5 is None and os.path.exists(target) and os.path.exists(target + ".md5"):
        return target  # it changes now and then; a run must not depend on the network for what is cached
    md5 = data_set.md5 or download.published_md5(url, wait)
    download.download(url, target, md5, log, wait)
    if data_set.md5 is None:
        with open(target + ".md5", "w", encoding="ascii") as file:
            file.write(md5 + "\n")
    return target


def zip_path(name: str, config: Config) -> str:
    """Where the zip of a data set is, or would be, in the cache."""
    return os.path.join(download.cache_folder(config), f"{name}.zip")


def open_data_set(config: Config, log: Log) -> tuple[Table, Table | None, Table]:
    """The interactions, users (None if the data set has none) and items of `config.source.dataset`.

    They are read from `config.source.path` (a zip or a folder) if set, otherwise downloaded.

    Raises:
        ConfigError: the data set is unknown.
        DataError: the zip or folder does not exist, is damaged or lacks a file.
        RetryError: the download failed.
    """
    data_set = known(config.source.dataset)
    return tables(data_set.layout, _locate(data_set, config, log))


def tables(layout: Layout, folder: str) -> tuple[Table, Table | None, Table]:
    """The interactions, users and items in a folder with the files of a data set."""
    paths = [os.path.join(folder, name) for name in FILES[layout]]
    if layout == "100k":
        return _ratings(paths[0], "\t"), _users_100k(paths[1]), _items_100k(paths[2])
    if layout == "1m":
        return _ratings(paths[0], "::"), _users_1m(paths[1]), _items_dat(paths[2], "iso-8859-1")
    if layout == "10m":
        return _ratings(paths[0], "::"), None, _items_dat(paths[1], "utf-8")
    ratings = Table(path=paths[0], format="csv", user_id="userId", item_id="movieId", rating="rating", timestamp="timestamp")
    return ratings, None, Table(path=paths[1], format="csv", item_id="movieId", title="title", features=_item_features(_GENRES))


def local(data_set: DataSet, path: str) -> str:
    """The zip of a data set, or the folder with its files, at a path that the user names.

    Raises:
        ConfigError: the path is a URI.
        DataError: there is nothing, or a file is missing.
    """
    needed = FILES[data_set.layout]
    if "://" in path:
        raise ConfigError(f"source.path {path} must be a local zip or folder, not a URI; copy it here first")
    if not os.path.exists(path):
        raise DataError(f"{path} does not exist; expected a zip or a folder of {data_set.name}, with {', '.join(needed)}")
    if not os.path.isdir(path):
        return path
    names = _names(path)
    inside = f"{data_set.name}.zip"
    if inside in names and not any(os.path.basename(name) == needed[0] for name in names):
        return os.path.join(path, inside)
    return os.path.join(path, archive.find(names, needed, f"folder {path}")).rstrip("/")


def cached(data_set: DataSet, config: Config) -> str | None:
    """The zip of a data set in the cache; None if it has to be downloaded. Nothing is created."""
    for folder in download.cache_folders(config):
        target = os.path.join(folder, f"{data_set.name}.zip")
        if os.path.exists(target) and (data_set.md5 is not None or os.path.exists(target + ".md5")):
            return target
    return None


def most_bytes(data_set: DataSet) -> int:
    """That the files of a data set may have together, unpacked."""
    return max(LEAST_LIMIT, BYTES_PER_EVENT * data_set.events)


def known(name: str) -> DataSet:
    """A data set by its name.

    Raises:
        ConfigError: there is none.
    """
    if name not in CATALOGUE:
        raise ConfigError(f"data set '{name}' is unknown; expected synthetic, tabular, {', '.join(CATALOGUE)}")
    return CATALOGUE[name]


def url_of(data_set: DataSet, config: Config) -> str:
    """Where the zip of a data set is downloaded from."""
    return f"{(config.source.mirror or BASE_URL).rstrip('/')}/{data_set.name}.zip"


def _locate(data_set: DataSet, config: Config, log: Log) -> str:
    """The folder with the files of a data set."""
    path = config.source.path
    path = local(data_set, fetch(data_set.name, config, log) if path is None else path)
    if os.path.isdir(path):
        return path
    folder = os.path.join(download.cache_folder(config), "unpacked")
    return archive.unpack(path, FILES[data_set.layout], folder, data_set.name, most_bytes(data_set), log)


def _names(folder: str) -> list[str]:
    """Files in a folder and its direct subfolders, without hidden ones."""
    names = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and os.access(entry.path, os.R_OK | os.X_OK):
            names += [f"{entry.name}/{inner.name}" for inner in os.scandir(entry.path) if inner.is_file()]
        elif entry.is_file():
            names.append(entry.name)
    return names


def _ratings(path: str, delimiter: str) -> Table:
    columns = ("user_id", "item_id", "rating", "timestamp")
    return _without_header(
        path, delimiter, columns, rating="rating", timestamp="timestamp", user_id="user_id", item_id="item_id"
    )


def _users_100k(path: str) -> Table:
    features = {
        "gender": Feature(kind="categorical"),
        "age": Feature(kind="categorical", pattern=r"^(\d)\d$"),  # by decade: 943 users have 61 different ages
        "occupation": Feature(kind="categorical"),
        "region": _REGION,
    }
    return _without_header(path, "|", ("user_id", "age", "gender", "occupation", "zip"), features=features, user_id="user_id")


def _users_1m(path: str) -> Table:
    features = {name: Feature(kind="categorical") for name in ("gender", "age", "occupation")} | {"region": _REGION}
    return _without_header(path, "::", ("user_id", "gender", "age", "occupation", "zip"), features=features, user_id="user_id")


def _items_100k(path: str) -> Table:
    columns = ("item_id", "title", "release_date", "video_release_date", "imdb_url", *GENRES_100K)
    features = _item_features(Feature(kind="multi", flags=GENRES_100K))
    return _without_header(path, "|", columns, encoding="iso-8859-1", features=features, item_id="item_id", title="title")


def _items_dat(path: str, encoding: str) -> Table:
    columns = ("item_id", "title", "genres")
    features = _item_features(_GENRES)
    return _without_header(path, "::", columns, encoding=encoding, features=features, item_id="item_id", title="title")


def _item_features(genres: Feature) -> dict[str, Feature]:
    """Genres, year and title words; a title reads `Name (1995)`, rarely `Name (1975-1979)` or `Name (1995) (V)`."""
    return {
        "genres": genres,
        "year": Feature(kind="numeric", column="title", pattern=r"\((\d{4})[^()]*\)(?: \(V\))?\s*$"),
        "title_words": Feature(kind="text", column="title", pattern=r"^(.*?)(?:\s*\(\d{4}[^()]*\)(?: \(V\))?)?\s*$"),
    }


def _without_header(
    path: str,
    delimiter: str,
    names: tuple[str, ...],
    encoding: str = "utf-8",
    features: Mapping[str, Feature] | None = None,
    **columns: Any,
) -> Table:
    return Table(
        path=path,
        format="csv",
        delimiter=delimiter,
        header=False,
        names=names,
        encoding=encoding,
        quoting=False,
        features=features or {},
        **columns,
    )
