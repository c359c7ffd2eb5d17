"""The whole method knows nothing of what comes after: whatever that is, scores and weights are the same."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.config import Config
from recsys.contract import histories
from recsys.contract.features_info import read_info
from recsys.methods import blend, blending
from recsys.methods.cnn import Network, read_encoder
from recsys.training import hardware, packing, train
from tests.methods.matrices import WEIGHTS, logits_of
from tests.support import chains, write_features

ITEMS = 40
futures = st.integers(0, 2**32 - 1).map(np.random.default_rng)


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return histories.read(write_features(tmp_path_factory.mktemp("all"), chains(), ITEMS, test=3))


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A network with weights of every part, none of them zero."""
    features = write_features(tmp_path_factory.mktemp("features"), chains(), ITEMS, test=3)
    config, info = Config(), read_info(features)
    encoder = read_encoder(features, info.evaluated)
    setting = train.Setting(config, features, info, hardware.choose(config.training))
    model = train.build(setting, info.evaluated, encoder)
    model.item_known.assign(np.ones(ITEMS + 1, np.float32))
    model.set_periods(packing.day_counts(features, lambda block: block.head(block.train_length)))
    assert len(np.unique(model.periods)) > 1
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(random.normal(size=variable.shape) * 0.2)
    return Network(model, encoder)


def with_other_events(data, first, random):
    """The same histories with other items, ratings and times from `first` on in each."""
    later = np.arange(len(data.items)) - np.repeat(data.offsets[:-1], data.lengths) >= np.repeat(first, data.lengths)
    items, ratings, times = data.items.copy(), data.ratings.copy(), data.timestamps.copy()
    items[later] = random.integers(1, ITEMS + 1, later.sum())
    ratings[later] = random.normal(size=later.sum())
    times[later] += random.integers(0, 10**8, later.sum())
    return dataclasses.replace(data, items=items, ratings=ratings, timestamps=times)


@pytest.mark.parametrize("over_time", [False, True])
@settings(max_examples=15, deadline=None)
@given(random=futures)
def test_the_future_of_a_history_moves_no_score_of_its_past(everything, network, over_time, random):
    cut = np.minimum(random.integers(0, 12, len(everything)), everything.lengths)
    scores = []
    for data in (everything, with_other_events(everything, cut, random)):
        past = data.head(cut)
        method = blend.Blend(network, blend.count(past, ITEMS, 0, over_time), WEIGHTS)
        scores.append(np.stack(method.top(past, ITEMS)))
    np.testing.assert_array_equal(*scores)


@settings(max_examples=5, deadline=None)
@given(random=futures)
@pytest.mark.slow
def test_test_events_move_no_weight_of_the_blend(everything, network, random):
    weights = []
    for data in (everything, with_other_events(everything, everything.valid_length, random)):
        counts = blend.count(data.head(data.train_length), ITEMS, seed=0, over_time=True)
        weights.append(blending.tune(network, counts, data, ITEMS, seed=0))
    assert weights[0] == weights[1]


def test_the_past_does_move_the_scores(everything, network):
    changed = with_other_events(everything, np.zeros(len(everything)), np.random.default_rng(1))
    assert not np.array_equal(logits_of(network, everything), logits_of(network, changed))
