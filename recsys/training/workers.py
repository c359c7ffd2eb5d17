"""Several processes that train one network: each takes a part of every batch, and all apply the gradient of the whole batch.

TF_CONFIG names them, as for every program that uses tf.distribute.MultiWorkerMirroredStrategy. Worker 0 is the chief: it alone
measures and writes. The network is identical in all of them after every step, because they start with the same one and a
collective operation gives the same numbers everywhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from recsys.errors import ConfigError, RetryError
from recsys.training.cluster import Member

SEED_STEP = 7919
"""Distance between the dropout seeds of two workers."""


class Workers:
    """What the processes that train together do collectively: each call returns when all of them have made it.

    Create it before anything is computed with TensorFlow; it waits for the other processes.

    Args:
        member: which of the processes this is.

    Raises:
        ConfigError: a process has several GPUs.
    """

    def __init__(self, member: Member) -> None:
        self.member = member
        if member.count == 1:
            return
        import tensorflow as tf

        self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
        devices = self._strategy.num_replicas_in_sync
        if devices != member.count:
            raise ConfigError(f"{member.count} workers have {devices} devices: give each worker one GPU, or none")
        self._sum = tf.function(self.summed, autograph=False)

    def summed(self, values: Any) -> Any:
        """Sums each tensor of a structure over all workers. Call it in a tf.function, and only with several workers."""
        import tensorflow as tf

        def reduced() -> Any:
            own = tf.nest.map_structure(tf.identity, values)  # on the device of the strategy
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, own)

        return self._strategy.run(reduced)

    def total(self, value: float) -> float:
        """Sums a number over all workers, as float32."""
        import tensorflow as tf

        return value if self.member.count == 1 else float(self._sum(tf.constant(float(value))))

    def from_chief(self, make: Callable[[], dict[str, float]], names: tuple[str, ...]) -> dict[str, float]:
        """Numbers computed by the chief, as float32, at every worker."""
        made = make() if self.member.chief else dict.fromkeys(names, 0.0)
        return {name: self.total(made[name]) for name in names}

    def barrier(self) -> None:
        """Waits for the others: afterwards, everything the chief wrote before is visible to all."""
        self.total(0.0)


ALONE = Workers(Member())
"""A single process."""


def draw_apart(model: Any, member: Member) -> None:
    """Gives each worker its own dropout masks: the chief keeps its seeds, the others shift theirs by their index."""
    for variable in model.non_trainable_variables:
        if variable.name == "seed_generator_state":
            seed, drawn = variable.numpy()
            variable.assign(np.array([seed + member.index * SEED_STEP, drawn], "uint32"))


@contextlib.contextmanager
def lost_workers(member: Member) -> Iterator[None]:
    """Turns the loss of another worker into an error that says how to resume.

    Raises:
        RetryError: instead of TensorFlow's error.
    """
    import tensorflow as tf

    gone = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError, tf.errors.CancelledError)
    try:
        yield
    except (*gone, tf.errors.InternalError) as error:
        if member.count == 1:
            raise
        words = str(error).strip().splitlines()[0][:300]
        raise RetryError(f"another worker is gone: {words}; restart all of them to resume from the checkpoint") from None
