"""Popularity at moments of the past: against plain counts, and blind to what came later."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.contract import histories
from recsys.methods import trends
from recsys.methods.trends import Trends

DAY = 86_400


def of(items, days, lengths=None):
    """Histories of the given lengths, by default of one event each."""
    offsets = np.concatenate(([0], np.cumsum(lengths if lengths is not None else np.ones(len(items), int))))
    none = np.zeros(len(offsets) - 1, np.int32)
    times, ratings = np.asarray(days, np.int64) * DAY, np.ones(len(items), np.float32)
    return histories.Histories(
        np.arange(len(none), dtype=np.int32), offsets, np.asarray(items, np.int32), ratings, times, none, none
    )


def test_recent_shares_follow_the_half_life():
    events = of([1] * 8 + [2] * 4, [0] * 8 + [10] * 4)
    found = Trends.count(events, 3, np.array([0, 10]) * DAY).recent[3.0]
    share = np.array([0.5, 8.5, 0.5, 0.5]) / 10
    np.testing.assert_allclose(found[0], np.log((np.array([0, 8, 0, 0]) + 20 * share) / (8 + 20)), rtol=1e-5)
    share, old = np.array([0.5, 8.5, 4.5, 0.5]) / 14, 8 * 2 ** (-10 / 3)
    np.testing.assert_allclose(found[1], np.log((np.array([0, old, 4, 0]) + 20 * share) / (old + 4 + 20)), rtol=1e-5)


def test_days_since_the_first_and_the_last_event_of_an_item():
    found = Trends.count(of([1, 2, 1, 2, 3], [5, -20, 8, -3, 8]), 4, np.array([-20, 6, 8]) * DAY)
    np.testing.assert_allclose(np.expm1(found.age[:, 1:]), [[0, 0, 0, 0], [1, 26, 0, 0], [3, 28, 0, 0]], rtol=1e-5)
    np.testing.assert_allclose(np.expm1(found.idle[:, 1:]), [[0, 0, 0, 0], [1, 9, 0, 0], [0, 11, 0, 0]], rtol=1e-5)


@pytest.mark.parametrize("moments", [trends.last(histories.EMPTY), trends.moments_of(histories.EMPTY, 3)])
def test_without_events_nothing_is_more_popular_than_anything_else(moments):
    found = Trends.count(histories.EMPTY, 3, moments)
    assert all((of == 0).all() for of in (found.age, found.idle))
    np.testing.assert_allclose([found.share, found.recent[3.0]], np.full((2, 1, 4), np.log(0.25)), rtol=1e-6)


def test_the_last_moment_knows_what_the_last_one_alone_knows():
    random = np.random.default_rng(0)
    events = of(random.integers(1, 9, 500), random.integers(0, 300, 500))
    whole, alone = (Trends.count(events, 8, moments) for moments in (trends.moments_of(events, 8), trends.last(events)))
    assert len(whole.moments) == trends.MOMENTS + 1 and len(alone.moments) == 1
    np.testing.assert_allclose(whole.popular(7.0)[:, -1:], alone.popular(7.0), rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_what_came_after_a_moment_is_not_known_then(seed):
    random = np.random.default_rng(seed)
    events = of(random.integers(1, 6, 60), random.integers(0, 100, 60))
    moments = trends.moments_of(events, 5)
    chosen = random.integers(len(moments))
    past = events.rows(np.flatnonzero(events.timestamps <= moments[chosen]))
    found, expected = (Trends.count(some, 5, moments[: chosen + 1]) for some in (events, past))
    for half_life in trends.HALF_LIVES:
        np.testing.assert_array_equal(found.popular(half_life), expected.popular(half_life))
    whole = Trends.count(events, 5, moments)
    np.testing.assert_array_equal(whole.popular(7.0)[:, : chosen + 1], found.popular(7.0))


def test_users_belong_to_the_last_moment_that_is_not_after_their_last_event():
    counted = Trends.count(of([1, 1, 1, 1], [0, 10, 20, 30]), 1, np.array([0, 10, 20]) * DAY)
    assert Trends.count(histories.EMPTY, 1, np.array([20]) * DAY).when(of([1], [30])) is None
    context = of([1, 1, 1, 1, 1, 1], [-5, 0, 9, 3, 10, 99], [1, 1, 1, 2, 0, 1])
    assert list(counted.when(context)) == [0, 0, 0, 1, 2, 2]


@pytest.mark.parametrize(("room", "expected"), [(10, [0, 50, 100, 150, 200, 250, 300, 350, 400, 450, 499]), (7, [499])])
def test_a_large_catalogue_has_fewer_moments(room, expected, monkeypatch):
    events = of(np.ones(500), np.arange(500))
    monkeypatch.setattr(trends, "MOMENTS_BYTES", 4 * 9 * 101 * room)
    assert list(trends.moments_of(events, 100) // DAY) == expected
