"""The built-in data: the same for the same seed, well-formed at any size, and predictable from two items but not from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys.config import Config, Source, Synthetic
from recsys.errors import ConfigError
from recsys.sources import open_source
from recsys.sources import world as worlds


def made(folder: Path, size: Synthetic, seed: int = 0) -> dict[str, Any]:
    found = open_source(Config(seed=seed, source=Source(synthetic=size)), str(folder), lambda line: None)
    assert found.users is not None and found.items is not None
    paths = {"interactions": found.interactions.path, "users": found.users.path, "items": found.items.path}
    return {name: pq.read_table(path).to_pandas() for name, path in paths.items()}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return made(tmp_path_factory.mktemp("synthetic"), Synthetic())


def test_same_seed_same_data_and_other_seed_other_data(tmp_path: Path) -> None:
    size = Synthetic(50, 60, 10)
    first, again, other = made(tmp_path / "a", size), made(tmp_path / "b", size), made(tmp_path / "b", size, seed=1)
    for name, table in first.items():
        assert table.equals(again[name])
    assert not first["interactions"].equals(other["interactions"])


def test_sizes_types_and_ranges(data: dict[str, Any]) -> None:
    events, users, items = data["interactions"], data["users"], data["items"]
    assert len(users) == 1000 and len(items) == 500 and 36_000 < len(events) < 44_000
    assert sorted(users.user_id) == list(range(1, 1001)) and sorted(items.item_id) == list(range(1, 501))
    assert str(events.dtypes.to_dict()["rating"]) == "float32" and set(events.rating * 2 % 1) == {0.0}
    assert events.rating.min() >= 0.5 and events.rating.max() <= 5 and 3 < events.rating.mean() < 4
    times = events.timestamp
    assert times.min() >= worlds.START and times.max() < worlds.START + worlds.PERIOD
    assert items.title.is_unique and items.title.str.match(r".* \(\d{4}\)$").all()


def test_no_item_twice_time_rises_and_some_users_and_items_are_cold(data: dict[str, Any]) -> None:
    events = data["interactions"]
    assert not events.duplicated(["user_id", "item_id"]).any()
    assert (events.groupby("user_id").timestamp.diff().dropna() > 0).all()
    assert 0 < 1000 - events.user_id.nunique() < 50 and 0 < 500 - events.item_id.nunique() < 50
    counts = np.sort(events.groupby("item_id").size().to_numpy())[::-1]
    assert counts[:50].sum() > 0.3 * counts.sum()


def test_a_split_by_time_leaves_most_test_users_with_a_history_and_some_without(data: dict[str, Any]) -> None:
    events = data["interactions"]
    moment = events.timestamp.quantile(0.8)
    before, after = set(events.user_id[events.timestamp < moment]), set(events.user_id[events.timestamp >= moment])
    assert len(after) > 500 and 0.6 < len(after & before) / len(after) < 0.95


def test_two_items_tell_the_next_genre_and_one_does_not() -> None:
    size = Synthetic()
    world = worlds.make_world(size, 0)
    assert all(sorted(row) == list(range(world.genres)) for row in (*world.rule, *world.rule.T))  # a Latin square
    random = np.random.default_rng(1)
    people = worlds.make_people(world, 500, random)
    items = worlds.make_items(world, people, np.full(500, 30), random)
    genre = items % world.genres
    before, last, following = genre[:, :-2].ravel(), genre[:, 1:-1].ravel(), genre[:, 2:].ravel()
    assert (world.rule[before, last] == following).mean() > 0.7
    counts = np.zeros((world.genres, world.genres))
    np.add.at(counts, (last, following), 1)
    assert (counts.max(1) / counts.sum(1)).mean() < 0.3


@pytest.mark.parametrize("size", [Synthetic(2, 2, 1), Synthetic(3, 20, 10), Synthetic(200, 9, 4), Synthetic(5000, 30, 3)])
def test_odd_sizes(tmp_path: Path, size: Synthetic) -> None:
    data = made(tmp_path, size)
    assert len(data["users"]) == size.users and len(data["items"]) == size.items
    assert not data["interactions"].duplicated(["user_id", "item_id"]).any()


def test_more_events_than_items_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="at most half of the 20 items"):
        made(tmp_path, Synthetic(10, 20, 15))
