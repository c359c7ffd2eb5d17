from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import RecsysError
from recsys.measure import ranking

NONE = np.zeros(0, np.int64)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    users=st.integers(0, 6),
    items=st.integers(1, 30),
    k=st.integers(1, 35),
    levels=st.integers(1, 8),
)
def test_agrees_with_sorting_and_never_ranks_what_was_seen(seed: int, users: int, items: int, k: int, levels: int) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, levels, (users, items + 1)).astype(np.float32)  # few levels: many ties
    seen = random.random((users, items + 1)) < random.random()
    rows, cols = np.nonzero(seen)
    top, values = ranking.top_k(scores.copy(), rows, cols, k)
    assert top.dtype == np.int32
    assert values.dtype == np.float32
    for user in range(users):
        left = sorted((i for i in range(1, items + 1) if not seen[user, i]), key=lambda i: (-scores[user, i], i))[:k]
        assert top[user].tolist() == left + [0] * (k - len(left))
        assert values[user, : len(left)].tolist() == [scores[user, i] for i in left]
        assert np.isneginf(values[user, len(left) :]).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_scores_of_a_diverged_model_are_refused(bad: float) -> None:
    scores = np.zeros((2, 5), np.float32)
    scores[1, 3] = bad
    with pytest.raises(RecsysError, match="finite"):
        ranking.top_k(scores, NONE, NONE, 2)


def test_the_padding_column_is_ignored_whatever_it_holds() -> None:
    scores = np.array([[np.nan, 1, 2]], np.float32)
    assert ranking.top_k(scores, NONE, NONE, 2)[0].tolist() == [[2, 1]]


def test_blocks_stay_within_their_bytes() -> None:
    assert ranking.block_rows(100) == 1024
    for n_items in (10**5, 10**6, 10**8):
        rows = ranking.block_rows(n_items)
        assert rows == 1 or rows * (n_items + 1) * 4 <= ranking.BLOCK_BYTES
