"""Full softmax cross-entropy over the catalogue, in blocks of positions where the logits would not fit."""

from __future__ import annotations

from typing import Any

from keras import ops

from recsys.model.network import Batch, CausalCNN

LOGITS_BYTES = 512 * 1024 * 1024
"""Above this size of the logits of one step, they are made (and in the backward pass made again) a block at a time."""


def next_item_loss(model: CausalCNN, batch: Batch, label_smoothing: float = 0.0) -> Any:
    """Mean cross-entropy of the next item at every position, float32 scalar.

    Args:
        model: the network.
        batch: its inputs, `target` int32 [B, T] and `weight` float32 [B, T].
        label_smoothing: share of each target that is spread evenly over the catalogue.
    """
    table = model.item_table()
    state = ops.reshape(model.encode(batch, table, training=True), (-1, model.spec.width))
    target, weight = ops.reshape(batch["target"], (-1,)), ops.reshape(batch["weight"], (-1,))
    positions = target.shape[0]
    blocks = _blocks(positions, model.spec.items)
    if blocks == 1:
        total = _summed(model, state, table, target, weight, label_smoothing)
    else:
        import tensorflow as tf

        @tf.recompute_grad  # type: ignore[untyped-decorator]
        def summed(state: Any, table: Any, target: Any, weight: Any) -> Any:
            return _summed(model, state, table, target, weight, label_smoothing)

        size = positions // blocks
        parts = [slice(start, start + size) for start in range(0, positions, size)]
        total = sum(summed(state[part], table, target[part], weight[part]) for part in parts)
    return total / ops.maximum(ops.sum(weight), 1.0)


def _summed(model: CausalCNN, state: Any, table: Any, target: Any, weight: Any, label_smoothing: float) -> Any:
    logits = model.logits(state, table, known_only=True)
    losses = ops.sparse_categorical_crossentropy(target, logits, from_logits=True)
    if label_smoothing:
        known = model.item_known / ops.sum(model.item_known)
        even = ops.logsumexp(logits, axis=-1) - ops.sum(logits * known, axis=-1)
        losses = (1.0 - label_smoothing) * losses + label_smoothing * even
    return ops.sum(losses * weight)


def _blocks(positions: int, items: int) -> int:
    """Least number of equal blocks of positions whose logits stay below LOGITS_BYTES."""
    wanted = max(1, -(-positions * (items + 1) * 4 // LOGITS_BYTES))
    return (
        next(blocks for blocks in range(wanted, positions + 1) if positions % blocks == 0) if wanted < positions else positions
    )
