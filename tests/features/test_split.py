"""The moments of the global split."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from recsys.features.split import moments


def test_the_shares_come_closest_to_the_fractions() -> None:
    assert moments(dict.fromkeys(range(100), 1), 0.1, 0.2) == (72, 80)


def test_a_single_moment_is_all_training() -> None:
    assert moments({0: 50}, 0.1, 0.2) == (1, 1)


@given(st.dictionaries(st.integers(1, 200), st.integers(1, 1000)), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_training_is_never_empty(counts: dict[int, int], valid: float, test: float) -> None:
    counts[0] = 1
    valid_span, test_span = moments(counts, valid, test)
    assert 1 <= valid_span <= test_span <= max(counts) + 1
