"""The optimizer of the network, and the learning rate that it follows."""

from __future__ import annotations

import math
from typing import Any

import keras

from recsys.training.plan import Plan


class Rates(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """The learning rate by step: warm-up from zero, then half a cosine to zero.

    Peak and lengths are variables, so that steps that are compiled already can follow another plan.
    """

    def __init__(self, plan: Plan) -> None:
        import tensorflow as tf

        self._peak, self._warmup, self._decay = (tf.Variable(1.0, trainable=False) for _ in range(3))
        self.follow(plan)

    def follow(self, plan: Plan) -> None:
        """From now on the rates are those of this plan."""
        self._peak.assign(plan.learning_rate)
        self._warmup.assign(plan.warmup_steps)
        self._decay.assign(max(1, plan.steps * plan.epochs - plan.warmup_steps))

    def __call__(self, step: Any) -> Any:
        """The rate of a step, counted from 0: float32 []."""
        import tensorflow as tf

        at = tf.cast(step, tf.float32)
        falling = 0.5 * (1.0 + tf.cos(math.pi * tf.minimum((at - self._warmup) / self._decay, 1.0)))
        return self._peak * tf.where(at < self._warmup, at / tf.maximum(self._warmup, 1.0), falling)


def make_optimizer(rates: Any, precision: str, weight_decay: float) -> Any:
    """Adam (AdamW if there is weight decay) with gradients clipped to a global norm of 1.

    Under mixed_float16 the loss is scaled, so that small gradients do not underflow.

    Args:
        rates: a learning rate, or a schedule of it.
        precision: Keras dtype policy of the network.
        weight_decay: see config.Training.
    """
    shared = {"beta_2": 0.98, "global_clipnorm": 1.0}
    if weight_decay:
        optimizer = keras.optimizers.AdamW(rates, weight_decay=weight_decay, **shared)
    else:
        optimizer = keras.optimizers.Adam(rates, **shared)
    return keras.optimizers.LossScaleOptimizer(optimizer) if precision == "mixed_float16" else optimizer
