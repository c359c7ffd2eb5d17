"""The permutation test against all permutations there are, the normal distribution, and Holm's example by hand."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from recsys.measure import membership


def difference(values: np.ndarray, chosen: list[int]) -> float:
    inside = np.isin(np.arange(len(values)), chosen)
    return float(values[inside].mean() - values[~inside].mean())


@pytest.mark.parametrize("size", [3, 9])
def test_it_is_the_share_of_all_groups_that_differ_as_much(size: int) -> None:
    values = np.array([0, 0, 0, 0, 0.3, 0, 0.5, 1, 0, 0.2, 0, 0.4])
    observed = difference(values, list(range(size)))
    every = [difference(values, list(chosen)) for chosen in itertools.combinations(range(12), size)]
    expected = np.mean(np.abs(every) >= abs(observed) - 1e-12)
    assert membership.p_values(values, [size], [observed])[0] == pytest.approx(expected, abs=0.02)


def test_large_groups_by_the_normal_distribution_agree_with_permutations(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.where(np.random.default_rng(0).random(1500) < 0.3, 1.0, 0.0)
    permuted = membership.p_values(values, [600], [0.04])
    monkeypatch.setattr(membership, "LARGE", 500)
    assert membership.p_values(values, [600], [0.04])[0] == pytest.approx(permuted[0], abs=0.02)
    assert membership.p_values(np.ones(1500), [600], [0.0]).tolist() == [1.0]


def test_holm_as_by_hand() -> None:
    found = membership.holm(np.array([0.04, 0.01, 0.9, 0.02]))
    np.testing.assert_allclose(found, [0.08, 0.04, 0.9, 0.06])
    assert membership.holm(np.zeros(0)).tolist() == membership.p_values(np.ones(3), [], []).tolist() == []
