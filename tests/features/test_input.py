"""Bad rows are counted and set aside, bad tables are refused with a message, and unusual but valid ones are read correctly."""

from __future__ import annotations

import dataclasses
import gzip
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import config
from recsys.errors import ConfigError, DataError
from recsys.features import clean, codes
from recsys.features.read import describe
from recsys.sources import pieces
from tests.building import Built, source

HEAD = "user,item,rating,time\n"
GOOD = "".join(f"u{user},i{item},{item % 5 + 1},{100 + item}\n" for user in range(1, 5) for item in range(1, 5))
NONE = config.Config(split=config.Split(method="none"))


def test_every_reason_is_counted_and_the_rows_are_kept(build: Callable[..., Built], csv: Callable[..., config.Table]) -> None:
    bad = {
        ",i1,3,100": "missing_user_id",
        "u1,,3,100": "missing_item_id",
        "u1,i7,3,": "missing_timestamp",
        "u1,i7,3,yesterday": "bad_timestamp",
        "u1,i7,3,NaN": "bad_timestamp",
        "u1,i7,3,-5": "timestamp_out_of_range",
        "u1,i7,3,978300760000": "timestamp_out_of_range",
        "u1,i7,,100": "missing_rating",
        "u1,i7,good,100": "bad_rating",
        "u1,i7,NaN,100": "bad_rating",
        "u1,i7,Infinity,100": "bad_rating",
        "u1,i7,1e99,100": "bad_rating",
        "u1,i7,3": "malformed_row",
        "u1,i7,3,100,5": "malformed_row",
        "u1,i1,5,900": "duplicate",
    }
    built = build(source(csv(HEAD + GOOD + "".join(row + "\n" for row in bad))), NONE)
    assert built.reasons() == sorted(("interactions", reason, row) for row, reason in bad.items())
    counts = built.info.rejected["interactions"]
    assert counts["bad_rating"] == 4
    assert sum(counts.values()) == len(bad)
    assert built.info.events == 16
    assert built.rejected["file"][0].as_py().endswith("events.csv")
    assert built.history("u1") == ["i1", "i2", "i3", "i4"]
    assert counts["malformed_row"] == 2


def test_rejected_rows_of_users_and_items(build: Callable[..., Built], csv: Callable[..., config.Table]) -> None:
    users = csv("id,age\nu1,20\nu1,30\n,5\nu9,7\n", "users.csv", user_id="id", features={"age": config.Feature("categorical")})
    items = csv('id,name\ni1,"a ""b"", c"\ni2,"two\nlines"\ni3\ni4,\n', "items.csv", item_id="id", title="name")
    built = build(source(csv(HEAD + GOOD), users, items), NONE)
    assert built.reasons() == [
        ("items", "malformed_row", "i3"),
        ("users", "duplicate", "u1,30"),
        ("users", "missing_user_id", ",5"),
    ]
    titles = dict(zip(built.items["item_id"].to_pylist(), built.items["title"].to_pylist(), strict=True))
    assert titles == {"i1": 'a "b", c', "i2": "two\nlines", "i3": None, "i4": None}
    assert built.users.to_pylist()[0] == {"user_index": 1, "user_id": "u1", "age": 1}
    assert built.users["user_id"].to_pylist() == ["u1", "u2", "u3", "u4", "u9"]


HALVES = """\
"u
8",i1,3,100
u1,"i
u9,i9,3,100
x",3,100
"""
"""Two events with line breaks inside quotes; a line of the second looks like an event of its own."""


def test_line_breaks_inside_quotes_are_read_if_that_is_declared(
    build: Callable[..., Built], csv: Callable[..., config.Table]
) -> None:
    events = dataclasses.replace(csv(HEAD + GOOD + HALVES), multiline=True)
    built = build(source(events), NONE)
    assert built.info.events == 18 and built.reasons() == []
    assert built.users["user_id"].to_pylist() == ["u\n8", "u1", "u2", "u3", "u4"]
    assert "i\nu9,i9,3,100\nx" in built.history("u1")


def test_open_quotes_are_an_error_until_it_is_declared_what_they_are(
    build: Callable[..., Built], csv: Callable[..., config.Table]
) -> None:
    with pytest.raises(DataError, match=r"events\.csv: 3 rows .*multiline = true.*multiline = false.*quoting = false"):
        build(source(csv(HEAD + GOOD + HALVES)), NONE)
    torn = csv(HEAD + GOOD + 'u1,"i9,3,100\nu1,5" disk,3,100\n')
    built = build(source(dataclasses.replace(torn, multiline=False)), NONE)
    assert built.reasons() == [("interactions", "malformed_row", 'u1,"i9,3,100')]
    assert '5" disk' in built.history("u1")


def test_too_many_bad_rows_are_an_error_with_an_example(build: Callable[..., Built], csv: Callable[..., config.Table]) -> None:
    rows = "".join(f"u{n},i{n},1,{978300760 + n}000\n" for n in range(40))
    with pytest.raises(DataError) as caught:
        build(source(csv(HEAD + GOOD + rows)))
    for words in ("events.csv", "40 of 56 rows", "timestamp_out_of_range 40", "978300760000", "'ms'", "max_rejected = 0.5"):
        assert words in str(caught.value)
    assert build(source(csv(HEAD + GOOD + rows), timestamp_unit="ms"), NONE).info.events == 52


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (HEAD, "no usable event"),
        (HEAD + "u1,i1,1,5\nu1,i2,1,6\n", "one user only"),
        (HEAD + "u1,i1,1,5\nu2,i1,1,6\n", "one item only"),
    ],
)
def test_nothing_to_learn(build: Callable[..., Built], csv: Callable[..., config.Table], text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        build(source(csv(text)))


def test_ids_as_text_stay_as_they_are(build: Callable[..., Built], csv: Callable[..., config.Table]) -> None:
    text = HEAD + '007,i 1,1,1\n7,"a,b",1,2\n 7,é,1,3\n9007199254740993,x,1,4\n'
    built = build(source(csv("\ufeff" + text)), NONE)
    assert set(built.users["user_id"].to_pylist()) == {"007", "7", " 7", "9007199254740993"}
    assert set(built.items["item_id"].to_pylist()) == {"i 1", "a,b", "é", "x"}
    assert built.info.user_id_type == "string"


def test_ids_as_integers(build: Callable[..., Built], csv: Callable[..., config.Table]) -> None:
    big = 2**53 + 1
    text = HEAD + f"{big},-3,1,1\n{2**63 - 1},{big},1,2\n10,7,1,3\n9,7,1,4\n1.5,7,1,5\n{2**63},7,1,6\n9,x,1,7\n"
    built = build(source(csv(text), id_type="integer"), NONE)
    assert built.users["user_id"].to_pylist() == [9, 10, big, 2**63 - 1]
    assert set(built.items["item_id"].to_pylist()) == {-3, 7, big}
    assert built.users.schema.field("user_id").type == pa.int64()
    assert built.info.rejected["interactions"] == {"bad_user_id": 2, "bad_item_id": 1}


def test_parquet_keeps_its_types(build: Callable[..., Built], tmp_path: Path) -> None:
    big = 2**53 + 1
    events = pa.table(
        {
            "who": pa.array([1, 1, 2, None], pa.int32()),
            "what": pa.array([big, big + 1, big, big]),
            "when": pa.array([3, 2, 1, 1], pa.timestamp("ms")).cast(pa.timestamp("us")),
        }
    )
    items = pa.table({"what": [big, 5], "tags": [["b", "a", "a"], None], "price": [1.5, float("nan")]})
    pq.write_table(events, tmp_path / "events.parquet")
    pq.write_table(items, tmp_path / "items.parquet")
    features = {"tags": config.Feature("multi"), "price": config.Feature("numeric")}
    built = build(
        source(
            config.Table(str(tmp_path / "events.parquet"), user_id="who", item_id="what", timestamp="when"),
            None,
            config.Table(str(tmp_path / "items.parquet"), item_id="what", features=features),
        ),
        NONE,
    )
    assert (built.info.user_id_type, built.info.item_id_type) == ("int32", "int64")
    assert built.items["item_id"].to_pylist() == [big, big + 1, 5]
    assert built.items["tags"].to_pylist() == [[1, 2], [], []]
    assert built.items["price"].to_pylist() == [0.0, 0.0, 0.0]
    assert built.users["user_id"].to_pylist() == [1, 2]
    assert built.info.has_ratings is False
    assert set(built.histories.ratings.tolist()) == {1.0}
    assert built.info.rejected["interactions"] == {"missing_user_id": 1}
    assert "mean_rating" not in built.items.column_names


def test_float_ids_are_refused(build: Callable[..., Built], tmp_path: Path) -> None:
    pq.write_table(pa.table({"u": [1.0, 2.0], "i": ["a", "b"], "t": [1, 2]}), tmp_path / "e.parquet")
    with pytest.raises(DataError, match=r"'u' is of type double"):
        build(source(config.Table(str(tmp_path / "e.parquet"), user_id="u", item_id="i", timestamp="t")))


@pytest.mark.parametrize(
    ("unit", "values"),
    [
        ("s", ["100", "1e2", "100.7"]),
        ("ms", ["100000", "100999", "100000.0"]),
        ("us", ["100000000", "100999999", "1.00e8"]),
        ("ns", ["100000000000", "100999999999", "100000000000"]),
        ("iso8601", ["1970-01-01T00:01:40", "1970-01-01 00:01:40.9Z", "1970-01-01T02:01:40+02:00"]),
    ],
)
def test_units_of_time(csv: Callable[..., config.Table], unit: str, values: list[str]) -> None:
    table = csv(HEAD + "".join(f"u,i,1,{value}\n" for value in values))
    rows = describe(table, "interactions", 1)
    (batch,) = pieces.read(rows.groups[0][0], rows.form)
    events = clean.events(batch, clean.layout(rows, pa.string(), pa.string(), unit))
    assert (events.timestamp.to_pylist(), events.usable.tolist()) == ([100] * 3, [True] * 3)


def test_other_encodings_and_delimiters(build: Callable[..., Built], csv: Callable[..., config.Table]) -> None:
    fields: dict[str, Any] = {"user_id": "u", "item_id": "i", "rating": "r", "timestamp": "t"}
    text = 'u1::Caf\xe9 "x::1::5\nu2::M\xfcll\x80::2::6\n'.encode("latin-1")
    table = csv(text, delimiter="::", encoding="cp1252", quoting=False, header=False, names=("u", "i", "r", "t"), **fields)
    assert set(build(source(table), NONE).items["item_id"].to_pylist()) == {'Café "x', "Müll€"}


def test_text_that_is_not_in_its_encoding_is_set_aside(build: Callable[..., Built], tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text(HEAD + GOOD)
    (tmp_path / "in" / "b.csv").write_bytes(HEAD.encode() + b"u1,\xe9,1,5\n")
    table = config.Table(str(tmp_path / "in"), user_id="user", item_id="item", rating="rating", timestamp="time")
    assert build(source(table), NONE).info.rejected["interactions"] == {"undecodable_text": 1}


@pytest.mark.parametrize("name", ["cut.csv.gz", "cut.parquet"])
def test_a_file_that_was_cut_off_is_named(build: Callable[..., Built], tmp_path: Path, name: str) -> None:
    rows = [(f"u{n % 50}", f"i{n * 7919 % 1000}", n % 5, n) for n in range(20000)]
    path = tmp_path / name
    if name.endswith("gz"):
        whole = gzip.compress((HEAD + "".join(",".join(map(str, row)) + "\n" for row in rows)).encode())
        path.write_bytes(whole[: len(whole) * 2 // 3])
    else:
        columns = dict(zip(("user", "item", "rating", "time"), map(list, zip(*rows, strict=True)), strict=True))
        pq.write_table(pa.table(columns), path, use_dictionary=False)
        content = bytearray(path.read_bytes())
        content[len(content) // 4 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 4)
        path.write_bytes(content)
    table = config.Table(str(path), user_id="user", item_id="item", rating="rating", timestamp="time")
    with pytest.raises(DataError, match=name.replace(".", r"\.")) as caught:
        build(source(table))
    assert "org.apache" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "feature", "words"),
    [
        ("title", config.Feature("text"), "taken"),
        ("popularity", config.Feature("numeric"), "taken"),
    ],
)
def test_features_that_cannot_be(name: str, feature: config.Feature, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        codes.check({name: feature}, "items")


def test_numbers_that_float32_cannot_hold_are_missing(build: Callable[..., Built], csv: Callable[..., config.Table]) -> None:
    """u1 to u4 train; u9, which has no event, has a price far beyond their spread."""
    prices = ["1", "3", "1.7e308", "-3.5e38", "3e38"]
    users = "id,price,large\n" + "".join(f"u{n},{price},{n}e37\n" for n, price in zip((1, 2, 3, 4, 9), prices, strict=True))
    features = {"price": config.Feature("numeric"), "large": config.Feature("numeric")}
    built = build(source(csv(HEAD + GOOD), csv(users, "users.csv", user_id="id", features=features)), NONE)
    price, large = built.info.evaluated.user_features
    assert (price.mean, price.std) == (2.0, 1.0)
    assert built.users["price"].to_pylist()[:4] == [-1.0, 1.0, 0.0, 0.0]
    assert large.mean == pytest.approx(2.5e37)
    assert built.users["large"].to_pylist() == pytest.approx([-1.3416, -0.4472, 0.4472, 1.3416, 5.8138], abs=1e-4)
    assert all(math.isfinite(value) for value in built.users["price"].to_pylist())


def test_a_number_far_outside_of_what_was_fitted_stays_finite(
    build: Callable[..., Built], csv: Callable[..., config.Table]
) -> None:
    """(3e38 - mean) / 1e-5 is more than float32 holds."""
    users = "id,price\nu1,0.00001\nu2,0.00003\nu9,3e38\n"
    table = csv(users, "users.csv", user_id="id", features={"price": config.Feature("numeric")})
    assert build(source(csv(HEAD + GOOD), table), NONE).users["price"].to_pylist() == [-1.0, 1.0, 0.0, 0.0, 0.0]


def test_large_ratings_have_finite_moments(build: Callable[..., Built], csv: Callable[..., config.Table]) -> None:
    text = HEAD + GOOD + "u5,i1,3.3e38,101\nu5,i2,-3.3e38,102\nu5,i3,3.3e38,103\nu5,i4,3.5e38,104\n"
    built = build(source(csv(text)), NONE)
    assert built.info.rejected["interactions"] == {"bad_rating": 1}
    assert built.info.evaluated.rating_mean == pytest.approx(3.3e38 / 19)
    assert built.info.evaluated.rating_std == pytest.approx(3.3e38 * math.sqrt(3 / 19 - 1 / 19**2))
    assert all(math.isfinite(value) for value in built.items["mean_rating"].to_pylist())


def test_features_that_nobody_has(build: Callable[..., Built], csv: Callable[..., config.Table]) -> None:
    features = {"sex": config.Feature("categorical"), "words": config.Feature("text"), "age": config.Feature("numeric")}
    for users in ("id,sex,words,age\n", "id,sex,words,age\nu1,,,\nu7,F,hello,3\n"):
        built = build(source(csv(HEAD + GOOD), csv(users, "users.csv", user_id="id", features=features)), NONE)
        assert [feature.values for feature in built.info.evaluated.user_features] == [(), (), None]
        assert set(built.users["sex"].to_pylist()) == {0}


def test_features_from_flags(build: Callable[..., Built], csv: Callable[..., config.Table]) -> None:
    items = csv(
        "id,Drama,War\ni1,1,0\ni2,0,0\ni3,1,1\ni4,,x\n",
        "items.csv",
        item_id="id",
        features={"genres": config.Feature("multi", flags=("Drama", "War"))},
    )
    built = build(source(csv(HEAD + GOOD), None, items), NONE)
    assert built.info.evaluated.item_features[0].values == ("Drama", "War")
    assert built.items["genres"].to_pylist() == [[1], [], [1, 2], []]


def test_users_with_few_events_are_not_evaluated_and_teach_nothing(
    build: Callable[..., Built], csv: Callable[..., config.Table]
) -> None:
    text = HEAD + GOOD + "v1,i9,1,1\nv1,i1,1,2\nv1,i2,1,3\n"
    split = config.Split(method="leave-one-out", allow_few=True)
    options = config.Config(split=split, features=config.Features(min_user_events=4))
    built = build(source(csv(text)), options)
    assert built.histories.train_length.tolist() == [2, 2, 2, 2, 3]
    assert built.histories.valid_length.tolist() == [3, 3, 3, 3, 3]
    counts = dict(zip(built.items["item_id"].to_pylist(), built.items["train_count"].to_pylist(), strict=True))
    assert counts == {"i1": 4, "i2": 4, "i3": 0, "i4": 0, "i9": 0}
    assert built.info.skipped_users == 1
    assert (built.info.train_events, built.info.valid_events, built.info.test_events, built.info.events) == (8, 4, 4, 19)
    with pytest.raises(DataError, match="min_user_events"):
        build(source(csv(text)), config.Config(features=config.Features(min_user_events=99)))
