"""The whole stage against an oracle, and what must hold for every input."""

from __future__ import annotations

import dataclasses
import math
import random
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from recsys import config, storage
from recsys.contract import histories, schema
from recsys.contract.features_info import Encoding
from tests.building import Built, source
from tests.features import oracle

Feature = config.Feature
GENRES = ("Drama", "Comedy", "Film-Noir", "Sci-Fi", "Ünder")
WORDS = ("alpha", "Beta", "gamma", "Äpfel", "x", "delta's")


def make_data(seed: int, users: int = 40, items: int = 30) -> tuple[list[oracle.Event], str, str, str]:
    """Events with ties in time and repeats, and the text of three CSV files."""
    chance = random.Random(seed)
    events = [
        (
            f"u{chance.randrange(users)}",
            f"i{int(chance.random() ** 2 * items)}",
            chance.randrange(1, 11) / 2,
            chance.randrange(300),
        )
        for _ in range(600)
    ]
    people = [
        (f"u{user}", chance.choice(["F", "M", ""]), chance.choice(["", "1.5", "20", "-3e1"])) for user in range(2, users + 5)
    ]
    things = [
        (
            f"i{item}",
            " ".join(chance.sample(WORDS, 3)) + f" ({chance.randrange(1950, 1999)})",
            "|".join(chance.sample(GENRES, chance.randrange(4))),
        )
        for item in range(items + 3)
    ]
    return (
        events,
        "user,item,rating,time\n" + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in events),
        "id,sex,weight\n" + "".join(",".join(row) + "\n" for row in people),
        "id,name,genres\n" + "".join(",".join(row) + "\n" for row in things),
    )


def tables(csv: Callable[..., config.Table], data: tuple[Any, str, str, str], prefix: str = "") -> Any:
    _, events, people, things = data
    return source(
        csv(events, prefix + "events.csv", user_id="user", item_id="item", rating="rating", timestamp="time"),
        csv(
            people,
            prefix + "people.csv",
            user_id="id",
            features={"sex": Feature("categorical"), "kilos": Feature("numeric", "weight")},
        ),
        csv(
            things,
            prefix + "things.csv",
            item_id="id",
            title="name",
            features={
                "genres": Feature("multi"),
                "words": Feature("text", "name"),
                "year": Feature("numeric", "name", pattern=r"\((\d{4})\)"),
            },
        ),
    )


def content(built: Built) -> dict[str, Any]:
    """Everything that a build wrote, as plain values."""
    events = {field.name: getattr(built.histories, field.name).tolist() for field in dataclasses.fields(built.histories)}
    names = ("users", "items", "published_users", "published_items")
    return {"histories": events, "info": built.info, **{name: getattr(built, name).to_pylist() for name in names}}


@pytest.mark.parametrize("method", ["leave-one-out", "per-user-ratio", "global-time", "none"])
@pytest.mark.slow
def test_against_the_oracle(build: Callable[..., Built], csv: Callable[..., config.Table], method: str) -> None:
    data = make_data(len(method), items=60)
    options = config.Config(
        split=config.Split(method=method, min_events=10),  # type: ignore[arg-type]
        features=config.Features(min_item_events=5, min_user_events=9),
    )
    built = build(tables(csv, data), options)
    info = built.info
    expected = oracle.histories(data[0], 5)
    cuts = {}
    for user, history in expected.items():
        cut = oracle.lengths(history, method, 0.2, 0.1, info.split.valid_from or 0, info.split.test_from or 0)
        cuts[user] = cut if len(history) >= 9 else (len(history), len(history))
    learned = [event for history in expected.values() if len(history) >= 9 for event in history]
    training = [event for user, history in expected.items() if len(history) >= 9 for event in history[: cuts[user][0]]]

    user_ids = built.users["user_id"].to_pylist()
    assert user_ids == sorted({*expected, *(f"u{user}" for user in range(2, 45))})
    assert built.users["user_index"].to_pylist() == list(range(1, len(user_ids) + 1))
    seen = {event[1] for history in expected.values() for event in history}
    item_ids = built.items["item_id"].to_pylist()
    assert item_ids == oracle.item_order(training, seen | {f"i{item}" for item in range(63)})
    assert built.items["item_index"].to_pylist() == list(range(1, len(item_ids) + 1))

    assert [user_ids[index - 1] for index in built.histories.user_index] == sorted(expected)
    for row, user in enumerate(sorted(expected)):
        events = slice(built.histories.offsets[row], built.histories.offsets[row + 1])
        found = zip(
            built.histories.items[events], built.histories.ratings[events], built.histories.timestamps[events], strict=True
        )
        assert [(item_ids[item - 1], rating, time) for item, rating, time in found] == [event[1:] for event in expected[user]]
        assert (built.histories.train_length[row], built.histories.valid_length[row]) == cuts[user]
    check_counts(built, training, data[3])

    check_items(info.evaluated, item_ids, built.items, training, training, data[3])
    check_items(info.published, item_ids, built.published_items, training, learned, data[3])
    check_users(info.evaluated, user_ids, built.users, training, training, data[2])
    check_users(info.published, user_ids, built.published_users, training, learned, data[2])
    if method == "none":
        assert info.published == info.evaluated
    else:
        assert built.published_items.column_names == ["item_index", "genres", "words", "year", "popularity", "mean_rating"]
        assert built.published_users.column_names == ["user_index", "sex", "kilos"]
    assert info.events == sum(map(len, expected.values()))
    assert (info.train_events, info.train_events + info.valid_events + info.test_events) == (len(training), len(learned))
    assert info.valid_events == sum(cuts[user][1] - cuts[user][0] for user in expected)
    assert 0 < info.skipped_users == sum(len(history) < 9 for history in expected.values())
    assert (info.users, info.items) == (len(user_ids), len(item_ids))
    assert info.max_history == max(map(len, expected.values()))
    assert info.latest_train_timestamp == max(event[3] for event in training)
    assert info.latest_timestamp == max(event[3] for history in expected.values() for event in history)
    unused = info.rejected["interactions"]
    assert sum(unused.values()) == 600 - info.events == len(built.reasons())
    assert unused["duplicate"] > 50


def check_counts(built: Built, training: list[oracle.Event], text: str) -> None:
    titles = {line.split(",")[0]: line.split(",")[1] for line in text.splitlines()[1:]}
    for row in built.items.to_pylist():
        times = [event[3] for event in training if event[1] == row["item_id"]]
        assert (row["train_count"], row["first_seen"]) == (len(times), min(times, default=None))
        assert row["title"] == titles[row["item_id"]]


def check_items(
    encoding: Encoding, ids: list[Any], table: Any, training: list[oracle.Event], fitted: list[oracle.Event], text: str
) -> None:
    """An encoding of the items that is fitted on these events, and keeps the codes of the training events."""
    rows = dict(zip(ids, table.to_pylist(), strict=True))
    described = {line.split(",")[0]: line.split(",")[1:] for line in text.splitlines()[1:]}
    known, counted = ({event[1] for event in events} for events in (training, fitted))
    features = {feature.name: feature for feature in encoding.item_features}
    genres = {item: [genre for genre in values[1].split("|") if genre] for item, values in described.items()}
    words = {item: [w for w in re.split(r"\W+", values[0].lower()) if len(w) > 1] for item, values in described.items()}
    for name, values, least in (("genres", genres, 1), ("words", words, 2)):
        first = oracle.vocabulary([values[item] for item in known], least=least)
        vocabulary = oracle.extended(first, [values[item] for item in counted], least=least)
        assert list(features[name].values or ()) == vocabulary
        for item, row in rows.items():
            assert row[name] == sorted({vocabulary.index(value) + 1 for value in values[item] if value in vocabulary})
        assert features[name].max_values == max(len(row[name]) for row in rows.values())

    ratings: dict[Any, list[float]] = {item: [] for item in rows}
    for event in fitted:
        ratings[event[1]].append(event[2])
    mean = sum(event[2] for event in fitted) / len(fitted)
    numbers = {
        "year": {item: float(described[item][0][-5:-1]) for item in rows},
        "popularity": {item: math.log1p(len(ratings[item])) for item in rows},
        "mean_rating": {item: (sum(ratings[item]) + 10 * mean) / (len(ratings[item]) + 10) for item in rows},
    }
    for name, values in numbers.items():
        for item, row in rows.items():
            assert row[name] == pytest.approx(oracle.standardised(values[item], [values[other] for other in counted]), abs=1e-4)
    assert (encoding.rating_mean, encoding.rating_std) == pytest.approx(oracle.moments([event[2] for event in fitted]))


def check_users(
    encoding: Encoding, ids: list[Any], table: Any, training: list[oracle.Event], fitted: list[oracle.Event], text: str
) -> None:
    """As `check_items`."""
    described = {line.split(",")[0]: line.split(",")[1:] for line in text.splitlines()[1:]}
    known, counted = ({event[0] for event in events} & set(described) for events in (training, fitted))
    feature = encoding.user_features[0]
    first = oracle.vocabulary([[described[user][0]] for user in known if described[user][0]])
    sexes = oracle.extended(first, [[described[user][0]] for user in counted if described[user][0]])
    assert (feature.name, list(feature.values or ()), feature.size) == ("sex", sexes, len(sexes) + 1)
    weights = [float(described[user][1]) for user in counted if described[user][1]]
    for user, row in zip(ids, table.to_pylist(), strict=True):
        sex, weight = described.get(user, ["", ""])
        assert row["sex"] == (sexes.index(sex) + 1 if sex in sexes else 0)
        assert row["kilos"] == pytest.approx(oracle.standardised(float(weight), weights) if weight else 0.0, abs=1e-4)


@pytest.mark.slow
def test_what_is_new_since_the_cut_is_known_to_the_published_network_alone(
    build: Callable[..., Built], csv: Callable[..., config.Table]
) -> None:
    """A brand, a word and a country that only the last events have; one brand that no event has."""
    users = "".join(f"u{n},{'XX' if n == 9 else 'AB'}\n" for n in range(10))
    brands = ["old", "old", "other", "other", "old", "new", "new", "rare", "never"]
    items = "".join(f"i{n},{brand},{'fresh' if brand == 'new' else 'plain'} thing\n" for n, brand in enumerate(brands))
    early = [(n, item, 100 * item + n) for n in range(9) for item in range(5)]
    late = [(n, item, 10_000 + item) for n in range(9) for item in (5, 6)] + [(9, 5, 10_001), (9, 7, 10_002), (9, 0, 10_003)]
    events = "user,item,rating,time\n" + "".join(f"u{user},i{item},3,{time}\n" for user, item, time in early + late)
    tables = source(
        csv(events),
        csv("id,country\n" + users, "users.csv", user_id="id", features={"country": Feature("categorical")}),
        csv(
            "id,brand,name\n" + items,
            "items.csv",
            item_id="id",
            features={"brand": Feature("categorical"), "words": Feature("text", "name")},
        ),
    )
    split = config.Split(test_fraction=0.4, allow_few=True)
    built = build(tables, config.Config(split=split))
    ids = built.items["item_id"].to_pylist()

    def codes(table: Any, name: str) -> dict[str, Any]:
        return dict(zip(ids, table[name].to_pylist(), strict=True))

    evaluated, published = built.info.evaluated, built.info.published
    assert evaluated.item_features[0].values == ("old", "other")
    assert published.item_features[0].values == ("old", "other", "new", "rare")
    assert codes(built.items, "brand") == dict(zip(sorted(ids), [1, 1, 2, 2, 1, 0, 0, 0, 0], strict=True))
    assert codes(built.published_items, "brand") == dict(zip(sorted(ids), [1, 1, 2, 2, 1, 3, 3, 4, 0], strict=True))
    assert (evaluated.item_features[1].values, published.item_features[1].values) == (
        ("plain", "thing"),
        ("plain", "thing", "fresh"),
    )
    assert (evaluated.user_features[0].values, published.user_features[0].values) == (("AB",), ("AB", "XX"))
    assert built.published_users["country"].to_pylist() == [1] * 9 + [2]

    full = build(tables, config.Config(split=split, features=config.Features(max_vocabulary=1))).info
    assert full.evaluated.item_features[0].values == ("old",)
    assert full.published.item_features[0].values == ("old", "new")  # a full vocabulary still takes what is new


def test_schemas_of_the_files_and_sizes_of_the_vocabularies(
    build: Callable[..., Built], csv: Callable[..., config.Table], tmp_path: Any
) -> None:
    built = build(tables(csv, make_data(1)), config.Config(features=config.Features(max_vocabulary=2)))
    folder = str(tmp_path / "features1")
    found = histories.read_table(folder, schema.HISTORIES_DIR).schema
    assert found.names == schema.HISTORIES.names
    for field, expected in zip(found, schema.HISTORIES, strict=True):
        assert getattr(field.type, "value_type", field.type) == getattr(expected.type, "value_type", expected.type)
    found = histories.read_table(folder, schema.REJECTED_DIR).schema
    assert [(field.name, field.type) for field in found] == [(field.name, field.type) for field in schema.REJECTED]
    types = {field.name: str(field.type) for field in histories.read_table(folder, schema.ITEMS_DIR).schema}
    assert {
        key: types[key] for key in ("item_index", "item_id", "title", "train_count", "first_seen", "year", "popularity")
    } == {
        "item_index": "int32",
        "item_id": "string",
        "title": "string",
        "train_count": "int32",
        "first_seen": "int64",
        "year": "float",
        "popularity": "float",
    }
    assert types["genres"].startswith("list<element: int32")
    assert [path.rsplit("/", 1)[1] for path in storage.list_files(folder + "/users")] == ["part-00000.parquet"]
    sizes = {feature.name: feature.size for feature in built.info.evaluated.item_features + built.info.evaluated.user_features}
    assert sizes == {"genres": 3, "words": 3, "year": 1, "popularity": 1, "mean_rating": 1, "sex": 3, "kilos": 1}


@pytest.mark.slow
def test_partitioning_changes_nothing(
    build: Callable[..., Built], csv: Callable[..., config.Table], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiny pieces, more partitions and files."""
    data = make_data(7)
    whole = content(build(tables(csv, data)))
    monkeypatch.setattr("recsys.features.parquet.ROWS_PER_FILE", 20)
    monkeypatch.setattr("recsys.features.read.MOST_BYTES", 2500)
    monkeypatch.setattr("recsys.features.pipeline.partitions_of", lambda context: 3)
    divided = content(build(tables(csv, data)))
    for folder in ("histories", "users", "items", "published/items"):
        assert len(storage.list_files(str(tmp_path / "features2" / folder))) > 1
    assert divided == whole


def test_several_files_are_read_in_order_of_name(
    build: Callable[..., Built], csv: Callable[..., config.Table], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All timestamps are equal, so that only the order in the source decides."""
    folder = tmp_path / "many files [x] ü"
    folder.mkdir()
    for number in range(12):
        rows = "".join(f"u{user},i{number * 10 + row},1,5\n" for row in range(10) for user in (1, 2))
        (folder / f"part-{number:02d}.csv").write_text("user,item,rating,time\n" + rows)
    table = config.Table(str(folder), user_id="user", item_id="item", rating="rating", timestamp="time")
    monkeypatch.setattr("recsys.features.read.MOST_BYTES", 60)
    built = build(source(table), config.Config(split=config.Split(method="none")))
    assert built.history("u2") == [f"i{number}" for number in range(120)]


@pytest.mark.slow
def test_a_changed_test_event_moves_nothing_of_the_training_part(
    build: Callable[..., Built], csv: Callable[..., config.Table]
) -> None:
    data = make_data(3)
    unique = [event for history in oracle.histories(data[0]).values() for event in history]
    data = (unique, data[1].splitlines()[0] + "\n" + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in unique), data[2], data[3])
    options = config.Config(split=config.Split(method="leave-one-out"))
    before = build(tables(csv, data), options)
    ordered = oracle.histories(data[0])
    last = {user: history[-1] for user, history in ordered.items() if len(history) > 2}
    lines = data[1].splitlines()
    for user, (_, item, rating, time) in last.items():
        place = lines.index(f"{user},{item},{rating},{time}")
        unseen = next(f"i{number}" for number in range(33) if f"i{number}" not in [event[1] for event in ordered[user]])
        lines[place] = f"{user},{unseen},0.5,{time + 1000}"
    changed = (data[0], "\n".join(lines) + "\n", data[2], data[3])
    after = build(tables(csv, changed, "changed-"), options)
    assert after.items.to_pylist() == before.items.to_pylist()
    assert after.users.to_pylist() == before.users.to_pylist()
    assert after.info.evaluated == before.info.evaluated
    train_before = before.histories.head(before.histories.train_length)
    train_after = after.histories.head(after.histories.train_length)
    for field in dataclasses.fields(train_before):
        np.testing.assert_array_equal(getattr(train_before, field.name), getattr(train_after, field.name))
    assert not np.array_equal(before.histories.items, after.histories.items)
    assert after.info.published != before.info.published
