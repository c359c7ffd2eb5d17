"""Negatives for the sampled softmax: the draw of each step depends only on seed, epoch and step."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.model.encoding import Arrays


@dataclasses.dataclass(frozen=True)
class Proposal:
    """The distribution from which negatives are drawn.

    Attributes:
        cumulative: float64 [items + 1], cumulative sums of Q; the last is 1.
        log_q: float64 [items + 1], log Q; -inf for items that are never drawn.
    """

    cumulative: NDArray[np.float64]
    log_q: NDArray[np.float64]


def proposal(counts: NDArray[np.int64]) -> Proposal:
    """Q: half each item's share of the events, half uniform over the items with an event.

    By share alone, rare items are hardly ever drawn; uniformly, the items most users choose between hardly ever. In the
    mixture no importance weight 1 / Q is more than twice that of the better half (mixed negative sampling: Yang et al.,
    WWW 2020; as a defensive mixture: Hesterberg, Technometrics 1995).

    Args:
        counts: int64 [items + 1], events to learn from; items without any are never drawn.
    """
    known = counts > 0
    q = 0.5 * counts / max(1, counts.sum()) + 0.5 * known / max(1, known.sum())
    cumulative = np.cumsum(q)
    with np.errstate(divide="ignore", invalid="ignore"):
        return Proposal(cumulative / cumulative[-1], np.log(q))


def with_negatives(batch: Arrays, drawn_from: Proposal, count: int, seed: int, epoch: int, step: int) -> Arrays:
    """Adds a sample of negatives to a batch, and reduces it to the items that the step needs.

    Args:
        batch: from packing.training_batches.
        drawn_from: Q.
        count: negatives, drawn with replacement.
        seed, epoch, step: determine the draw.

    Returns:
        The batch with `item` and `target` replaced by places in `rows`, and three more arrays: `rows` int32 [see `rows_size`],
        ascending item indices, the first one and the unused ones at the end 0; `negative` int32 [count], places in `rows`;
        `log_expected` float32 [count], log of the expected number of draws, count · Q.
    """
    random = np.random.default_rng([seed, epoch, step, 1])  # the order of an epoch draws from three numbers
    drawn = np.searchsorted(drawn_from.cumulative, random.random(count), side="right")
    parts = [batch["item"].ravel(), batch["target"].ravel(), drawn, np.zeros(1, np.int64)]
    needed, places = np.unique(np.concatenate(parts), return_inverse=True)
    rows = np.zeros(rows_size(batch["item"].size, count), np.int32)
    rows[: len(needed)] = needed
    item, target, negative, _ = np.split(places.astype(np.int32), np.cumsum([len(part) for part in parts[:-1]]))
    shape = batch["item"].shape
    log_expected = (np.log(count) + drawn_from.log_q[drawn]).astype(np.float32)
    local = {"item": item.reshape(shape), "target": target.reshape(shape), "negative": negative, "log_expected": log_expected}
    return {**batch, **local, "rows": rows}


def signature(positions: int, count: int) -> dict[str, Any]:
    """What `with_negatives` adds to a batch with this many positions, as tf.TensorSpec by name."""
    import tensorflow as tf

    return {
        "rows": tf.TensorSpec([rows_size(positions, count)], tf.int32),
        "negative": tf.TensorSpec([count], tf.int32),
        "log_expected": tf.TensorSpec([count], tf.float32),
    }


def rows_size(positions: int, count: int) -> int:
    """Maximum number of distinct items that a step can need, a static shape.

    The item at a position is the target of the previous position, so these are: padding, the first position's item, the
    targets and the negatives.
    """
    return positions + count + 2
