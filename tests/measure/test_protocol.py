from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.contract.features_info import SplitInfo
from recsys.contract.histories import Histories
from recsys.errors import RecsysError
from recsys.measure import protocol
from recsys.measure.targets import decisive_from, find_targets
from tests.measure.helpers import histories, random_histories


@dataclasses.dataclass
class Recorder(protocol.MatrixScorer):
    """Scores by a fixed table and remembers what it was shown."""

    table: np.ndarray
    name: str = "recorder"
    shown: dict[int, list[int]] = dataclasses.field(default_factory=dict)

    def score(self, context: Histories) -> np.ndarray:
        for row, user in enumerate(context.user_index):
            self.shown[int(user)] = context.items[context.offsets[row] : context.offsets[row + 1]].tolist()
        return self.table[context.user_index].copy()


def _recorder(users: int, items: int, seed: int = 0) -> Recorder:
    return Recorder(np.random.default_rng(seed).integers(0, 5, (users + 1, items + 1)).astype(np.float32))


def test_contexts_and_targets_of_each_part() -> None:
    data = histories([[1, 2, 3, 4], [5, 6], [7, 8, 9]], train=[2, 2, 0], valid=[3, 2, 1])
    valid, test = _recorder(3, 9), _recorder(3, 9)
    first = protocol.evaluate(valid, data, find_targets(data, "valid"), 9)
    second = protocol.evaluate(test, data, find_targets(data, "test"), 9)
    assert valid.shown == {1: [1, 2], 3: []}  # user 3 is cold, and evaluated all the same
    assert test.shown == {1: [1, 2, 3], 3: [7]}
    assert first.targets.items.tolist() == [3, 7]
    assert second.targets.items.tolist() == [4, 8, 9]
    assert second.targets.user_index.tolist() == [1, 3]
    assert second.targets.context_lengths.tolist() == [3, 1]


def test_targets_that_the_user_has_already_had_do_not_count() -> None:
    data = histories([[1, 2, 1], [3, 4, 4, 5], [6, 7]], train=[2, 1, 1], valid=[2, 2, 1])
    found = find_targets(data, "test", 10, 0)
    assert found.user_index.tolist() == [2, 3]
    assert found.items.tolist() == [5, 7]
    assert found.offsets.tolist() == [0, 1, 2]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), block=st.integers(1, 40))
def test_seen_items_are_never_ranked_and_blocks_change_nothing(seed: int, block: int) -> None:
    data = random_histories(30, 15, seed)
    result = protocol.evaluate(_recorder(30, 15), data, find_targets(data, "test"), 15, block=block)
    for row, top in zip(result.targets.rows, result.top, strict=True):
        start = data.offsets[row]
        seen = set(data.items[start : start + data.valid_length[row]].tolist())
        listed = [int(item) for item in top if item]
        assert not seen & set(listed)
        assert len(listed) == len(set(listed)) == min(20, 15 - len(seen))
    again = protocol.evaluate(_recorder(30, 15), data, find_targets(data, "test"), 15)
    np.testing.assert_array_equal(result.top, again.top)


def test_an_oracle_reaches_the_top_and_the_hidden_future_changes_no_list() -> None:
    data = random_histories(20, 30, 3)
    oracle = np.zeros((21, 31), np.float32)
    oracle[data.user_index, data.items[data.offsets[1:] - 1]] = 1
    assert protocol.evaluate(Recorder(oracle), data, find_targets(data, "test"), 30).per_user["ndcg@5"].mean() == 1
    moved = dataclasses.replace(data, items=data.items.copy())
    moved.items[data.offsets[1:] - 1] = 31
    one = protocol.evaluate(_recorder(20, 31), data, find_targets(data, "test"), 31)
    two = protocol.evaluate(_recorder(20, 31), moved, find_targets(moved, "test"), 31)
    np.testing.assert_array_equal(one.top, two.top)


def test_targets_before_a_moment_are_left_out_unless_there_are_no_others() -> None:
    data = histories([[1, 2, 3], [4, 5, 6]], train=[1, 1], valid=[3, 3])
    moved = dataclasses.replace(data, timestamps=np.array([0, 10, 20, 0, 5, 9], np.int64))
    found = find_targets(moved, "valid", 10, 0, since=10)
    assert found.user_index.tolist() == [1]
    assert found.items.tolist() == [2, 3]
    assert found.context_lengths.tolist() == [1]
    assert find_targets(moved, "valid", 10, 0, since=20).items.tolist() == [3]
    assert find_targets(moved, "valid", 10, 0, since=99).items.tolist() == [2, 3, 5, 6]


def test_the_first_quarter_of_the_validation_span_does_not_decide() -> None:
    assert decisive_from(SplitInfo("global-time", valid_from=100, test_from=200)) == 125
    assert decisive_from(SplitInfo("leave-one-out")) is None


def test_users_are_drawn_once_with_the_seed() -> None:
    data = random_histories(50, 10, 1)
    first, again = (find_targets(data, "test", 20, seed=4) for _ in range(2))
    assert len(first.rows) == 20
    assert first.rows.tolist() == again.rows.tolist() == sorted(first.rows)
    assert first.rows.tolist() != find_targets(data, "test", 20, seed=5).rows.tolist()


def test_scores_of_the_wrong_shape_and_empty_parts() -> None:
    data = histories([[1, 2, 3]])
    with pytest.raises(RecsysError, match="expected"):
        protocol.evaluate(_recorder(1, 4), data, find_targets(data, "test"), 3)
    nothing = histories([[1, 2, 3]], train=[3], valid=[3])
    result = protocol.evaluate(_recorder(1, 3), nothing, find_targets(nothing, "test"), 3)
    assert result.top.shape == (0, 20)
    assert result.per_user["ndcg@10"].shape == (0,)
