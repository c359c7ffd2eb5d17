"""The blend against its formula, and the choice of its weights."""

import numpy as np
import pytest

from recsys import histories
from recsys.recommend import blend
from recsys.recommend.blend import Blend, Weights
from tests.support import chains, write_features

ITEMS = 40


class Noise:
    """A scorer that knows nothing, differently for each user."""

    name = "noise"

    def score(self, context):
        random = np.random.default_rng(len(context.items))
        return random.normal(size=(len(context), ITEMS + 1)).astype(np.float32)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return histories.read(write_features(tmp_path_factory.mktemp("features"), chains(users=150), ITEMS))


def brute_force(events):
    """Transition counts in plain loops: {(before, after): Σ .7^(lag - 1)}, divided by the sum of the row."""
    counts = np.zeros((ITEMS + 1, ITEMS + 1))
    for user in range(len(events)):
        items = events.items[events.offsets[user] : events.offsets[user + 1]]
        for after in range(len(items)):
            for lag in range(1, min(blend.WINDOW, after) + 1):
                counts[items[after - lag], items[after]] += blend.DECAY ** (lag - 1)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1e-9)


def test_scores_are_the_formula(everything):
    train = everything.head(everything.train_length)
    counts = blend.count(train, ITEMS, seed=0)
    nobody = histories.Histories(
        np.array([999], np.int32),
        np.zeros(2, np.int64),
        *(np.zeros(0, t) for t in (np.int32, np.float32, np.int64)),
        *2 * (np.zeros(1, np.int32),),
    )
    context = histories.concatenate([train.rows(np.arange(7)), nobody])
    weights = Weights(transitions=0.5, trend=0.25, cold_trend=0.75)
    found = Blend(Noise(), counts, weights).score(context)
    logits = Noise().score(context)[:, 1:].astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    rows = brute_force(train)
    for user in range(8):
        items = context.items[context.offsets[user] : context.offsets[user + 1]][::-1][: blend.WINDOW]
        following = sum((blend.DECAY ** (lag + 1) * rows[item] for lag, item in enumerate(items)), np.zeros(ITEMS + 1))
        if len(items):
            expected = log_p[user] + 0.5 * np.log(following[1:] + blend.FLOOR) + 0.25 * counts.trend[1:]
        else:
            expected = log_p[user] + 0.75 * counts.trend[1:]
        np.testing.assert_allclose(found[user, 1:], expected, rtol=1e-4, atol=1e-4)


def test_trend_tells_rising_from_falling_items():
    items = np.array([1] * 60 + [2] * 40 + [2] * 20, np.int32)
    events = histories.Histories(
        np.arange(120, dtype=np.int32),
        np.arange(121),
        items,
        np.ones(120, np.float32),
        np.arange(120),
        *2 * (np.ones(120, np.int32),),
    )
    trend = blend.trend(events, 3)
    assert trend[2] > 0 > trend[1]
    assert trend[3] == pytest.approx(0, abs=0.2)
    assert not blend.trend(histories.EMPTY, 3).any()


def test_weights_help_a_network_that_knows_nothing(everything):
    counts = blend.count(everything.head(everything.train_length), ITEMS, seed=0)
    weights = blend.tune(Noise(), counts, everything, ITEMS, seed=0)
    assert weights.transitions == max(blend.GRID["transitions"])


def test_weights_leave_a_network_alone_that_knows_everything(everything):
    class Oracle:
        name = "oracle"

        def score(self, context):
            scores = np.zeros((len(context), ITEMS + 1), np.float32)
            rows = np.searchsorted(everything.user_index, context.user_index)
            scores[np.arange(len(context)), everything.items[everything.offsets[rows] + everything.train_length[rows]]] = 50.0
            return scores

    counts = blend.count(everything.head(everything.train_length), ITEMS, seed=0)
    assert blend.tune(Oracle(), counts, everything, ITEMS, seed=0) == Weights()


def test_counts_of_a_large_data_set_come_from_a_sample(everything, monkeypatch):
    monkeypatch.setattr(blend, "MAX_EVENTS", 200)
    sampled = blend.count(everything, ITEMS, seed=0)
    monkeypatch.undo()
    whole = blend.count(everything, ITEMS, seed=0)
    assert 0 < sampled.transitions.nnz < whole.transitions.nnz
    np.testing.assert_array_equal(sampled.trend, whole.trend)
