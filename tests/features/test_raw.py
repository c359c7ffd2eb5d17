"""Raw values of declared features, from text and from the types of Parquet."""

from __future__ import annotations

import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from recsys.config import Feature
from recsys.features import raw


def values(column: pa.Array, **options: Any) -> list[Any]:
    batch = pa.RecordBatch.from_arrays([column], names=["c0"])
    found = raw.raw_values(batch, raw.Declared("f", Feature(**options), ("c0",)))
    assert found.type == raw.type_of(Feature(**options))
    return found.to_pylist()


def test_numbers() -> None:
    texts = pa.array(["1.5", " 2 ", "x", "", None, "1e400", "-3.5e38", "NaN", "3e38"])
    assert values(texts, kind="numeric") == [1.5, 2.0, None, None, None, None, None, None, 3e38]
    assert values(pa.array([1, None], pa.int16()), kind="numeric") == [1.0, None]
    assert values(pa.array([Decimal("1.25"), None]), kind="numeric") == [1.25, None]
    assert values(pa.array([0.5, float("nan"), float("inf")]), kind="numeric") == [0.5, None, None]
    years = pa.array(["Heat (1995)", "Heat (1995)", "No year", None])
    assert values(years, kind="numeric", pattern=r"\((\d{4})\)$") == [1995.0, 1995.0, None, None]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([" a ", "a", "", "  ", None, "b|c"]), [["a"], ["a"], [], [], None, ["b|c"]]),
        (pa.array([1, 20, None], pa.int64()), [["1"], ["20"], None]),
        (pa.array([1.0, 2.5, None]), [["1.0"], ["2.5"], None]),
        (pa.array([True, False, None]), [["true"], ["false"], None]),
        (pa.array([b"x\xff", None], pa.binary()), [["x�"], None]),
        (pa.array([datetime.date(2020, 1, 2), None]), [["2020-01-02"], None]),
        (pa.array([{"a": 1}, None]), [["{'a': 1}"], None]),
    ],
)
def test_one_value(column: pa.Array, expected: list[Any]) -> None:
    assert values(column, kind="categorical") == expected


def test_several_values() -> None:
    assert values(pa.array(["b|a| b ||c", "", None]), kind="multi") == [["b", "a", "c"], [], None]
    assert values(pa.array(["b, a", "x|y"]), kind="multi", separator=",") == [["b", "a"], ["x|y"]]
    lists = pa.array([[" b ", "a", None, "b"], [], None], pa.list_(pa.string()))
    assert values(lists, kind="multi") == [["b", "a"], [], None]
    assert values(pa.array([[1, 2, 1]], pa.list_(pa.int32())), kind="multi") == [["1", "2"]]
    assert values(lists.cast(pa.large_list(pa.string())), kind="multi") == [["b", "a"], [], None]


def test_words() -> None:
    texts = pa.array(["The Matrix: the 2nd, a ÜBER_film!", "नमस्ते दुनिया", "x y", None])
    assert values(texts, kind="text") == [["the", "matrix", "2nd", "über_film"], ["नमस्ते", "दुनिया"], [], None]
    assert values(pa.array([["Big City", "big"], None]), kind="text") == [["big", "city"], None]


def test_flags() -> None:
    columns = {"c0": pa.array(["1", "0", "1.0", None, "x"]), "c1": pa.array([True, False, True, None, True])}
    batch = pa.RecordBatch.from_pydict(columns)
    declared = raw.Declared("genres", Feature("multi", flags=("Drama", "War")), ("c0", "c1"))
    assert raw.raw_values(batch, declared).to_pylist() == [["Drama", "War"], [], ["Drama", "War"], [], ["War"]]
