"""A step of training, and the function that takes many of them in one call."""

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

Step = Callable[[Any, Any], Any]
Steps = Callable[[Any, Any, Any, Any], Any]


def lookup_tables(users: Bags, soft: SoftTargets | None = None) -> dict[str, Any]:
    """What the steps of a phase look up, as tensors by name: the features of all users, and what soft targets draw from."""
    import tensorflow as tf

    more = {} if soft is None else soft.tensors
    return {"user_codes": tf.constant(users.codes), "user_numbers": tf.constant(users.numbers), **more}


def make_step(model: CausalCNN, optimizer: Any, plan: Plan, workers: Workers = ALONE, soft: SoftTargets | None = None) -> Step:
    """One training step, for use in a tf.function: lookup tables, this worker's part of a batch → loss of the whole batch.

    Gradients are made dense before they are clipped: for sparse embedding gradients, Keras would compute the norm lookup by
    lookup, which is not the norm of the gradient.
    """
    import tensorflow as tf

    def gradients(tables: Any, batch: Any) -> Any:
        own = {name: tf.gather(tables[name], batch["user"]) for name in ("user_codes", "user_numbers")}
        if soft is not None:
            own.update(soft(batch, tables))
        with tf.GradientTape() as tape:
            loss = next_item_loss(model, {**batch, **own}, plan.label_smoothing, plan.logits_bytes, plan.loss_blocks)
            scaled = optimizer.scale_loss(loss)
        found = tape.gradient(scaled, model.trainable_variables)
        pairs = zip(found, model.trainable_variables, strict=True)
        return loss, [tf.zeros_like(variable) if g is None else tf.convert_to_tensor(g) for g, variable in pairs]

    def apply(found: Any) -> None:
        optimizer.apply_gradients(zip(found, model.trainable_variables, strict=True))

    alone = workers.member.count == 1  # otherwise XLA compiles only what is around the sum, which it cannot compile
    parts: tuple[Callable[..., Any], ...] = (gradients, apply)
    learn, move = parts if alone else (tf.function(part, jit_compile=plan.xla, autograph=False) for part in parts)

    def step(tables: Any, batch: Any) -> Any:
        loss, found = learn(tables, batch)
        if not alone:
            loss, found = workers.summed((loss, found))
        move(found)
        return loss

    return step


def make_steps(
    model: CausalCNN, optimizer: Any, plan: Plan, workers: Workers = ALONE, soft: SoftTargets | None = None
) -> Steps:
    """Several steps as one compiled function, which leaves Python and, under XLA, even TensorFlow alone in between.

    Returns:
        (lookup tables, chunk of packing.chunks, first, count) → losses float32 [steps of a chunk], the first `count` of them
        those of the steps first, first + 1, …
    """
    import tensorflow as tf

    step = make_step(model, optimizer, plan, workers, soft)

    @tf.function(jit_compile=plan.xla and workers.member.count == 1, autograph=False)  # type: ignore[untyped-decorator]
    def steps(tables: Any, chunk: Any, first: Any, count: Any) -> Any:
        arrays = {name: values for name, values in chunk.items() if name != "steps"}

        def body(number: Any, losses: Any) -> Any:
            # a slice would take `first` for a constant, and be compiled anew for each
            loss = step(tables, {name: tf.gather(values, first + number) for name, values in arrays.items()})
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
