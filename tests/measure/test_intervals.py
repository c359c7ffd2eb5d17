from __future__ import annotations

import numpy as np
import pytest

from recsys.measure.intervals import Interval, paired_interval, paired_intervals


def test_agrees_with_the_plain_loop() -> None:
    random = np.random.default_rng(1)
    first, second = random.random(200), random.random(200) - 0.05
    means = [(first - second)[random.integers(0, 200, 200)].mean() for _ in range(4000)]
    found = paired_interval(first, second, resamples=4000)
    assert found.difference == pytest.approx((first - second).mean())
    np.testing.assert_allclose([found.low, found.high], np.quantile(means, [0.025, 0.975]), atol=0.006)


def test_covers_the_true_mean_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        found = paired_interval(random.exponential(1, 100), np.full(100, 0.5), resamples=300, seed=trial)
        covered += found.low <= 0.5 <= found.high
    assert 0.88 <= covered / 200 <= 0.99


def test_the_same_seed_gives_the_same_and_columns_do_not_depend_on_each_other() -> None:
    differences = np.random.default_rng(2).normal(0.1, 1, (3000, 3))
    together = paired_intervals(differences, 500, seed=5)
    assert together == paired_intervals(differences, 500, seed=5)
    assert together != paired_intervals(differences, 500, seed=6)
    alone = paired_intervals(differences[:, 1:2], 500, seed=5)[0]
    assert (alone.low, alone.high) == pytest.approx((together[1].low, together[1].high))


def test_clear_differences_are_significant_and_none_is_not() -> None:
    values = np.random.default_rng(3).random(500)
    assert paired_interval(values + 0.1, values).significant
    assert paired_interval(values, values) == Interval(0.0, 0.0, 0.0, 500)
    assert not paired_interval(values, values).significant
    assert paired_intervals(np.zeros((0, 2))) == [Interval(0.0, 0.0, 0.0, 0)] * 2


@pytest.mark.parametrize(("users", "enough"), [(1, False), (9, False), (10, True)])
def test_a_few_users_prove_nothing(users: int, enough: bool) -> None:
    found = paired_interval(np.full(users, 0.5), np.zeros(users))
    assert (found.low, found.high) == (0.5, 0.5) and found.significant == enough
