"""Events divided by user and gathered into histories, without Spark: what must hold however few events a partition has."""

from __future__ import annotations

import pickle
from collections import Counter, defaultdict
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import Split
from recsys.features import chunks, clean, entities, gather, rare, sequences, split
from recsys.features.gather import Part
from recsys.sources.pieces import CORRUPT, ORDER
from tests.features import oracle

LAYOUT = clean.Layout(
    {"c0": "user", "c1": "item", "c2": "rating", "c3": "time"},
    ",",
    "c0",
    "c1",
    "c2",
    "c3",
    pa.string(),
    pa.string(),
    "s",
    False,
)
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 9).map("u{}".format),
        st.integers(0, 9).map("i{}".format),
        st.integers(1, 10).map(float),
        st.integers(0, 20),
    ),
    min_size=1,
    max_size=60,
)


def gathered(events: Sequence[oracle.Event], partitions: int) -> list[list[Part]]:
    """The parts of each partition; the rows come in batches of seven, in reverse."""
    texts = [[str(value) for value in column] for column in zip(*events, strict=True)]
    place = [np.zeros(len(events), np.int32), np.zeros(len(events), np.int64), np.arange(len(events))]
    columns = dict(zip((*LAYOUT.columns, *ORDER), [*texts, *place], strict=True))
    rows = pa.RecordBatch.from_pydict({**columns, CORRUPT: pa.nulls(len(events), pa.string())})
    batches = [rows.slice(start, 7) for start in range(0, len(rows), 7)][::-1]
    found: dict[int, list[Part]] = defaultdict(list)
    for number, part in gather.divide(iter(batches), LAYOUT, partitions):
        found[number].append(part)
    return [list(gather.gather(iter(found[number]), 1, LAYOUT)) for number in range(partitions)]


def of_kind(parts: list[Part], kind: str) -> list[bytes]:
    return [value for found, value in parts if found == kind]


def without_rare(partitions: list[list[Part]], fewest: int) -> list[list[Part]]:
    counts: dict[int, list[bytes]] = defaultdict(list)
    for parts in partitions:
        for number, value in rare._counts(iter(parts), 3):
            counts[number].append(value)
    found = [chunks.unpack(ids)["item_id"] for values in counts.values() for ids in rare._frequent(iter(values), fewest)]
    frequent: Any = SimpleNamespace(value=pa.concat_arrays(found))
    return [list(rare._without(iter(parts), frequent, 1, LAYOUT)) for parts in partitions]


@pytest.mark.parametrize("method", ["leave-one-out", "global-time"])
@settings(deadline=None, max_examples=50)
@given(events=EVENTS, partitions=st.integers(1, 6), fewest=st.integers(1, 4), least=st.integers(1, 4), size=st.integers(1, 9))
def test_histories_and_catalogues(
    method: Any, events: list[oracle.Event], partitions: int, fewest: int, least: int, size: int
) -> None:
    expected = oracle.histories(events, fewest)
    cut = split.Cut(Split(method=method), least, *((7, 14) if method == "global-time" else ()))
    users, items = sorted(expected), sorted({event[1] for history in expected.values() for event in history})
    shared: list[Any] = [SimpleNamespace(value=pa.array(ids, pa.string())) for ids in (users, items)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "EVENTS_PER_CHUNK", size)
        found = without_rare(gathered(events, partitions), fewest)
    histories, seen, trained = {}, set(), Counter[str]()
    for parts in found:
        for chunk in map(chunks.unpack_chunk, of_kind(parts, gather.HISTORIES)):
            batch = entities.seen_items(chunk, cut)
            number, real = pa.int64(), pa.float64()
            assert batch.schema.types == [pa.string(), number, number, *[number, real, real] * 2]
            seen |= set(batch["item_id"].to_pylist())
            trained.update(dict(zip(batch["item_id"].to_pylist(), batch["train_count"].to_pylist(), strict=True)))
        for file, (kind, value) in sequences._placed(iter(parts), *shared, cut, 3):
            for row in chunks.unpack(value).to_pylist() if kind == gather.HISTORIES else ():
                assert (row["user_index"] - 1) // 3 == file
                histories[users[row["user_index"] - 1]] = row
    assert seen == set(items)
    assert histories.keys() == expected.keys()
    counts = Counter[str]()
    for user, history in expected.items():
        ids = [items[item - 1] for item in histories[user]["items"]]
        assert list(zip(ids, histories[user]["ratings"], histories[user]["timestamps"], strict=True)) == [
            event[1:] for event in history
        ]
        lengths = oracle.lengths(history, method, 0.2, 0.1, 7, 14) if len(history) >= least else (len(history),) * 2
        assert (histories[user]["train_length"], histories[user]["valid_length"]) == lengths
        counts.update(event[1] for event in history[: lengths[0]] if len(history) >= least)
    assert +trained == counts
    aside = [row for parts in found for value in of_kind(parts, gather.ASIDE) for row in chunks.unpack(value)["reason"]]
    assert len(aside) + sum(map(len, expected.values())) == len(events)


@pytest.mark.parametrize("rows", [slice(0, 0), slice(1, 2), slice(1, 5), slice(None)])
def test_what_is_packed_arrives_as_it_was(rows: slice) -> None:
    numbers = {name: np.array([0, 0, 7, 7, 7, 9], np.int32 if name == ORDER[0] else np.int64) for name in ORDER}
    batch = pa.RecordBatch.from_pydict({"user": list("aabbbc"), **numbers})[rows]
    content = pickle.dumps(chunks.Packed(batch))
    assert chunks.unpack(pickle.loads(content)).equals(batch)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1 << 33)), max_size=40))
def test_the_order_is_that_of_comparing(rows: list[tuple[int, int]]) -> None:
    columns = [np.array([row[place] for row in rows], np.int64) for place in range(2)]
    assert chunks.order_by(columns).tolist() == sorted(range(len(rows)), key=lambda number: rows[number])


@pytest.mark.parametrize("alternating", [True, False])
def test_events_of_one_moment_stay_in_source_order_however_their_pieces_arrive(alternating: bool) -> None:
    """Two tasks read pieces of a file, in turns or one half each; the later task is the faster."""
    blocks = [[0, 2], [1, 3]] if alternating else [[0, 1], [2, 3]]
    tasks = []
    for own in blocks:
        items = [f"b{block}r{row}" for block in own for row in range(2)]
        place = [np.zeros(4, np.int32), np.repeat(np.array(own) * 64, 2), np.tile(np.arange(2), 2)]
        columns = [["u"] * 4, items, ["1"] * 4, ["5"] * 4, *place, pa.nulls(4, pa.string())]
        batch = pa.RecordBatch.from_pydict(dict(zip((*LAYOUT.columns, *ORDER, CORRUPT), columns, strict=True)))
        tasks.append([part for _, part in gather.divide(iter([batch]), LAYOUT, 1)])
    parts = list(gather.gather(iter(tasks[1] + tasks[0]), 1, LAYOUT))
    (chunk,) = map(chunks.unpack_chunk, of_kind(parts, gather.HISTORIES))
    found = chunk.item_ids.take(pa.array(chunk.items)).to_pylist()
    assert found == [f"b{block}r{row}" for block in range(4) for row in range(2)]


def test_what_python_cannot_hold_is_set_aside_and_shown() -> None:
    """Milliseconds declared as seconds are times after the year 9999; an id may have bytes that are no UTF-8."""
    layout = clean.Layout(
        {"c0": "user", "c1": "item", "c3": "time"}, None, "c0", "c1", None, "c3", pa.string(), pa.string(), "s", False
    )
    times = pa.array([1_700_000_000_000, 1_700_000_000, 5], pa.timestamp("s")).cast(pa.timestamp("us", "UTC"))
    users = pa.array([b"u1", b"u2", b"\xff"]).view(pa.string())
    place = [np.zeros(3, np.int32), np.zeros(3, np.int64), np.arange(3)]
    columns = dict(zip((*layout.columns, *ORDER), [users, ["a", "b", "c"], times, *place], strict=True))
    rows = pa.RecordBatch.from_pydict({**columns, CORRUPT: pa.nulls(3, pa.string())})
    divided = (part for _, part in gather.divide(iter([rows]), layout, 1))
    parts = list(gather.gather(divided, 1, layout))
    (aside,) = map(chunks.unpack, of_kind(parts, gather.ASIDE))
    assert aside["reason"].to_pylist() == ["timestamp_out_of_range", "undecodable_text"]
    assert aside["row"].to_pylist() == [
        '{"user":"u1","item":"a","time":"<value out of range: 1700000000000000000>"}',
        '{"user":"�","item":"c","time":"1970-01-01 00:00:05.000000"}',
    ]
    (histories,) = map(chunks.unpack_chunk, of_kind(parts, gather.HISTORIES))
    assert (histories.users.to_pylist(), histories.timestamps.tolist()) == (["u2"], [1_700_000_000])


def test_events_that_wait_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns that are not needed do not wait, and much text of unusable rows is passed on before the rows are many."""
    monkeypatch.setattr(gather, "_BYTES", 10_000)
    layout = clean.Layout(
        {"c0": "u", "c1": "i", "c2": "review"}, ",", "c0", "c1", None, None, pa.string(), pa.string(), "s", False
    )
    place = [np.zeros(100, np.int32), np.zeros(100, np.int64), np.arange(100)]

    def batches(user: str) -> Any:
        columns = dict(zip((*layout.columns, *ORDER), [[user] * 100, ["a"] * 100, ["long " * 99] * 100, *place], strict=True))
        return iter([pa.RecordBatch.from_pydict({**columns, CORRUPT: pa.nulls(100, pa.string())})] * 2)

    assert [kind for _, (kind, _) in gather.divide(batches("u"), layout, 1)] == [gather.EVENTS]
    assert [kind for _, (kind, _) in gather.divide(batches(""), layout, 1)] == [gather.ASIDE] * 2
