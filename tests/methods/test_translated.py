"""An earlier run's method asked about the users and items of a later one."""

import dataclasses

import numpy as np
import pytest

from recsys.contract.histories import Histories
from recsys.measure import ranking
from recsys.methods.translated import Translated

OLD_ITEMS = 5
TO_OLD = np.array([0, 3, 0, 1, 5, 2], np.int32)
"""Of the items here: 1 was 3, 2 is new, 3 was 1, 4 was 5, 5 was 2. What was 4 is not there any more."""


@dataclasses.dataclass
class Ascending:
    """Prefers the lowest index; keeps what it was asked."""

    name: str = "ascending"
    asked: list = dataclasses.field(default_factory=list)

    def block_users(self, n_items):
        return 7

    def top(self, context, k):
        self.asked.append(context)
        scores = np.tile(-np.arange(OLD_ITEMS + 1, dtype=np.float32), (len(context), 1))
        return ranking.top_k(scores, *ranking.seen(context), k)


def block(*histories, users=(1, 2)):
    lengths = [len(one) for one in histories]
    items = np.array([item for one in histories for item in one], np.int32)
    none = np.zeros(len(histories), np.int32)
    return Histories(
        np.array(users[: len(histories)], np.int32),
        np.concatenate(([0], np.cumsum(lengths))),
        items,
        items.astype(np.float32) * 10,
        items.astype(np.int64) * 100,
        none,
        none,
    )


def test_lists_are_in_the_present_numbers_without_what_is_gone_or_was_had():
    method = Ascending()
    items, scores = Translated(method, TO_OLD, np.array([0, 4, 0], np.int32)).top(block([3], [2, 1]), 5)
    assert items.tolist() == [[5, 1, 4, 0, 0], [3, 5, 4, 0, 0]]
    assert scores.tolist() == [[-2, -3, -5, -np.inf, -np.inf], [-1, -2, -5, -np.inf, -np.inf]]


def test_the_method_sees_its_own_numbers_and_nothing_of_what_it_does_not_know():
    method = Ascending()
    Translated(method, TO_OLD, np.array([0, 4, 0], np.int32)).top(block([2, 3, 4], [2]), 1)
    (asked,) = method.asked
    assert asked.user_index.tolist() == [4, 0]
    assert asked.offsets.tolist() == [0, 2, 2]
    assert asked.items.tolist() == [1, 5]
    assert asked.ratings.tolist() == [30, 40] and asked.timestamps.tolist() == [300, 400]


@pytest.mark.parametrize("k", [1, 3, 5])
def test_of_the_same_items_it_gives_the_same_lists(k):
    same = np.arange(OLD_ITEMS + 1, dtype=np.int32)
    wrapped = Translated(Ascending(), same, np.arange(3, dtype=np.int32))
    context = block([3], [5, 1])
    for found, wanted in zip(wrapped.top(context, k), Ascending().top(context, k), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert (wrapped.name, wrapped.block_users(9)) == ("published", 7)
