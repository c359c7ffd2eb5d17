"""Columns of a source table are parsed as Python's own types would parse them, however a batch mixes the values."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.features import values

TEXTS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.sampled_from(
        ["", " ", " 7", "+7", "-0", "007", "1e3", ".5", "5.", "1.5", "0x10", "1_000", "NaN", "inf", "1e999", "٣", "a7"]
    ),
    st.text(max_size=5),
)


def is_number(text: str) -> bool:
    """What Python's float takes, but for words, underscores, hexadecimal and foreign digits."""
    try:
        return math.isfinite(float(text)) and re.fullmatch(r"[\s0-9.eE+-]+", text, re.ASCII) is not None
    except ValueError:
        return False


@given(st.lists(st.one_of(st.none(), TEXTS), max_size=30))
def test_numbers_and_integers(texts: list[str | None]) -> None:
    column = pa.array(texts, pa.string())
    assert values.numbers(column).to_pylist() == [
        float(text) if text is not None and is_number(text) else None for text in texts
    ]
    whole = [
        int(text)
        if text is not None and re.fullmatch(r"\s*[+-]?\d+\s*", text, re.ASCII) and -(2**63) <= int(text) < 2**63
        else None
        for text in texts
    ]
    assert values.integers(column).to_pylist() == whole
    assert values.missing(column).tolist() == [text is None or text.strip(" ") == "" for text in texts]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20), st.sampled_from([pa.int8(), pa.int16(), pa.int32()]))
def test_ids_that_do_not_fit_are_null(numbers: list[int], kind: pa.DataType) -> None:
    limit = 1 << kind.bit_width - 1
    fitting = [number if -limit <= number < limit else None for number in numbers]
    for column in (pa.array(numbers, pa.int64()), pa.array(map(str, numbers), pa.string())):
        found = values.identifiers(column, kind)
        assert (found.to_pylist(), found.type) == (fitting, kind)


@pytest.mark.parametrize(
    ("column", "unit", "expected"),
    [
        (pa.array(["99", "1e2", "100.9", "x", None, "-1", "4102444800"]), "s", [99, 100, 100, None, None, -1, 4102444800]),
        (pa.array(["1999", "2000"]), "ms", [1, 2]),
        (pa.array([1.5, float("nan"), None]), "s", [1, None, None]),
        (pa.array([5_999_999], pa.timestamp("us", "UTC")), "s", [5]),
        (pa.array([2], pa.date32()), "s", [172800]),
        (pa.array([2**62], pa.int64()), "ns", [2**62 // 10**9]),
        (pa.array(["1970-01-02", "1970-1-2 0:0", " 1970-01-01T00:00:01.9Z ", "1970-01-01 00:00:01 +01:30"]), "iso8601",
         [86400, 86400, 1, -5399]),
        (pa.array(["1970-06-01 12:00:00 Europe/Paris", "1970-01-01 00:00:00 Nowhere/At_all", "2021-02-29", "1970", "", None]),
         "iso8601", [151 * 86400 + 11 * 3600, None, None, None, None, None]),
        (pa.array(["0001-01-01", "9999-12-31"]), "iso8601", [-62135596800, 253402214400]),
        (pa.array([2], pa.timestamp("s")), "iso8601", [2]),
    ],
)  # fmt: skip
def test_seconds(column: pa.Array, unit: str, expected: list[Any]) -> None:
    found, in_range = values.seconds(column, unit)
    inside = np.array([second is not None and 0 <= second < values.LATEST for second in expected])
    np.testing.assert_array_equal(in_range, inside)
    assert [second for second, kept in zip(found.to_pylist(), inside, strict=True) if kept] == [
        second for second, kept in zip(expected, inside, strict=True) if kept
    ]
    assert [second is None for second in found.to_pylist()] == [second is None for second in expected]


def test_bytes_that_are_no_text_are_replaced() -> None:
    damaged = pa.array([b"\xff", b"\xc3\xa9", None]).view(pa.string())
    found = values.decoded(pa.RecordBatch.from_arrays([damaged, pa.array([1, 2, 3])], names=["id", "n"]))
    assert found.to_pydict() == {"id": ["�", "é", None], "n": [1, 2, 3]}
    assert values.undecodable(found["id"]).tolist() == [True, False, False]
