"""Ranking in TensorFlow, on whatever device there is: the blend's sum, the mask of what was seen, the K best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.contract.histories import Histories
from recsys.measure import ranking
from recsys.measure.protocol import Top
from recsys.methods.tiles import GROUP, Tiles
from recsys.model import tf

FLOOR: Final = 1e-3
"""ε of log(share + ε): keeps the logarithm finite if nothing was counted."""
NOTHING: Final = np.float32(np.log(FLOOR))

Summands = Sequence[Any]
"""Logits [rows, width], -inf for padding, and what else a function of scores takes for one tile."""


def best(
    scores: Callable[..., Any],
    blocks: Iterable[tuple[slice, Iterable[Summands]]],
    tiles: Tiles,
    context: Histories,
    k: int,
) -> Top:
    """The k best items of each user among those not seen, as ranking.top_k has them.

    On a GPU with op determinism on, TensorFlow masks what was seen on the host: it copies all scores there and back
    (DoScatterNdOnCpu in tensorflow/core/kernels/scatter_nd_op.cc).

    Args:
        scores: one of the functions below, of the summands of a tile: float32 [rows, width]; -inf excludes an item.
        blocks: for each of tiles.blocks(context) its slice, and the summands of its tiles.
        tiles: how scores are divided.
        context: what the users have seen.
        k: length of the lists.

    Returns:
        See ranking.top_k; log Σ exp(logits) over all items is taken off the scores.

    Raises:
        RecsysError: a logit is NaN or +inf.
    """
    items, values = np.zeros((len(context), k), np.int32), np.full((len(context), k), -np.inf, np.float32)
    for users, block in blocks:
        rows, seen = ranking.seen(context.rows(np.arange(users.start, users.stop)))
        found = []
        for first, summands in zip(tiles.firsts, block, strict=True):
            here = (seen >= first) & (seen < first + tiles.width)
            places = np.stack([rows[here], seen[here] - first], axis=1)
            found.append(_best_of_tile(scores, summands, places, np.int32(first), np.int32(k)))
        merged, scored, total = (tensor.numpy()[: users.stop - users.start] for tensor in _merged(found, np.int32(k)))
        ranking.check_finite(total.max(initial=-np.inf))
        items[users, : merged.shape[1]], values[users, : merged.shape[1]] = merged, scored
    return items, values


def of_items(
    scores: Callable[..., Any],
    blocks: Iterable[tuple[slice, Iterable[Summands]]],
    tiles: Tiles,
    items: NDArray[np.int32],
    users: int,
) -> NDArray[np.float32]:
    """The normalised scores of some items, seen or not, as `best` has them: float32 [users, items].

    Args:
        scores, blocks, tiles: see `best`.
        items: int32 [items], indices from 1.
        users: number of them in all blocks.

    Raises:
        RecsysError: a logit is NaN or +inf.
    """
    found = np.zeros((users, len(items)), np.float32)
    for rows, block in blocks:
        totals = []
        for first, summands in zip(tiles.firsts, block, strict=True):
            here = np.flatnonzero((items >= first) & (items < first + tiles.width))
            if len(here):
                found[rows, here] = tf.gather(scores(*summands), items[here] - first, axis=1).numpy()[: rows.stop - rows.start]
            totals.append(log_sum(summands[0]))
        total = tf.reduce_logsumexp(tf.concat(totals, axis=1), axis=1).numpy()[: rows.stop - rows.start]
        ranking.check_finite(total.max(initial=-np.inf))
        found[rows] -= total[:, None]
    return found


@tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
def _best_of_tile(scores: Callable[..., Any], summands: Summands, seen: Any, first: Any, k: Any) -> Any:
    """The k best items of a tile, their scores, and log Σ exp(logits).

    Only the k groups with the greatest maxima are looked into: they hold the k best, since each of them holds one score that
    no other group exceeds. A lower item wins a tie in both steps.
    """
    found = scores(*summands)
    unseen = tf.tensor_scatter_nd_update(found, seen, tf.fill([tf.shape(seen)[0]], -np.inf))
    grouped = tf.reshape(unseen, [tf.shape(unseen)[0], -1, GROUP])
    greatest = tf.reduce_max(grouped, axis=2)
    groups = tf.sort(tf.math.top_k(greatest, tf.minimum(k, tf.shape(greatest)[1]), sorted=False).indices, axis=1)
    candidates = tf.reshape(tf.gather(grouped, groups, batch_dims=1), [tf.shape(unseen)[0], -1])
    values, places = tf.math.top_k(candidates, tf.minimum(k, tf.shape(candidates)[1]))
    items = first + GROUP * tf.gather(groups, places // GROUP, batch_dims=1) + places % GROUP
    return items, values, log_sum(summands[0])


@tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
def _merged(found: Sequence[Any], k: Any) -> Any:
    """The k best items of several tiles, their scores and the sum, as in `best`."""
    items, values, totals = (tf.concat(parts, axis=1) for parts in zip(*found, strict=True))
    values, places = tf.math.top_k(values, tf.minimum(k, tf.shape(values)[1]))
    total = tf.reduce_logsumexp(totals, axis=1)
    taken_off = tf.where(tf.math.is_inf(total) & (total < 0), 0.0, total)
    return tf.where(tf.math.is_inf(values), 0, tf.gather(items, places, batch_dims=1)), values - taken_off[:, None], total


@tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]
def linear(states: Any, columns: Any, biases: Any) -> Any:
    """states [rows, width] · columns [width, items] + biases [items], in one pass over the result."""
    return tf.nn.bias_add(tf.matmul(states, columns), biases)


@tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]
def log_sum(logits: Any) -> Any:
    """log Σ exp(logits), float32 [rows, 1]."""
    return tf.reduce_logsumexp(logits, axis=1, keepdims=True)


def alone(logits: Any) -> Any:
    """The scores of the network without counts."""
    return logits


@tf.function(autograph=False)  # type: ignore[untyped-decorator]
def blended(logits: Any, transitions: Any, taste: Any, *rest: Any) -> Any:
    """The blend's scores for one tile, float32 [rows, width]; for the arguments see `logs` and `weighted`.

    Compiled in two parts, of which XLA makes better loops than of the whole.
    """
    return weighted(logits, *logs(transitions, taste), *rest)


@tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]
def logs(transitions: Any, taste: Any) -> Any:
    """Logarithms of what was counted: log(share + ε), float32 as given.

    Args:
        transitions: float32 [rows, width], shares; [rows, 0] if there are none in this tile.
        taste: float32 [rows, columns], those of the first columns of the tile.
    """
    return tf.math.log(transitions + FLOOR), tf.math.log(taste + FLOOR)


@tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]
def weighted(
    logits: Any,
    transitions: Any,
    taste: Any,
    cold: Any,
    when: Any,
    warm_bias: Any,
    cold_bias: Any,
    of_transitions: Any,
    of_taste: Any,
) -> Any:
    """The weighted sum of the logits, of what `logs` returns and of what depends on their moments alone, float32 [rows, width].

    Args:
        logits: float32 [rows, width].
        transitions, taste: see `logs`; of the columns that they do not have, log(ε).
        cold: bool [rows], users without events, for whom only the network and their own bias count.
        when: int32 [rows], the users' moments; None if there is only one.
        warm_bias: for users with events by moment, float32 [moments, width].
        cold_bias: for those without, float32 [width].
        of_transitions, of_taste: weights, float32 [rows, 1].
    """
    warm = at(warm_bias, when) + of_transitions * filled(transitions, logits) + of_taste * filled(taste, logits)
    return logits + tf.where(cold[:, None], cold_bias, warm)


def filled(counted: Any, logits: Any) -> Any:
    """What `logs` returns of one kind, with all columns of the logits: where nothing was counted, log(ε)."""
    return tf.pad(counted, [[0, 0], [0, tf.shape(logits)[1] - tf.shape(counted)[1]]], constant_values=NOTHING)


def at(by_moment: Any, when: Any) -> Any:
    """The rows of the users' moments, [rows, …], of values [moments, …]; with the only moment, None, that of all, [1, …]."""
    return by_moment if when is None else tf.gather(by_moment, when)
