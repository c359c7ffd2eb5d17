"""Layers against NumPy oracles, packing and causality as properties, saving and reloading."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from recsys.model.layers import Dropout, FeatureBag, FeedForward, GatedCausalConv


def _norm(x, layer):
    mean, variance = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + 1e-6) * np.asarray(layer.gamma) + np.asarray(layer.beta)


def _conv(x, layer):
    """One history [length, width], tap by tap and position by position."""
    h = _norm(x, layer.norm)
    out = np.empty_like(x)
    for t in range(len(x)):
        taps = [h[t - k * layer.dilation] if t >= k * layer.dilation else np.zeros_like(h[0]) for k in range(layer.kernel_size)]
        mixed = np.concatenate(taps) @ np.asarray(layer.mix.kernel) + np.asarray(layer.mix.bias)
        value, gate = np.split(mixed, 2)
        out[t] = x[t] + (value / (1 + np.exp(-gate))) @ np.asarray(layer.project.kernel) + np.asarray(layer.project.bias)
    return out


def _built(layer, *shapes):
    layer.build(*shapes)
    random = np.random.default_rng(0)
    for variable in layer.trainable_variables:
        variable.assign(random.normal(size=variable.shape) * 0.3)
    return layer


@pytest.mark.parametrize(("kernel", "dilation"), [(2, 1), (3, 2), (3, 4)])
def test_convolution_over_packed_rows_is_the_convolution_of_each_history(kernel, dilation):
    layer = _built(GatedCausalConv(6, kernel, dilation, 0.0), (None, None, 6), (None, None))
    random = np.random.default_rng(1)
    histories = [random.normal(size=(n, 6)).astype(np.float32) for n in (5, 1, 9, 3)]
    packed = np.concatenate(histories)[None]
    position = np.concatenate([np.arange(len(h)) for h in histories]).astype(np.int32)[None]
    found = np.asarray(layer(packed, position))[0]
    np.testing.assert_allclose(found, np.concatenate([_conv(h, layer) for h in histories]), atol=2e-5)


def test_feature_bag_sums_codes_and_numbers():
    layer = _built(FeatureBag(5, 3), (None, 2), (None, 1))
    codes, numbers = np.array([[1, 4], [0, 2], [0, 0]], np.int32), np.array([[1.0], [2.0], [-1.0]], np.float32)
    table, numeric = np.asarray(layer.table), np.asarray(layer.numeric)
    expected = np.stack([table[1] + table[4], table[2], np.zeros(3)]) + numbers @ numeric
    np.testing.assert_allclose(np.asarray(layer(codes, numbers)), expected, atol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.3, 0.5])
def test_dropout_drops_its_share_and_keeps_the_mean(rate):
    """No value says anything about another one, not even about those whose randomness comes from the same word."""
    layer, x = Dropout(rate, seed=3), np.ones((4, 250, 1001), np.float32)
    first, second = (np.asarray(layer(x, training=True)) for _ in range(2))
    dropped = (first == 0).ravel()
    count = len(dropped)
    error = np.sqrt(rate * (1 - rate) / count)
    assert abs(dropped.mean() - rate) < 1 / 512 + 4 * error
    assert abs(first.mean() - 1) < 4 * error / (1 - rate)
    assert len(np.unique(first)) == 2
    for other in (*(np.roll(dropped, lag) for lag in (1, 2, 3, 4, 1001)), (second == 0).ravel()):
        assert abs(np.corrcoef(dropped, other)[0, 1]) < 4.5 / np.sqrt(count)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_without_training_or_rate_dropout_is_the_identity(rate):
    layer, x = Dropout(rate, seed=0), np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=rate == 0), x)


def test_dropout_draws_the_same_under_xla_and_follows_its_seed():
    x = tf.ones((2, 9, 7))
    drawn = [
        np.asarray(tf.function(Dropout(0.5, seed=seed), jit_compile=xla)(x, training=True))
        for seed, xla in ((1, True), (1, False), (2, True))
    ]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert (drawn[0] != drawn[2]).any()


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (GatedCausalConv(4, 3, 2, 0.1), ((None, None, 4), (None, None))),
        (FeedForward(4, 8, 0.1), ((None, None, 4),)),
        (FeatureBag(7, 4), ((None, 2), (None, 1))),
        (Dropout(0.25, seed=4), ((None, None, 4),)),
    ],
)
def test_configuration_restores_the_layer(layer, shapes):
    layer = _built(layer, *shapes)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is type(layer)
    assert [v.shape for v in again.variables] == [v.shape for v in layer.variables]
    assert again.get_config() == layer.get_config()
