"""The sampled softmax against the full one: the same where all items are drawn, close to it where many are."""

import numpy as np
import pytest
import tensorflow as tf

from recsys.blocks import CPU
from recsys.model import loss, network
from recsys.model.loss import next_item_loss
from tests.model.test_network import ITEMS, batch, make

KNOWN = np.arange(1, ITEMS - 1)


def sampled(data, negative, log_expected):
    """The batch with the given negatives; the step's rows are the whole catalogue."""
    expected = np.broadcast_to(np.float32(log_expected), np.shape(negative)).astype(np.float32)
    return {
        **data,
        "rows": np.arange(ITEMS + 1, dtype=np.int32),
        "negative": np.asarray(negative, np.int32),
        "log_expected": expected,
    }


def loss_and_gradients(model, data, label_smoothing=0.0, block_bytes=CPU.logits):
    with tf.GradientTape() as tape:
        value = next_item_loss(model, data, label_smoothing, block_bytes)
    found = tape.gradient(value, model.trainable_variables)
    return float(value), [np.asarray(tf.convert_to_tensor(gradient)) for gradient in found]


def draw(size, seed=0):
    """Draws from a proposal that prefers some items sixty times: (items, log of how often each is expected)."""
    q = np.geomspace(1, 60, len(KNOWN))
    q /= q.sum()
    places = np.random.default_rng(seed).choice(len(KNOWN), size, p=q)
    return KNOWN[places], np.log(size * q[places])


def relative(found, expected):
    """Length of the difference of all gradients, relative to that of the expected ones."""
    difference = sum(((one - other) ** 2).sum() for one, other in zip(found, expected, strict=True))
    return np.sqrt(difference / sum((other**2).sum() for other in expected))


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_with_every_item_as_a_negative_it_is_the_full_softmax(label_smoothing):
    model, data = make(), batch()
    full, expected = loss_and_gradients(model, data, label_smoothing)
    value, found = loss_and_gradients(model, sampled(data, KNOWN, 0.0), label_smoothing)
    assert value == pytest.approx(full, rel=1e-5)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_with_many_draws_it_comes_close_to_the_full_softmax_and_without_the_correction_it_does_not():
    model, data = make(), batch()
    full, expected = loss_and_gradients(model, data)
    items, log_expected = draw(50_000)
    value, found = loss_and_gradients(model, sampled(data, items, log_expected))
    assert value == pytest.approx(full, rel=0.005)
    assert relative(found, expected) < 0.05
    value, found = loss_and_gradients(model, sampled(data, items, np.log(len(items) / len(KNOWN))))
    assert value != pytest.approx(full, rel=0.02)
    assert relative(found, expected) > 0.5


def test_the_sum_over_the_other_items_is_estimated_without_bias():
    model, data = make(), batch(rows=1, length=4)
    logits = np.asarray(model(data), np.float64)[0, :, KNOWN].T
    wanted = np.take_along_axis(logits, data["target"][0][:, None] - 1, axis=1)[:, 0]
    others = np.exp(logits).sum(1) - np.exp(wanted)
    found = []
    for seed in range(100):
        data["weight"][:] = np.eye(4, dtype=np.float32)[seed % 4]
        value = float(next_item_loss(model, sampled(data, *draw(8, seed))))
        found.append(np.expm1(value) * np.exp(wanted[seed % 4]) / others[seed % 4])
    assert np.mean(found) == pytest.approx(1.0, abs=4 * np.std(found) / 10)


def test_a_target_that_is_drawn_is_no_negative_of_its_own():
    model, data = make(), batch()
    data["target"][:] = 5
    value, _ = loss_and_gradients(model, sampled(data, [5, 5, 5], 0.0))
    assert value == pytest.approx(0.0, abs=1e-6)


def test_only_the_items_of_the_step_get_a_gradient():
    model, data = make(), batch()
    rows = np.unique(np.r_[0, data["item"].ravel(), data["target"].ravel(), 3]).astype(np.int32)
    local = {name: np.searchsorted(rows, data[name]).astype(np.int32) for name in ("item", "target")}
    whole = sampled(data, [3, 3], 0.5)
    step = {**whole, **local, "rows": rows, "negative": np.searchsorted(rows, [3, 3]).astype(np.int32)}
    value, found = loss_and_gradients(model, step)
    same, expected = loss_and_gradients(model, whole)
    assert value == pytest.approx(same, rel=1e-6)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    vectors = found[[v.name for v in model.trainable_variables].index("item_vectors")]
    assert not vectors[np.setdiff1d(np.arange(ITEMS + 1), rows)].any()
    assert not vectors[ITEMS - 1 :].any()  # items without training events


def test_in_blocks_it_is_the_same_loss_with_the_same_gradients(monkeypatch):
    monkeypatch.setattr(loss, "FEWEST_POSITIONS", 1)
    model, data = make(), sampled(batch(), *draw(10))
    whole, expected = loss_and_gradients(model, data, 0.1)
    assert loss._blocks(data["target"].size, 10, 4 * 10 * 5, 1) > 1
    blocked, found = loss_and_gradients(model, data, 0.1, block_bytes=4 * 10 * 5)
    assert blocked == pytest.approx(whole, rel=1e-6)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.parametrize(
    ("positions", "columns", "finer", "blocks"),
    [
        (4096, 3417, 1, 8),  # 613 positions have 8 MiB, and 512 divide 4,096
        (512, 501, 1, 1),
        (4096, 50_001, 1, 8),  # 512 positions, though they have 98 MiB
        (4096, 50_001, 4, 32),
        (24, 30, 100, 24),
    ],
)
def test_blocks_fit_but_hold_the_fewest_positions_unless_they_are_divided_further(positions, columns, finer, blocks):
    assert loss._blocks(positions, columns, CPU.logits, finer) == blocks


def test_vectors_made_in_blocks_are_those_made_at_once(monkeypatch):
    model = make()
    monkeypatch.setattr(network, "TABLE_BLOCK", 7)
    np.testing.assert_allclose(np.asarray(network.whole_table(model)), np.asarray(model.item_table()), atol=1e-6)


def test_several_targets_count_by_their_shares(monkeypatch):
    monkeypatch.setattr(loss, "FEWEST_POSITIONS", 1)
    model, data = make(), batch()
    other = np.random.default_rng(5).integers(1, ITEMS - 1, data["target"].shape).astype(np.int32)
    alone = [loss_and_gradients(model, {**data, "target": target}, 0.1) for target in (data["target"], other)]
    both = np.stack([data["target"], other, other], axis=-1)
    shares = np.broadcast_to(np.float32([0.75, 0.125, 0.125]), both.shape)
    value, found = loss_and_gradients(model, {**data, "targets": both, "shares": shares}, 0.1, block_bytes=4 * 10 * 5)
    assert value == pytest.approx(0.75 * alone[0][0] + 0.25 * alone[1][0], rel=1e-5)
    for one, first, second in zip(found, alone[0][1], alone[1][1], strict=True):
        np.testing.assert_allclose(one, 0.75 * first + 0.25 * second, atol=1e-6)
