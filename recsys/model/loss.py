"""Softmax cross-entropy over all items of the catalogue, or over a sample of them, in blocks of positions.

The gradients of a block are computed together with its loss, while its logits lie in the cache; then they are dropped. So no
logits are made twice, and those of a whole step exist nowhere (the idea is that of Hsu et al., "Liger kernel", 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

from keras import ops

from recsys.blocks import CPU
from recsys.model.network import NEVER, Batch, CausalCNN

FEWEST_POSITIONS: Final = 512
"""Of a block, unless it is divided further: each adds to the gradient of the whole table, which fewer would not be worth."""

Losses = Callable[..., Any]


def next_item_loss(
    model: CausalCNN, batch: Batch, label_smoothing: float = 0.0, block_bytes: int = CPU.logits, finer: int = 1
) -> Any:
    """Mean cross-entropy of the next item at every position, float32 scalar.

    With `negative` in the batch the softmax is sampled, and only the vectors of the items in `rows` are computed.

    Args:
        model: the network.
        batch: its inputs, `target` int32 [B, T] and `weight` float32 [B, T]. A part of a larger batch also has `total`
            float32 [], the weight of the whole, so that the losses of the parts add up to its mean. For a sampled softmax also
            what recsys.training.negatives adds: `rows` int32 [R], the items that the step needs, with `item` and `target` as
            places in it; `negative` int32 [S], places too; `log_expected` float32 [S], see `_sampled`. Several targets of each
            position, for the full softmax alone: `targets` int32 [B, T, M] and `shares` float32 [B, T, M], which sum to 1.
        label_smoothing: share of each target that is spread evenly over the items with training events.
        block_bytes: most bytes of a block of logits with more than FEWEST_POSITIONS, see recsys.blocks.
        finer: the blocks are this many times smaller than `block_bytes` asks for.
    """
    rows = batch.get("rows")
    table = model.item_table(rows)
    state = ops.reshape(model.encode(batch, table, training=True), (-1, model.spec.width))
    weight = ops.reshape(batch["weight"], (-1,))
    losses: Losses
    taught: tuple[Any, ...]
    if rows is None:
        losses, columns = partial(_full, model, label_smoothing), model.spec.items + 1
        targets, shares = batch.get("targets", batch["target"]), batch.get("shares", ops.ones_like(batch["weight"]))
        taught = tuple(ops.reshape(values, (weight.shape[0], -1)) for values in (targets, shares))
    else:
        losses, columns = partial(_sampled, model, label_smoothing, batch), batch["negative"].shape[0]
        taught = (ops.reshape(batch["target"], (-1,)),)
    biases = model.item_biases(rows, known_only=True)
    total = batch["total"] if "total" in batch else ops.sum(weight)
    blocks = _blocks(weight.shape[0], columns, block_bytes, finer)
    return _summed(losses, state, table, biases, taught, weight, blocks) / ops.maximum(total, 1.0)


def _full(model: CausalCNN, label_smoothing: float, state: Any, table: Any, biases: Any, targets: Any, shares: Any) -> Any:
    """Loss of each position, float32 [N], for states [N, width], targets int32 [N, M] and their shares [N, M]."""
    logits = model.logits(state, table, biases)
    taught = ops.einsum("nm,nmw->nw", shares, ops.take(table, targets, axis=0))
    wanted = ops.sum(state * taught, axis=-1) + ops.sum(ops.take(biases, targets, axis=0) * shares, axis=-1)
    if label_smoothing:
        even = ops.sum(logits * model.item_known, axis=-1) / ops.sum(model.item_known)
        wanted = (1.0 - label_smoothing) * wanted + label_smoothing * even
    return ops.logsumexp(logits, axis=-1) - wanted


def _sampled(model: CausalCNN, label_smoothing: float, batch: Batch, state: Any, table: Any, biases: Any, target: Any) -> Any:
    """The same with the denominator of the softmax estimated from a sample shared by all positions, float32 [N].

    With S negatives n drawn from Q with replacement, the target t, and the expected number of draws e(n) = S · Q(n):

        loss = -f(t) + log(exp f(t) + Σ_{n ≠ t} exp(f(n) - log e(n)))

    The sum is an unbiased estimate of Σ_{j ≠ t} exp f(j): importance sampling after Bengio and Senécal, "Adaptive importance
    sampling to accelerate training of a neural probabilistic language model", 2008. The target is always
    present, not drawn, so it gets no correction (Khrylchenko et al., "Correcting the LogQ correction", RecSys 2025); if it is
    drawn as well, that negative is masked. As S grows, the loss approaches that of the full softmax.

    Args:
        model: the network.
        label_smoothing: see above; the mean logit of all items is estimated from the same sample.
        batch: `negative` int32 [S], rows of the table, and `log_expected` float32 [S], log e(n).
        state: [N, width]
        table, biases: [R, width] and float32 [R], of the items that the step needs.
        target: int32 [N], rows of the table.
    """
    negative, log_expected = batch["negative"], batch["log_expected"]
    logits = model.logits(state, ops.take(table, negative, axis=0), ops.take(biases, negative, axis=0))
    hit = ops.equal(ops.expand_dims(target, -1), negative)
    others = ops.logsumexp(ops.where(hit, NEVER, logits - log_expected), axis=-1)
    wanted = ops.sum(state * ops.take(table, target, axis=0), axis=-1) + ops.take(biases, target, axis=0)
    total = ops.logaddexp(wanted, others)
    if label_smoothing:
        mean = ops.sum(logits * ops.exp(-log_expected), axis=-1) / ops.sum(model.item_known)
        wanted = (1.0 - label_smoothing) * wanted + label_smoothing * mean
    return total - wanted


def _summed(losses: Losses, state: Any, table: Any, biases: Any, taught: tuple[Any, ...], weight: Any, blocks: int) -> Any:
    """Σ weight · loss over the positions, in so many blocks."""
    import tensorflow as tf

    def divided(values: Any) -> Any:
        return tf.reshape(values, (blocks, -1, *values.shape[1:]))

    others = [divided(values) for values in (weight, *taught)]

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def summed(state: Any, table: Any, biases: Any) -> Any:
        states = divided(state)

        def add(number: Any, total: Any, of_states: Any, of_table: Any, of_biases: Any) -> Any:
            """One more block: its loss, and its gradients with respect to its states, the table and the biases."""
            some, weights, *targets = (tf.gather(values, number) for values in (states, *others))
            with tf.GradientTape() as tape:
                tape.watch((some, table, biases))
                more = tf.reduce_sum(losses(some, table, biases, *targets) * weights)
            own, *shared = map(tf.convert_to_tensor, tape.gradient(more, (some, table, biases)))
            of_states = tf.tensor_scatter_nd_update(of_states, [[number]], [own])
            return number + 1, total + more, of_states, of_table + shared[0], of_biases + shared[1]

        none = tf.constant(0.0), tf.zeros_like(states), tf.zeros_like(table), tf.zeros_like(biases)
        _, total, *found = tf.while_loop(lambda number, *_: number < blocks, add, (tf.constant(0), *none))
        found[0] = tf.reshape(found[0], state.shape)
        return total, lambda upstream: [upstream * gradient for gradient in found]

    return summed(state, table, biases)


def _blocks(positions: int, columns: int, block_bytes: int, finer: int) -> int:
    """Smallest number of equal blocks of positions whose logits over these columns stay within `block_bytes`, or have
    FEWEST_POSITIONS; at least `finer` times as many as needed."""
    wanted = -(-positions // max(FEWEST_POSITIONS, block_bytes // (4 * columns))) * finer
    return (
        next(blocks for blocks in range(wanted, positions + 1) if positions % blocks == 0) if wanted < positions else positions
    )
