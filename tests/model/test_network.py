"""The network as a whole: causality, no look into other histories, loss, saving."""

import keras
import numpy as np
import pytest

from recsys.blocks import CPU
from recsys.config import Model
from recsys.contract.features_info import SplitInfo
from recsys.model import loss
from recsys.model.loss import next_item_loss
from recsys.model.network import PERIODS, CausalCNN, resolve

ITEMS = 30


def make(seed=0, precision="float32", **settings):
    sizes = {"items": ITEMS, "item_codes": 6, "item_slots": 2, "item_numbers": 1}
    sizes |= {"user_codes": 4, "user_slots": 1, "user_numbers": 2}
    spec = resolve(
        Model(**{"width": 16, "dilations": (1, 2, 4), "dropout": 0.0, "use_dates": True, **settings}), 1000, sizes, seed
    )
    random = np.random.default_rng(seed)
    known = np.r_[0, np.ones(ITEMS - 2), 0, 0].astype(np.float32)
    codes = random.integers(0, 6, (ITEMS + 1, 2)).astype(np.int32)
    model = CausalCNN(spec, codes, random.normal(size=(ITEMS + 1, 1)), known, dtype=precision)
    model.build()
    if spec.use_dates:
        model.set_periods(np.repeat([0, 1], 10_000))  # as many events on each of the days that `batch` draws from
    for variable in model.trainable_variables:
        variable.assign(random.normal(size=variable.shape) * 0.2)
    return model


def batch(rows=2, length=12, seed=1):
    random = np.random.default_rng(seed)
    return {
        "item": random.integers(1, ITEMS + 1, (rows, length)).astype(np.int32),
        "rating": random.normal(size=(rows, length)).astype(np.float32),
        "gap": random.integers(0, 20, (rows, length)).astype(np.int32),
        "day": random.integers(10_000, 20_000, (rows, length)).astype(np.int32),
        "position": np.tile(np.arange(length, dtype=np.int32), (rows, 1)),
        "user_codes": random.integers(0, 4, (rows, length, 1)).astype(np.int32),
        "user_numbers": random.normal(size=(rows, length, 2)).astype(np.float32),
        "target": random.integers(1, ITEMS - 2, (rows, length)).astype(np.int32),
        "weight": np.ones((rows, length), np.float32),
    }


@pytest.mark.parametrize("cut", [1, 5, 11])
def test_the_future_does_not_move_the_past(cut):
    model, now, changed = make(), batch(), batch(seed=2)
    other = {name: np.concatenate([now[name][:, :cut], changed[name][:, cut:]], axis=1) for name in now}
    other["position"] = now["position"]
    before, after = np.asarray(model(now)), np.asarray(model(other))
    np.testing.assert_array_equal(before[:, :cut], after[:, :cut])
    assert np.abs(before[:, cut:] - after[:, cut:]).max() > 1e-3


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_logits_are_not_rounded_to_sixteen_bits(precision):
    """In bfloat16, logits near -13 would be multiples of 1/16."""
    model, now = make(precision=precision), batch()
    model.item_bias.assign(np.full(ITEMS + 1, -13.0))
    table = model.item_table()
    state = model.encode(now, table)
    exact = np.asarray(state, np.float64) @ np.asarray(table, np.float64).T - 13.0 * np.asarray(model.item_known)
    np.testing.assert_allclose(np.asarray(model.logits(state, table)), exact, atol=1e-4)
    distinct = len(np.unique(np.asarray(model(now))))
    assert distinct > 0.9 * np.asarray(model(now)).size


def test_histories_in_one_row_do_not_see_each_other():
    model, now = make(), batch(rows=1)
    now["position"] = np.r_[np.arange(5), np.arange(7)].astype(np.int32)[None]
    now["item"][0, [0, 5]] = 0
    other = {name: value.copy() for name, value in now.items()}
    other["item"][0, 1:5] = 7
    np.testing.assert_array_equal(np.asarray(model(now))[:, 5:], np.asarray(model(other))[:, 5:])


@pytest.mark.parametrize("length", [1, 2, 5, 12])
@pytest.mark.parametrize(
    "settings", [{}, {"kernel_size": 2, "dilations": (4, 1), "feed_forward": 2}, {"kernel_size": 1, "dilations": (3,)}]
)
def test_the_last_state_is_that_of_the_whole_row_whatever_is_left_out(length, settings):
    model, now = make(**settings), batch(rows=3, length=length)
    now["position"][1] = np.maximum(now["position"][1] - length // 2, 0)  # a history that begins in the middle of the row
    now["position"][2] += 100  # and one that began long before
    table = model.item_table()
    expected = np.asarray(model.encode(now, table))[:, -1]
    np.testing.assert_allclose(np.asarray(model.encode_last(now, table)), expected, rtol=1e-5, atol=1e-5)


def test_loss_is_the_cross_entropy_over_known_items():
    model, data = make(), batch()
    data["weight"][0, :3] = 0
    logits = np.asarray(model(data))[..., 1 : ITEMS - 1]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    losses = -np.take_along_axis(log_p, data["target"][..., None] - 1, axis=-1)[..., 0]
    expected = (losses * data["weight"]).sum() / data["weight"].sum()
    assert float(next_item_loss(model, data)) == pytest.approx(expected, rel=1e-5)


def test_loss_in_blocks_is_the_same_loss_with_the_same_gradients(monkeypatch):
    import tensorflow as tf

    model, data = make(), batch()

    def gradients(block_bytes):
        with tf.GradientTape() as tape:
            value = next_item_loss(model, data, block_bytes=block_bytes)
        return float(value), [g.numpy() for g in map(tf.convert_to_tensor, tape.gradient(value, model.trainable_variables))]

    whole, expected = gradients(CPU.logits)
    monkeypatch.setattr(loss, "FEWEST_POSITIONS", 1)
    assert loss._blocks(24, ITEMS + 1, 4 * (ITEMS + 1) * 5, 1) == 6
    blocked, found = gradients(4 * (ITEMS + 1) * 5)
    assert blocked == pytest.approx(whole, rel=1e-6)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_gradients_of_the_loss_are_those_of_the_plain_formula():
    import tensorflow as tf

    model, data = make(), batch()

    def plain():
        table = model.item_table()
        logits = model.logits(model.encode(data, table, training=True), table, model.item_biases(known_only=True))
        each = tf.nn.sparse_softmax_cross_entropy_with_logits(data["target"], logits)
        return tf.reduce_sum(each * data["weight"]) / tf.reduce_sum(data["weight"])

    def gradients(value):
        with tf.GradientTape() as tape:
            found = 3.0 * value()
        return float(found), [g.numpy() for g in map(tf.convert_to_tensor, tape.gradient(found, model.trainable_variables))]

    total, expected = gradients(plain)
    value, found = gradients(lambda: next_item_loss(model, data))
    assert value == pytest.approx(total, rel=1e-6)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_label_smoothing_lies_between_the_target_and_the_even_distribution():
    model, data = make(), batch()
    plain, smooth = float(next_item_loss(model, data)), float(next_item_loss(model, data, 0.1))
    logits = np.asarray(model(data))[..., 1 : ITEMS - 1]
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    assert smooth == pytest.approx(0.9 * plain + 0.1 * float(-log_p.mean()), rel=1e-5)


def test_saved_and_reloaded_it_scores_the_same(tmp_path):
    model, data = make(), batch()
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", compile=False)
    assert again.spec == model.spec
    np.testing.assert_array_equal(np.asarray(model(data)), np.asarray(again(data)))


def test_an_item_without_training_events_is_scored_by_its_features_alone():
    model, data = make(), batch()
    before = np.asarray(model(data))
    vectors, bias = np.asarray(model.item_vectors).copy(), np.asarray(model.item_bias).copy()
    vectors[ITEMS - 1 :] += 5.0
    bias[ITEMS - 1 :] += 5.0
    model.item_vectors.assign(vectors)
    model.item_bias.assign(bias)
    np.testing.assert_array_equal(before, np.asarray(model(data)))
    model.item_numbers.assign(np.asarray(model.item_numbers) + 1.0)
    assert np.abs(before - np.asarray(model(data)))[..., ITEMS - 1 :].max() > 1e-3


def test_time_is_divided_where_the_events_are_and_what_is_later_belongs_to_the_last_period():
    model, data = make(), batch(length=4 * PERIODS)
    days = np.arange(100, 100 + 2 * PERIODS)
    model.set_periods(np.bincount(days, minlength=500))  # one event a day: two days a period
    data["day"][:] = np.repeat(days, 2)
    data = {name: np.repeat(value[:, :1], 4 * PERIODS, axis=1) if name != "day" else value for name, value in data.items()}
    scores = np.asarray(model({**data, "position": np.zeros_like(data["day"])}))[0]  # no position sees another
    later = np.asarray(model({**data, "day": np.full_like(data["day"], 30_000), "position": np.zeros_like(data["day"])}))[0]
    periods = np.arange(4 * PERIODS) // 4
    assert len(np.unique(scores, axis=0)) == PERIODS
    np.testing.assert_array_equal(scores, scores[4 * periods])
    np.testing.assert_array_equal(later[0], scores[-1])


@pytest.mark.parametrize(
    ("split", "told"),
    [
        (SplitInfo("per-user-ratio", 0.2, 0.1), True),
        (SplitInfo("leave-one-out"), True),
        (SplitInfo("global-time", 0.1, 0.1, valid_from=5, test_from=9), False),
        (SplitInfo("none"), False),
    ],
)
def test_dates_are_told_where_histories_end_apart_unless_asked_otherwise(split, told):
    sizes = dict.fromkeys(("items", "item_codes", "item_slots", "item_numbers", "user_codes", "user_slots", "user_numbers"), 3)
    assert resolve(Model(), 1000, sizes, 0, ends_apart=split.ends_apart).use_dates is told
    for asked in (True, False):
        assert resolve(Model(use_dates=asked), 1000, sizes, 0, ends_apart=split.ends_apart).use_dates is asked


def test_a_network_of_before_there_were_dates_is_one_without():
    described = {**make(use_dates=False).get_config()["spec"]}
    described.pop("use_dates")
    old = CausalCNN(described)
    old.build()
    assert len(old.variables) == len(make().variables) - 2
    for variable, value in zip(old.variables, make(use_dates=False).variables, strict=True):
        variable.assign(value)
    np.testing.assert_array_equal(np.asarray(old(batch())), np.asarray(make(use_dates=False)(batch())))


@pytest.mark.parametrize("off", ["use_ratings", "use_time_gaps", "use_dates", "use_user_features", "use_item_features"])
def test_a_feature_group_left_out_has_no_influence(off):
    names = {"use_ratings": "rating", "use_time_gaps": "gap", "use_dates": "day", "use_user_features": "user_codes"}
    with_it, without = make(), make(**{off: False})
    data = batch()
    if off in names:
        other = {**data, names[off]: np.roll(data[names[off]], 1, axis=1)}
        np.testing.assert_array_equal(np.asarray(without(data)), np.asarray(without(other)))
        assert np.abs(np.asarray(with_it(data)) - np.asarray(with_it(other))).max() > 1e-4
    else:
        before = np.asarray(without(data))
        without.item_codes.assign(np.zeros_like(without.item_codes))
        np.testing.assert_array_equal(before, np.asarray(without(data)))
