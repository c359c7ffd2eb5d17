"""Ranking in TensorFlow, on whatever device there is: the blend's sum, the mask of what was seen, the K best."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf

from recsys.contract.histories import Histories
from recsys.measure import ranking
from recsys.measure.protocol import Top

FLOOR: Final = 1e-3
"""ε of log(share + ε): keeps the logarithm finite if nothing was counted."""


def best(scores: Callable[..., Any], given: Sequence[Any], context: Histories, k: int) -> Top:
    """The k best items of each user among those not seen, as ranking.top_k has them.

    Args:
        scores: one of the functions below: float32 [users, items + 1]; -inf excludes an item, as in column 0, which is padding.
            If a score is NaN or +inf, its whole row is NaN.
        given: its arguments.
        context: what the users have seen.
        k: length of the lists.

    Raises:
        RecsysError: a score is NaN.
    """
    found = _best(scores, given, np.stack(ranking.seen(context), axis=1), np.int32(k))
    items, values, padding = (tensor.numpy() for tensor in found)
    ranking.check_finite(padding.max(initial=-np.inf))
    missing = [(0, 0), (0, k - items.shape[1])]
    return np.pad(items, missing), np.pad(values, missing, constant_values=-np.inf)


@tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
def _best(scores: Callable[..., Any], given: Sequence[Any], seen: Any, k: Any) -> Any:
    found = scores(*given)
    unseen = tf.tensor_scatter_nd_update(found, seen, tf.fill([tf.shape(seen)[0]], -np.inf))
    values, items = tf.math.top_k(unseen, tf.minimum(k, tf.shape(found)[1]))
    return tf.where(tf.math.is_inf(values), 0, items), values, found[:, 0]


@tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
def linear(states: Any, columns: Any, biases: Any) -> Any:
    """states [users, width] · columns [width, items + 1] + biases [items + 1], in one pass over the result."""
    return tf.nn.bias_add(tf.matmul(states, columns), biases)


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
def log_softmax(logits: Any) -> Any:
    """float32 [users, items + 1]"""
    return tf.nn.log_softmax(logits)


@tf.function  # type: ignore[untyped-decorator]
def blended(
    logits: Any,
    transitions: Any,
    taste: Any,
    cold: Any,
    warm_bias: Any,
    cold_bias: Any,
    of_transitions: Any,
    of_taste: Any,
) -> Any:
    """The blend's scores, float32 [users, items + 1]; for the arguments see `logs` and `weighted`.

    Compiled in two parts, of which XLA makes better loops than of the whole.
    """
    return weighted(*logs(logits, transitions, taste), cold, warm_bias, cold_bias, of_transitions, of_taste)


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
def logs(logits: Any, transitions: Any, taste: Any) -> Any:
    """The summands of the blend that differ from user to user, before they are weighted.

    Args:
        logits: float32 [users, items + 1], -inf for padding.
        transitions: float32 [users, items + 1], shares.
        taste: float32 [users, columns], scores of the first columns.

    Returns:
        log softmax(logits) and log(transitions + ε), float32 [users, items + 1]; log(share of the taste + ε), float32 [users,
        columns].
    """
    liked = tf.maximum(taste, 0.0)
    liked /= tf.maximum(tf.reduce_sum(liked, axis=1, keepdims=True), 1e-9)
    return tf.nn.log_softmax(logits), tf.math.log(transitions + FLOOR), tf.math.log(liked + FLOOR)


@tf.function(jit_compile=True)  # type: ignore[untyped-decorator]
def weighted(
    network: Any, transitions: Any, taste: Any, cold: Any, warm_bias: Any, cold_bias: Any, of_transitions: Any, of_taste: Any
) -> Any:
    """The weighted sum of what `logs` returns and of what is the same for all users, float32 [users, items + 1].

    Args:
        network, transitions, taste: see `logs`; the taste of the other columns is log(ε).
        cold: bool [users], users without events, for whom only the network and their own bias count.
        warm_bias, cold_bias: float32 [items + 1], for users with events and for those without.
        of_transitions, of_taste: weights, float32 scalars.
    """
    liked = tf.pad(taste, [[0, 0], [0, tf.shape(network)[1] - tf.shape(taste)[1]]], constant_values=np.log(FLOOR))
    warm = warm_bias + of_transitions * transitions + of_taste * liked
    return network + tf.where(cold[:, None], cold_bias, warm)
