"""Layers of the network: bags of codes, gated causal convolution over packed histories, feed-forward block, dropout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

PACKAGE = "recsys"


@keras.saving.register_keras_serializable(PACKAGE)
class FeatureBag(keras.layers.Layer):
    """Embeds categorical and multi-valued features as the sum of their codes' vectors, numeric ones linearly.

    All features of users, or of items, share one table: each feature's codes are shifted by its own offset, and code 0 means
    "nothing".

    Args:
        codes: number of codes over all features, 0 included.
        width: size of the vectors.
        seed: of the initial weights.

    Input shape:
        codes int32 [..., slots] and numbers float32 [..., features].

    Output shape:
        [..., width]
    """

    def __init__(self, codes: int, width: int, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.codes, self.width, self.seed = codes, width, seed

    def build(self, codes_shape: Any, numbers_shape: Any) -> None:
        """Creates the table and the projection of the numeric features."""
        small = keras.initializers.RandomNormal(stddev=0.02, seed=self.seed)
        self.table = self.add_weight(shape=(self.codes, self.width), initializer=small, name="table")
        self.numeric = self.add_weight(shape=(numbers_shape[-1], self.width), initializer="zeros", name="numeric")

    def call(self, codes: Any, numbers: Any) -> Any:
        """Sums the vectors of the codes that are present."""
        there = ops.cast(ops.expand_dims(codes > 0, -1), self.compute_dtype)
        vectors = ops.take(ops.cast(self.table, self.compute_dtype), codes, axis=0)
        return ops.sum(vectors * there, axis=-2) + ops.matmul(ops.cast(numbers, self.compute_dtype), self.numeric)

    def compute_output_shape(self, codes_shape: Any, numbers_shape: Any) -> Any:
        """[..., width]"""
        return (*codes_shape[:-1], self.width)

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        return {**super().get_config(), "codes": self.codes, "width": self.width, "seed": self.seed}


@keras.saving.register_keras_serializable(PACKAGE)
class GatedCausalConv(keras.layers.Layer):
    """Pre-norm residual block: a dilated causal convolution whose values pass a sigmoid gate (Dauphin et al., 2017).

    Rows hold several histories end to end. A tap reaches `lag` positions back; if that is outside the history
    (`position < lag`) it reads zero, so no history sees another one, and no position sees a later one.

    Args:
        width: channels in and out.
        kernel_size: taps, at lags 0, dilation, 2 dilation, …
        dilation: distance between taps.
        dropout: dropout rate of the block's output in training.
        seed: of the initial weights and of the dropout.

    Input shape:
        x [rows, length, width], position int32 [rows, length]: place in the history, from 0.

    Output shape:
        [rows, length, width]
    """

    def __init__(self, width: int, kernel_size: int, dilation: int, dropout: float, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.kernel_size, self.dilation, self.dropout_rate = width, kernel_size, dilation, dropout
        self.seed = seed
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=self.dtype_policy)
        self.mix = keras.layers.Dense(2 * width, kernel_initializer=_glorot(seed), dtype=self.dtype_policy)
        self.project = keras.layers.Dense(width, kernel_initializer=_glorot(seed + 1), dtype=self.dtype_policy)
        self.dropout = Dropout(dropout, seed=seed, dtype=self.dtype_policy)

    def build(self, x_shape: Any, position_shape: Any) -> None:
        """Builds the sublayers for `width` channels."""
        self.norm.build(x_shape)
        self.mix.build((*x_shape[:-1], self.kernel_size * self.width))
        self.project.build(x_shape)

    def call(self, x: Any, position: Any, training: bool = False) -> Any:
        """x + dropout(project(value * sigmoid(gate)))"""
        h = self.norm(x)
        taps = [h, *(shift(h, lag) * _inside(position, lag, h.dtype) for lag in self._lags)]
        return x + self._mixed(taps, training)

    def sees(self, places: Sequence[int], length: int) -> tuple[int, ...]:
        """The places that outputs at some places depend on, where a place is counted back from the last position of a row.

        Args:
            places: of the outputs.
            length: of the row.
        """
        seen = {place + lag for place in places for lag in (0, *self._lags)}
        return tuple(sorted(place for place in seen if place < length))

    def at(self, x: Any, position: Any, given: Sequence[int], wanted: Sequence[int]) -> Any:
        """The outputs at some places, as `call` would have them.

        Args:
            x: [rows, len(given), width], the inputs at the places that `sees` names.
            position: int32 [rows, len(wanted)]
            given, wanted: places of the inputs and of the outputs.

        Returns:
            [rows, len(wanted), width]
        """
        h, index = self.norm(x), {place: number for number, place in enumerate(given)}

        def tap(values: Any, lag: int) -> Any:
            return ops.take(values, [index.get(place + lag, 0) for place in wanted], axis=1)

        def inside(lag: int) -> Any:  # nothing is before the row's start, even if the history began earlier
            there = np.array([place + lag in index for place in wanted])[None, :, None]
            return _inside(position, lag, h.dtype) * ops.cast(there, h.dtype)

        taps = [tap(h, 0), *(tap(h, lag) * inside(lag) for lag in self._lags)]
        return tap(x, 0) + self._mixed(taps, training=False)

    @property
    def _lags(self) -> Sequence[int]:
        return range(self.dilation, self.kernel_size * self.dilation, self.dilation)

    def _mixed(self, taps: Sequence[Any], training: bool) -> Any:
        value, gate = ops.split(self.mix(ops.concatenate(taps, axis=-1)), 2, axis=-1)
        return self.dropout(self.project(value * ops.sigmoid(gate)), training=training)

    def compute_output_shape(self, x_shape: Any, position_shape: Any) -> Any:
        """Same as the input."""
        return x_shape

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        own = {"width": self.width, "kernel_size": self.kernel_size, "dilation": self.dilation, "dropout": self.dropout_rate}
        return {**super().get_config(), **own, "seed": self.seed}


@keras.saving.register_keras_serializable(PACKAGE)
class FeedForward(keras.layers.Layer):
    """Pre-norm residual feed-forward block with one hidden layer (GELU).

    Args:
        width: channels in and out.
        hidden: channels of the hidden layer.
        dropout: dropout rate of the block's output in training.
        seed: of the initial weights and of the dropout.

    Input and output shape:
        [..., width]
    """

    def __init__(self, width: int, hidden: int, dropout: float, seed: int = 0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width, self.hidden, self.dropout_rate, self.seed = width, hidden, dropout, seed
        self.norm = keras.layers.LayerNormalization(epsilon=1e-6, dtype=self.dtype_policy)
        self.widen = keras.layers.Dense(hidden, activation="gelu", kernel_initializer=_glorot(seed), dtype=self.dtype_policy)
        self.narrow = keras.layers.Dense(width, kernel_initializer=_glorot(seed + 1), dtype=self.dtype_policy)
        self.dropout = Dropout(dropout, seed=seed, dtype=self.dtype_policy)

    def build(self, shape: Any) -> None:
        """Builds the sublayers for `width` channels."""
        self.norm.build(shape)
        self.widen.build(shape)
        self.narrow.build((*shape[:-1], self.hidden))

    def call(self, x: Any, training: bool = False) -> Any:
        """x + dropout(narrow(gelu(widen(norm(x)))))"""
        return x + self.dropout(self.narrow(self.widen(self.norm(x))), training=training)

    def compute_output_shape(self, shape: Any) -> Any:
        """Same as the input."""
        return shape

    def get_config(self) -> dict[str, Any]:
        """Arguments of the constructor."""
        own = {"width": self.width, "hidden": self.hidden, "dropout": self.dropout_rate, "seed": self.seed}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(PACKAGE)
class Dropout(keras.layers.Dropout):
    """keras.layers.Dropout with a byte of randomness for each value instead of four.

    Drawing a word for each took a sixth of a training step on a CPU. The rate is rounded to a multiple of 1/256, and what is
    kept is scaled by what is really dropped, so that the expectation stays what it was.
    """

    def call(self, x: Any, training: bool = False) -> Any:
        """x with a share `rate` of zeros in training, the rest divided by 1 - rate."""
        dropped = min(round(256 * self.rate), 255)
        if not training or not dropped:
            return x
        import tensorflow as tf

        seed, count = tf.cast(self.seed_generator.next(), tf.int32), math.prod(x.shape)
        words = tf.random.stateless_uniform((-(-count // 4),), seed, None, None, tf.uint32, alg="philox")
        kept = tf.reshape(tf.bitcast(words, tf.uint8), (-1,))[:count] >= np.uint8(dropped)
        return x * ops.cast(tf.reshape(kept, x.shape), x.dtype) * (256 / (256 - dropped))


def shift(x: Any, lag: int) -> Any:
    """x [rows, length, width] moved `lag` positions later; the first `lag` positions are zero."""
    if lag >= x.shape[1]:
        return ops.zeros_like(x)
    return ops.pad(x, [[0, 0], [lag, 0], [0, 0]])[:, : x.shape[1]]


def _inside(position: Any, lag: int, dtype: Any) -> Any:
    """1 where a history reaches `lag` positions back, else 0: [rows, length, 1]."""
    return ops.cast(ops.expand_dims(position >= lag, -1), dtype)


def _glorot(seed: int) -> keras.initializers.Initializer:
    return keras.initializers.GlorotUniform(seed=seed)
