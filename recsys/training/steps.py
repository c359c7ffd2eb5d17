"""A step of training and the function that takes many of them in one call: gradients, optimizer, schedule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from recsys.model.encoding import Bags
from recsys.model.loss import next_item_loss
from recsys.model.network import CausalCNN
from recsys.training.plan import Plan
from recsys.training.soft_targets import SoftTargets
from recsys.training.workers import ALONE, Workers

CALL_SECONDS: Final = 1.0
"""The longest that a call into TensorFlow should take: between calls training can be stopped and saved. It takes at least one
step, and at most the rest of a chunk; with several workers one."""

Step = Callable[[Any], Any]
Steps = Callable[[Any, Any, Any], Any]


def make_optimizer(plan: Plan, precision: str) -> Any:
    """Adam (AdamW if there is weight decay) with warm-up, cosine decay to zero, and gradients clipped to a global norm of 1.

    Under mixed_float16 the loss is scaled, so that small gradients do not underflow.
    """
    import keras

    rates = learning_rates(plan)
    shared = {"beta_2": 0.98, "global_clipnorm": 1.0}
    if plan.weight_decay:
        optimizer = keras.optimizers.AdamW(rates, weight_decay=plan.weight_decay, **shared)
    else:
        optimizer = keras.optimizers.Adam(rates, **shared)
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer


def learning_rates(plan: Plan) -> Any:
    """The learning rate by step: warm-up, cosine decay to zero."""
    import keras

    return keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if plan.warmup_steps else plan.learning_rate,
        decay_steps=max(1, plan.steps * plan.epochs - plan.warmup_steps),
        warmup_target=plan.learning_rate if plan.warmup_steps else None,
        warmup_steps=plan.warmup_steps,
    )


def make_step(
    model: CausalCNN, optimizer: Any, plan: Plan, users: Bags, workers: Workers = ALONE, soft: SoftTargets | None = None
) -> Step:
    """One training step, for use in a tf.function: this worker's part of a batch → loss of the whole batch.

    Gradients are made dense before they are clipped: for sparse embedding gradients, Keras would compute the norm lookup by
    lookup, which is not the norm of the gradient.
    """
    import tensorflow as tf

    codes, numbers = tf.constant(users.codes), tf.constant(users.numbers)

    def gradients(batch: Any) -> Any:
        own = {"user_codes": tf.gather(codes, batch["user"]), "user_numbers": tf.gather(numbers, batch["user"])}
        if soft is not None:
            own.update(soft(batch))
        with tf.GradientTape() as tape:
            loss = next_item_loss(model, {**batch, **own}, plan.label_smoothing, plan.logits_bytes, plan.loss_blocks)
            scaled = optimizer.scale_loss(loss)
        found = tape.gradient(scaled, model.trainable_variables)
        pairs = zip(found, model.trainable_variables, strict=True)
        return loss, [tf.zeros_like(variable) if g is None else tf.convert_to_tensor(g) for g, variable in pairs]

    def apply(found: Any) -> None:
        optimizer.apply_gradients(zip(found, model.trainable_variables, strict=True))

    alone = workers.member.count == 1  # otherwise XLA compiles only what is around the sum, which it cannot compile
    parts: tuple[Step, ...] = (gradients, apply)
    learn, move = parts if alone else (tf.function(part, jit_compile=plan.xla) for part in parts)

    def step(batch: Any) -> Any:
        loss, found = learn(batch)
        if not alone:
            loss, found = workers.summed((loss, found))
        move(found)
        return loss

    return step


def make_steps(
    model: CausalCNN, optimizer: Any, plan: Plan, users: Bags, workers: Workers = ALONE, soft: SoftTargets | None = None
) -> Steps:
    """Several steps as one compiled function, which leaves Python and, under XLA, even TensorFlow alone in between.

    Returns:
        (chunk of packing.chunks, first, count) → losses float32 [steps of a chunk], of which the first `count` are those of the
        steps first, first + 1, …
    """
    import tensorflow as tf

    step = make_step(model, optimizer, plan, users, workers, soft)

    @tf.function(jit_compile=plan.xla and workers.member.count == 1)  # type: ignore[untyped-decorator]
    def steps(chunk: Any, first: Any, count: Any) -> Any:
        arrays = {name: values for name, values in chunk.items() if name != "steps"}

        def body(number: Any, losses: Any) -> Any:
            # a slice would take `first` for a constant, and be compiled anew for each
            loss = step({name: tf.gather(values, first + number) for name, values in arrays.items()})
            return number + 1, tf.tensor_scatter_nd_update(losses, [[number]], [loss])

        none = tf.zeros(chunk["item"].shape[:1])
        return tf.while_loop(lambda number, losses: number < count, body, (tf.constant(0), none))[1]

    return steps  # type: ignore[no-any-return]


class Pace:
    """How many steps to ask for at a time: one, until it is known how long a step takes without the time of compiling it.

    Args:
        alone: otherwise one at a time, since workers must ask for the same.
    """

    def __init__(self, alone: bool) -> None:
        self._alone, self._compiled, self._count = alone, False, 1

    def steps(self, left: int) -> int:
        """For the next call, if so many are left."""
        return min(self._count, left)

    def took(self, count: int, seconds: float) -> None:
        """Learns from a call."""
        if self._compiled and self._alone:
            self._count = max(1, int(CALL_SECONDS * count / max(seconds, 1e-9)))
        self._compiled = True
