"""The blend against its formula, and the choice of its weights."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from recsys.contract import histories
from recsys.errors import DamagedError, RecsysError
from recsys.measure import ranking
from recsys.methods import blend, blending, compiled, transitions, trends
from recsys.methods.blend import Blend
from recsys.methods.ease import Ease
from recsys.methods.tiles import GROUP, Tiles
from recsys.methods.transitions import Transitions, recent_events
from recsys.methods.weights import WEIGHTS_FILE, WITHOUT, Chosen, Weights, read_weights
from tests.methods.matrices import FromMatrix
from tests.support import chains, write_features

ITEMS = 40


class Noise(FromMatrix):
    """A scorer that knows nothing, differently for each user."""

    def score(self, context):
        random = np.random.default_rng(len(context.items))
        logits = random.normal(size=(len(context), ITEMS + 1)).astype(np.float32)
        logits[:, 0] = -np.inf
        return logits


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    return histories.read(write_features(tmp_path_factory.mktemp("features"), chains(users=150), ITEMS))


def items_of(events, user):
    return events.items[events.offsets[user] : events.offsets[user + 1]]


def brute_force(events):
    """Transition counts in plain loops: {(before, after): Σ .7^(lag - 1)}, divided by the sum of the row."""
    counts = np.zeros((ITEMS + 1, ITEMS + 1))
    for user in range(len(events)):
        items = items_of(events, user)
        for after in range(len(items)):
            for lag in range(1, min(blend.TRANSITIONS["window"], after) + 1):
                counts[items[after - lag], items[after]] += blend.TRANSITIONS["decay"] ** (lag - 1)
    return counts / np.maximum(counts.sum(1, keepdims=True), 1e-9)


@pytest.mark.parametrize("tiles", [Tiles.of(ITEMS), Tiles(ITEMS, rows=3, width=GROUP)])
def test_scores_are_the_formula(everything, tiles):
    train = everything.head(everything.train_length)
    counts = blend.count(train, ITEMS, seed=0)
    nobody = histories.Histories(
        np.array([999], np.int32),
        np.zeros(2, np.int64),
        *(np.zeros(0, t) for t in (np.int32, np.float32, np.int64)),
        *2 * (np.zeros(1, np.int32),),
    )
    context = histories.concatenate([train.rows(np.arange(7)), nobody])
    weights = Weights(
        few=4.0,
        many=9.0,
        transitions=0.5,
        transitions_many=1.5,
        taste=0.75,
        taste_many=0.25,
        recent=0.25,
        half_life=7.0,
        share=0.5,
        age=-0.5,
        idle=0.25,
        cold_recent=0.75,
        cold_half_life=30.0,
        cold_share=1.0,
        cold_age=-1.5,
        cold_idle=0.75,
    )
    items, values = Blend(Noise(ITEMS, tiles), counts, weights).top(context, ITEMS)
    logits = Noise(ITEMS).score(context)[:, 1:].astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    rows = brute_force(train)
    share = np.log((np.bincount(train.items, minlength=ITEMS + 1) + 0.5) / (len(train.items) + 0.5 * (ITEMS + 1)))[1:]
    liked = Ease.fit_one(train, ITEMS, blend.TASTE).score(context)
    moments = [train.timestamps[train.items == item] for item in range(1, ITEMS + 1)]
    age, idle = (np.log1p([(train.timestamps.max() - at(of)) / 86_400 for of in moments]) for at in (np.min, np.max))
    assert len({*np.clip(context.lengths[:7], 4, 9)}) > 2
    for user in range(8):
        last = items_of(context, user)[::-1][: blend.TRANSITIONS["window"]]
        taste = np.maximum(liked[user, 1:], 0) / np.maximum(liked[user, 1:], 0).sum()
        decay = blend.TRANSITIONS["decay"]
        following = sum((decay ** (lag + 1) * rows[item] for lag, item in enumerate(last)), np.zeros(ITEMS + 1))
        if len(last):
            place = np.clip(np.log(len(items_of(context, user)) / 4) / np.log(9 / 4), 0, 1)
            expected = log_p[user] + (0.5 + place) * np.log(following[1:] + compiled.FLOOR)
            expected += (0.75 - 0.5 * place) * np.log(taste + compiled.FLOOR)
            expected += 0.25 * counts.trends.recent[7.0][0, 1:] - 0.5 * share - 0.5 * age + 0.25 * idle
        else:
            expected = log_p[user] + 0.75 * counts.trends.recent[30.0][0, 1:] - share - 1.5 * age + 0.75 * idle
        listed = items[user][items[user] > 0]
        assert sorted({*listed, *items_of(context, user)}) == list(range(1, ITEMS + 1))
        np.testing.assert_allclose(values[user, : len(listed)], expected[listed - 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("tiles", [Tiles.of(ITEMS), Tiles(ITEMS, rows=3, width=GROUP)])
def test_scores_of_some_items_are_those_of_the_lists_and_seen_items_have_one_too(everything, tiles):
    weights = Weights(transitions=0.5, taste=0.75, recent=0.25, half_life=7.0)
    method, context = Blend(Noise(ITEMS, tiles), blend.count(everything, ITEMS, seed=0), weights), everything.rows(np.arange(7))
    items, values = method.top(context, ITEMS)
    found = method.scores_of(context, np.arange(ITEMS, 0, -1, dtype=np.int32))
    assert found.shape == (7, ITEMS) and np.isfinite(found).all()
    for user in range(7):
        listed = items[user][items[user] > 0]
        np.testing.assert_allclose(found[user, ITEMS - listed], values[user, : len(listed)], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("over_time", [False, True])
def test_a_loaded_blend_scores_as_the_saved_one(everything, over_time, tmp_path):
    weights = Weights(transitions=0.5, taste=1.0, recent=0.5, half_life=7.0, share=0.5)
    alone = Weights(transitions=0.0, transitions_many=0.0, recent=1.5, half_life=90.0)
    method = Blend(Noise(ITEMS), blend.count(everything, ITEMS, 0, over_time), weights)
    blend.save(str(tmp_path), method.counts, Chosen(weights, alone))
    loaded = Blend.load(str(tmp_path), Noise(ITEMS))
    for found, expected in zip(loaded.top(everything, 10), method.top(everything, 10), strict=True):
        np.testing.assert_array_equal(found, expected)
    found, expected = loaded.cnn(str(tmp_path)), Blend(Noise(ITEMS), method.counts, alone)
    assert (loaded.name, found.name) == ("blend", Noise.name)
    np.testing.assert_array_equal(found.top(everything, 10), expected.top(everything, 10))


def test_weights_that_knew_no_lengths_are_those_of_all_lengths(everything, tmp_path):
    former = {"transitions": 0.5, "taste": 1.5, "recent": 0.25, "half_life": 365.0, "share": 0.5}
    former |= {"cold_recent": 1.0, "cold_half_life": 90.0, "cold_share": 0.0}
    (tmp_path / WEIGHTS_FILE).write_text(json.dumps(former))
    found, cnn = read_weights(str(tmp_path))
    assert cnn == WITHOUT
    assert dataclasses.asdict(found) == former | {
        "few": 1,
        "many": 1,
        "transitions_many": 0.5,
        "taste_many": 1.5,
        "age": 0,
        "idle": 0,
        "cold_age": 0,
        "cold_idle": 0,
    }
    for of_kind, expected in zip(found.of_counts(np.array([0, 1, 7, 900])), (0.5, 1.5), strict=True):
        np.testing.assert_array_equal(of_kind, np.full((4, 1), expected, np.float32))


@pytest.mark.parametrize("lost", ["share", "recent_7", "age"])
def test_a_file_of_shares_that_lacks_one_is_damaged(everything, lost, tmp_path):
    weights = Weights(recent=0.5, half_life=7.0)
    blend.save(str(tmp_path), blend.count(everything, ITEMS, seed=0), Chosen(weights, weights))
    with np.load(tmp_path / blend.SHARES_FILE) as arrays:
        left = {name: values for name, values in arrays.items() if name != lost}
    np.savez(tmp_path / blend.SHARES_FILE, **left)
    with pytest.raises(DamagedError, match=r"shares\.npz is damaged"):
        Blend.load(str(tmp_path), Noise(ITEMS))


@pytest.mark.parametrize("wrong", [{"few": 0.5}, {"few": 9.0}, {"half_life": 8.0}, {"recent": None}])
def test_weights_that_cannot_be_are_refused(wrong, tmp_path):
    weights = {**dataclasses.asdict(Weights(many=5.0)), **wrong}
    text = json.dumps({name: value for name, value in weights.items() if value is not None})
    (tmp_path / WEIGHTS_FILE).write_text(text)
    with pytest.raises(DamagedError):
        read_weights(str(tmp_path))


@pytest.mark.parametrize("kind", ["transitions", "taste"])
def test_what_has_no_weight_is_not_counted(everything, kind, monkeypatch):
    counts = blend.count(everything, ITEMS, seed=0)
    weights = dataclasses.replace(Weights(taste=0.5, taste_many=0.5), **{kind: 0.0, f"{kind}_many": 0.0})
    monkeypatch.setattr(*{"transitions": (Transitions, "tiles"), "taste": (Ease, "score_columns")}[kind], None)
    items, _ = Blend(Noise(ITEMS), counts, weights).top(everything, 10)
    assert (items[:, 0] > 0).all()


def test_fuller_rows_of_the_transitions_count_as_all_others(everything, monkeypatch):
    fitted = Transitions.fit_one(everything, ITEMS)
    expected = (recent_events(everything, ITEMS, fitted.window, fitted.decay) @ fitted.rows).toarray()
    for limit, dense in ((10**9, ITEMS), (5 * 4 * (ITEMS + 1), 5), (0, 0)):
        monkeypatch.setattr(transitions, "DENSE_BYTES", limit)
        for width in (ITEMS + 1, 16):
            divided = transitions.divide(fitted.rows, width)
            found = np.concatenate(list(fitted.tiles(everything, divided)), axis=1)[:, : ITEMS + 1]
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
            assert len(divided.chosen) == dense


def test_a_blend_that_knew_no_dates_scores_as_then(everything, tmp_path):
    weights = Weights(transitions=0.5, taste=1.0, recent=0.5, half_life=7.0, share=0.5)
    method = Blend(Noise(ITEMS), blend.count(everything, ITEMS, seed=0), weights)
    blend.save(str(tmp_path), method.counts, Chosen(weights, weights))
    with np.load(tmp_path / blend.SHARES_FILE) as arrays:
        former = {name: values[0] for name, values in arrays.items() if name not in ("moments", *trends.DATES)}
    assert set(former) == {"share", "recent_7", "recent_90"}
    np.savez(tmp_path / blend.SHARES_FILE, **former)
    (tmp_path / WEIGHTS_FILE).write_text(json.dumps(dataclasses.asdict(weights)))
    found = Blend.load(str(tmp_path), Noise(ITEMS))
    np.testing.assert_array_equal(found.top(everything, 10)[0], method.top(everything, 10)[0])
    alone = found.cnn(str(tmp_path)).top(everything, 10)[0]
    np.testing.assert_array_equal(alone, ranking.top_k(Noise(ITEMS).score(everything), *ranking.seen(everything), 10)[0])


def test_what_was_popular_counts_as_of_each_users_last_event(everything):
    weights = dataclasses.replace(WITHOUT, recent=1.0, share=0.5, age=-0.5, idle=0.25, half_life=7.0)
    counts = blend.count(everything, ITEMS, 0, over_time=True)
    some, when = everything.rows(np.arange(20)), counts.trends.when(everything)[:20]
    assert len(set(when)) > 5
    every = np.arange(1, ITEMS + 1, dtype=np.int32)
    found = Blend(Noise(ITEMS), counts, weights).scores_of(some, every)
    alone = Blend(Noise(ITEMS), counts, WITHOUT).scores_of(some, every)
    expected = np.tensordot([1.0, 0.5, -0.5, 0.25], counts.trends.popular(7.0), 1)[when, 1:]
    np.testing.assert_allclose(found - alone, expected, atol=1e-4)


def test_weights_help_a_network_that_knows_nothing(everything):
    counts = blend.count(everything.head(everything.train_length), ITEMS, seed=0)
    assert blending.tune(Noise(ITEMS), counts, everything, ITEMS, seed=0).blend.transitions >= 2


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_weights_are_not_chosen_for_a_network_that_has_diverged(everything, wrong):
    class Diverged(Noise):
        def score(self, context):
            logits = super().score(context)
            logits[len(context) // 2, ITEMS // 2] = wrong
            return logits

    counts = blend.count(everything.head(everything.train_length), ITEMS, seed=0)
    with pytest.raises(RecsysError, match="diverged"):
        blending.tune(Diverged(ITEMS), counts, everything, ITEMS, seed=0)


def test_weights_leave_a_network_alone_that_knows_everything(everything):
    class Oracle(FromMatrix):
        def score(self, context):
            scores = np.zeros((len(context), ITEMS + 1), np.float32)
            scores[:, 0] = -np.inf
            rows = np.searchsorted(everything.user_index, context.user_index)
            scores[np.arange(len(context)), everything.items[everything.offsets[rows] + everything.train_length[rows]]] = 50.0
            return scores

    counts = blend.count(everything.head(everything.train_length), ITEMS, seed=0)
    weights = blending.tune(Oracle(ITEMS), counts, everything, ITEMS, seed=0).blend
    assert weights.transitions == weights.taste == weights.recent == 0


def test_counts_of_a_large_data_set_come_from_a_sample(everything, monkeypatch):
    monkeypatch.setattr(blend, "MAX_EVENTS", 200)
    sampled = blend.count(everything, ITEMS, seed=0)
    monkeypatch.undo()
    whole = blend.count(everything, ITEMS, seed=0)
    assert 0 < sampled.transitions.rows.nnz < whole.transitions.rows.nnz
    np.testing.assert_array_equal(sampled.trends.recent[7.0], whole.trends.recent[7.0])
