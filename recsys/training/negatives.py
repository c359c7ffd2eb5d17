"""The sample that stands for the catalogue in a sampled softmax: drawn for each step from its seed, epoch and number alone."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recsys.model.encoding import Arrays


@dataclasses.dataclass(frozen=True)
class Proposal:
    """What negatives are drawn from.

    Attributes:
        cumulative: float64 [items + 1], sums of Q up to each item; the last is 1.
        log_q: float64 [items + 1], log Q; -inf for items that are never drawn.
    """

    cumulative: NDArray[np.float64]
    log_q: NDArray[np.float64]


def proposal(counts: NDArray[np.int64]) -> Proposal:
    """Q: half the items' share of the events, half the same for every item with an event.

    The share alone hardly ever draws the rare items, equal chances hardly ever the items that most users choose between. Of
    the mixture no importance weight 1 / Q is more than twice that of the better half (mixed negative sampling: Yang et al.,
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
    """The batch with a sample of negatives, and with only the items that the step needs.

    Args:
        batch: from pipeline.training_batches.
        drawn_from: Q.
        count: negatives, drawn with replacement.
        seed, epoch, step: fix the draw.

    Returns:
        The batch, `item` and `target` replaced by places in `rows`, and three arrays more: `rows` int32 [see `rows_size`],
        indices of the items, rising, the first 0 and the unused last ones 0 as well; `negative` int32 [count], places in
        `rows`; `log_expected` float32 [count], log of how often each of them is expected, count · Q.
    """
    random = np.random.default_rng([seed, epoch, step, 1])  # the order of an epoch has three numbers
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
    """What `with_negatives` adds to a batch of so many positions, as tf.TensorSpec by name."""
    import tensorflow as tf

    return {
        "rows": tf.TensorSpec([rows_size(positions, count)], tf.int32),
        "negative": tf.TensorSpec([count], tf.int32),
        "log_expected": tf.TensorSpec([count], tf.float32),
    }


def rows_size(positions: int, count: int) -> int:
    """Most different items that a step can need, a static shape.

    The item at a position is the target at the position before; so it is padding, the first position's item, the targets
    and the negatives.
    """
    return positions + count + 2
