"""The split by time: its moments against an oracle and in Spark, and what happens if a part is too small."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys import config
from recsys.errors import DataError
from recsys.features import moments, split
from recsys.features.chunks import Chunk, unpack_chunk
from tests.building import Built, source

FRACTIONS = st.integers(1, 99).map(lambda percent: percent / 100)
NEW_YEAR_2099 = 4_070_908_800


def oracle(times: list[int], valid_fraction: float, test_fraction: float) -> tuple[int, int]:
    """Tries every moment."""

    def closest(events: list[int], fraction: float, end: int) -> int:
        wanted = Fraction(str(fraction)) * len(events)
        distances = {moment: abs(sum(time >= moment for time in events) - wanted) for moment in [*events, end]}
        candidates = [moment for moment in distances if moment > min(times)]
        return min(candidates, key=lambda moment: (distances[moment], -moment))

    test_from = closest(times, test_fraction, max(times) + 1)
    return closest([time for time in times if time < test_from], valid_fraction, test_from), test_from


def find(times: list[int], valid: float, test: float, spans: int, passes: list[tuple[int, int]] | None = None) -> Any:
    """`moments.find` with histograms of at most that many spans."""

    def histogram(first: int, last: int) -> np.ndarray:
        if passes is not None:
            passes.append((first, last))
        inside = np.array([time for time in times if first <= time <= last])
        place = (inside - first) // ((last - first) // spans + 1)
        parts = [inside[place == number] for number in np.unique(place)]
        return np.array([(part.min(), part.max(), len(part)) for part in parts])

    return moments.find(histogram, min(times), max(times), valid, test)


@given(
    st.lists(st.one_of(st.integers(0, 30), st.integers(0, 2**32)), min_size=1, max_size=60),
    FRACTIONS,
    FRACTIONS,
    st.integers(2, 9),
)
def test_the_moments_are_those_of_the_oracle(times: list[int], valid: float, test: float, spans: int) -> None:
    found = find(times, valid, test, spans)
    assert found == oracle(times, valid, test)
    assert min(times) < found[0] <= found[1]


def test_the_shares_come_closest_to_the_fractions() -> None:
    assert find(list(range(100)), 0.1, 0.2, 7) == (72, 80)


def test_of_two_moments_equally_close_the_later_is_taken() -> None:
    assert find(list(range(10)), 0.5, 0.25, 7)[1] == 8  # 3 or 2 of 10 events for 2.5
    assert find(list(range(15)), 0.5, 0.1, 7)[1] == 14  # 0.1 * 15 is 1.5, although 0.1 is no binary number


def test_a_single_moment_is_all_training() -> None:
    assert find([50] * 9, 0.1, 0.2, 7) == (51, 51)


def test_all_of_1970_to_2100_takes_four_passes_at_most() -> None:
    passes: list[tuple[int, int]] = []
    times = np.random.default_rng(0).integers(0, 4_102_444_800, 5000).tolist()
    find([0, *times], 0.1, 0.2, moments.SPANS, passes)
    assert len(passes) <= 4


def test_partitions_are_counted_in_few_spans_and_together_in_no_more() -> None:
    times = np.random.default_rng(0).integers(0, 10_000, 300)
    parts = [times[times < 5000], times[times >= 5000], times[:5]]
    counted = [moments.count([chunk_of(part.tolist())], 1, 8) for part in parts]
    assert all(1 < len(part) // 24 <= 8 for part in counted)
    whole = moments.overview(counted, 8)
    assert 1 < len(whole) <= 8
    assert whole[:, 2].sum() == 305
    assert all(last < first for last, first in zip(whole[:-1, 1], whole[1:, 0], strict=True))
    for first, last, events in whole:
        inside = np.concatenate(parts)
        inside = inside[(inside >= first) & (inside <= last)]
        assert (inside.min(), inside.max(), len(inside)) == (first, last, events)


@pytest.mark.parametrize("years", [1, 20])
def test_each_moment_takes_a_pass_of_its_own_and_no_more(years: int) -> None:
    """Parts in the place of an RDD, which count how often they are read."""
    times = np.random.default_rng(0).integers(0, years * 31_536_000, 100_000)
    parts, passes = [chunk_of(times[:30_000].tolist()), chunk_of(times[30_000:].tolist())], []

    class Counted:
        def coalesce(self, most: int) -> Counted:
            passes.append(most)
            return self

        def mapPartitions(self, work: Callable[..., Any]) -> SimpleNamespace:
            return SimpleNamespace(collect=lambda: list(work(iter(parts))))

    whole = moments.overview([moments.count([part], 1, moments.COARSE) for part in parts], moments.COARSE)
    histogram = moments.spans_of(cast("Any", Counted()), 1, whole)
    found = moments.find(histogram, int(times.min()), int(times.max()), 0.1, 0.2)
    assert found == find(times.tolist(), 0.1, 0.2, 1 << 16)
    assert len(passes) == 2


def test_more_partitions_have_fewer_spans_each() -> None:
    assert moments.share(1) == moments.COARSE
    assert moments.share(10_000) * 10_000 <= moments.MERGED * moments.SPANS < (moments.share(10_000) + 1) * 10_000
    assert moments.share(1 << 40) == 2


def test_only_users_who_are_learned_from_are_counted() -> None:
    chunk = chunk_of([1, 10, 2, 20, 3])  # three events and two
    assert moments.overview([moments.count([chunk], 3, 9)], 9)[:, 0].tolist() == [1, 2, 3]
    assert moments.overview([moments.count([chunk], 4, 9), moments.count([], 1, 9)], 9).shape == (0, 3)


def events(times: list[int]) -> str:
    """One event for each time, by ten users in turn, each with a new item."""
    return "user,item,rating,time\n" + "".join(f"u{n % 10},i{n // 10},1,{time}\n" for n, time in enumerate(times))


def chunk_of(times: list[int]) -> Chunk:
    """Histories of two users with these events."""
    ordered = np.concatenate([np.sort(times[::2]), np.sort(times[1::2])])
    zeros = np.zeros(len(times), np.int32)
    offsets = np.array([0, (len(times) + 1) // 2, len(times)])
    return Chunk(pa.array(["a", "b"]), offsets, zeros, pa.array(["x"]), zeros.astype(np.float32), ordered, zeros)


@pytest.mark.parametrize(
    "times",
    [
        [*range(1_600_000_000, 1_600_086_039, 360), NEW_YEAR_2099],
        [1_600_000_000 + n // 30 for n in range(240)],
        [1_600_000_000 + n**3 for n in range(240)],
        [5] * 240,
    ],
    ids=["one event in 2099", "many equal", "ever further apart", "all equal"],
)
@pytest.mark.parametrize(
    ("coarse", "spans", "merged"),
    [(moments.COARSE, moments.SPANS, 1), (2, 3, 1), (moments.COARSE, 3, 2), (3, 3, moments.MERGED)],
)
def test_spark_finds_the_same_moments(
    spark: Any, monkeypatch: pytest.MonkeyPatch, times: list[int], coarse: int, spans: int, merged: int
) -> None:
    for name, value in (("SPANS", spans), ("MERGED", merged)):
        monkeypatch.setattr(moments, name, value)
    parts = [chunk_of(times[start::3]) for start in range(3)]
    histories = spark.sparkContext.parallelize([part.pack() for part in parts], 2).map(unpack_chunk)
    whole = moments.overview((moments.count([part], 1, coarse) for part in parts), coarse)
    found = moments.find(moments.spans_of(histories, 1, whole), min(times), max(times), 0.1, 0.2)
    assert found == oracle(times, 0.1, 0.2)


def test_after_an_earlier_run_only_later_events_are_held_out() -> None:
    times = list(range(1000, 2000))
    histogram = counted(times)
    asked = config.Split(method="global-time", test_fraction=0.2, valid_fraction=0.25, min_events=1)
    found = split.prepare(histogram, asked, 1, 1000, 1999, since=1899)
    assert (found.valid_from, found.test_from, found.since) == (1960, 1980, 1899)
    assert split.prepare(histogram, asked, 1, 1000, 1999).since is None


@pytest.mark.parametrize(
    ("since", "most_new", "min_events", "used"),
    [(1899, 1.0, 20, True), (1899, 1.0, 21, False), (1899, 0.1, 1, True), (1899, 0.09, 1, False), (1999, 1.0, 0, False)],
    ids=["enough", "too few", "not too many", "too many", "nothing new"],
)
def test_too_few_or_too_many_later_events_are_split_as_if_there_were_no_earlier_run(
    since: int, most_new: float, min_events: int, used: bool
) -> None:
    times = list(range(1000, 2000))
    asked = config.Split(method="global-time", test_fraction=0.2, valid_fraction=0.25, min_events=min_events)
    found = split.prepare(counted(times), asked, 1, 1000, 1999, since, most_new)
    assert (found.since is not None) == used
    assert used or found == split.prepare(counted(times), asked, 1, 1000, 1999)


def test_a_night_whose_events_have_one_and_the_same_time_cannot_be_divided() -> None:
    times = [day * 86_400 for day in range(1, 11) for _ in range(100)]
    asked = config.Split(method="global-time", test_fraction=0.2, valid_fraction=0.1, min_events=5)
    found = split.prepare(counted(times), asked, 1, 86_400, 864_000, since=9 * 86_400)
    assert found == split.prepare(counted(times), asked, 1, 86_400, 864_000)


def test_with_nothing_held_out_it_is_known_since_when_events_are_new() -> None:
    found = split.prepare(counted(list(range(1000, 2000))), config.Split(method="none"), 1, 1000, 1999, since=1899)
    assert (found.valid_from, found.since, found.holds_out) == (None, 1899, False)


def counted(times: list[int]) -> moments.Histogram:
    """A histogram of these moments, a span each."""
    found = np.array(times)

    def histogram(first: int, last: int) -> np.ndarray:
        some, events = np.unique(found[(found >= first) & (found <= last)], return_counts=True)
        return np.stack([some, some, events], axis=1)

    return histogram


def test_an_event_in_2099_does_not_move_the_split(build: Callable[..., Built], csv: Callable[..., config.Table]) -> None:
    times = list(range(1_600_000_000, 1_600_000_239))
    built = build(source(csv(events([*times, NEW_YEAR_2099]))), config.Config(split=config.Split(min_events=19)))
    assert (built.info.train_events, built.info.valid_events, built.info.test_events) == (173, 19, 48)


def test_too_few_events_to_measure_are_an_error(build: Callable[..., Built], csv: Callable[..., config.Table]) -> None:
    table = source(csv(events([1_600_000_000 + n // 100 for n in range(240)])))
    with pytest.raises(DataError) as caught:
        build(table)
    for words in ("events.csv", "global-time", "40 test events", "0 validation events", "split.min_events = 20"):
        assert words in str(caught.value)
    for remedy in ("--split leave-one-out", "--split none", "split.allow_few=true"):
        assert remedy in str(caught.value)
    assert not build(table, config.Config(split=config.Split(method="none"))).info.warnings


def test_too_few_events_are_a_warning_where_that_is_allowed(
    build: Callable[..., Built], csv: Callable[..., config.Table]
) -> None:
    built = build(source(csv(events([5] * 240))), config.Config(split=config.Split(allow_few=True)))
    (warning,) = built.info.warnings
    assert "0 validation events and 0 test events" in warning
    assert any(warning in line for line in built.said)


def test_users_left_out_count_in_no_part(build: Callable[..., Built], csv: Callable[..., config.Table]) -> None:
    """Ten users with 24 events each, and 30 users with a single late event, who neither train nor are measured."""
    late = "".join(f"v{n},i0,1,1700000000\n" for n in range(30))
    text = events([1_600_000_000 + n // 10 for n in range(240)])
    options = config.Config(split=config.Split(min_events=50), features=config.Features(min_user_events=2))
    with pytest.raises(DataError, match="20 validation events and 50 test events"):
        build(source(csv(text + late)), options)
    options = config.Config(split=config.Split(min_events=20), features=config.Features(min_user_events=2))
    built = build(source(csv(text + late)), options)
    info = built.info
    assert (info.train_events, info.valid_events, info.test_events, info.skipped_users) == (170, 20, 50, 30)
    assert info.events == 270
