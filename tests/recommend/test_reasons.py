"""Why an item is recommended, checked against scores whose reasons are known."""

import numpy as np

from recsys.contract.histories import Histories
from recsys.recommend import show
from recsys.recommend.describe_user import Event, Recommendation, UserView
from recsys.recommend.readable import Item
from recsys.recommend.reasons import LAST, because_of, without_each


def past(items):
    count = np.array([len(items)], np.int32)
    items = np.array(items, np.int32)
    return Histories(
        np.array([3], np.int32), np.array([0, len(items)]), items, items / 10, items.astype(np.int64) * 100, count, count
    )


def additive(weights):
    """Scores to which each past item adds what `weights` says, by past item and recommended item."""

    def scores(context, items):
        rows = [context.items[start:end] for start, end in zip(context.offsets, context.offsets[1:], strict=False)]
        return np.array([[sum(weights.get((int(p), int(i)), 0.0) for p in row) for i in items] for row in rows], np.float32)

    return scores


def test_the_reasons_are_the_events_that_add_most():
    weights = {(1, 50): 0.2, (2, 50): 0.7, (3, 50): 0.5, (2, 60): -1.0, (3, 60): 0.001}
    found = because_of(additive(weights), past([1, 2, 3]), np.array([50, 60], np.int32))
    assert [event for event, _ in found[0]] == [1, 2]
    np.testing.assert_allclose([share for _, share in found[0]], [1 - np.exp(-0.7), 1 - np.exp(-0.5)], rtol=1e-5)
    assert found[1] == [], "what lowers a score, or hardly adds to it, is no reason"


def test_only_the_latest_events_are_looked_at_and_equal_ones_are_the_later():
    events = list(range(1, LAST + 6))
    weights = {(event, 99): 5.0 if event <= 5 else 1.0 for event in events}
    (found,) = because_of(additive(weights), past(events), np.array([99], np.int32))
    assert [event for event, _ in found] == [LAST + 4, LAST + 3]


def test_a_user_without_events_has_no_reasons_and_nothing_is_scored():
    assert because_of(None, past([]), np.array([1, 2], np.int32)) == [[], []]


def test_a_single_event_is_the_reason_and_nothing_is_scored():
    assert because_of(None, past([7]), np.array([1, 2], np.int32)) == [[(0, None)], [(0, None)]]


def test_of_a_single_event_no_share_is_told():
    item = Item("i1", None, {})
    row = Recommendation(Item("i2", "Two", {}), 1, 0.5, 100.0, ((item, None),))
    view = UserView("r", "u", {}, 1, (Event(item, 0, None),), (row,))
    said = show.user_as_text(view, 80)
    assert "recommendations, due to the only event and to what is popular:" in said and said.endswith("because of i1")
    assert show.user_as_json(view)["recommendations"][0]["because_of"][0]["share"] is None


def test_one_event_is_left_out_at_a_time_with_all_that_belongs_to_it():
    found = without_each(past([7, 8, 9]), 2)
    assert [list(found.items[a:b]) for a, b in zip(found.offsets, found.offsets[1:], strict=False)] == [
        [7, 8, 9],
        [7, 8],
        [7, 9],
    ]
    assert list(found.timestamps) == [100 * item for item in found.items] and set(found.user_index) == {3}
