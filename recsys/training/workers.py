"""Several processes that train one network: each takes a part of every batch, and all of them apply the gradient of the whole.

TF_CONFIG says who takes part, as for every program that uses tf.distribute.MultiWorkerMirroredStrategy. Worker 0 is the chief:
it alone measures and writes. After every step the network is the same in all of them, since they begin with the same one and
a collective operation gives the same numbers everywhere.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from recsys.errors import ConfigError, RetryError
from recsys.training.cluster import Member

SEED_STEP = 7919
"""Between the seeds of two workers' dropout."""


class Workers:
    """What the processes of a training do together. Each of these calls returns when all of them have made it.

    Args:
        member: which of them this one is. To be made before anything is computed with TensorFlow; waits for the others.

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
            raise ConfigError(f"{member.count} workers have {devices} devices: give each of them one GPU, or none")
        self._sum = tf.function(self.summed)

    def summed(self, values: Any) -> Any:
        """The sums over all workers of the tensors of a structure. To be called in a tf.function, where there are several."""
        import tensorflow as tf

        def reduced() -> Any:
            own = tf.nest.map_structure(tf.identity, values)  # on the device of the strategy
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, own)

        return self._strategy.run(reduced)

    def total(self, value: float) -> float:
        """The sum of a number over all workers, as float32."""
        import tensorflow as tf

        return value if self.member.count == 1 else float(self._sum(tf.constant(float(value))))

    def from_chief(self, make: Callable[[], dict[str, float]], names: tuple[str, ...]) -> dict[str, float]:
        """Numbers that the chief makes, as float32, at every worker."""
        made = make() if self.member.chief else dict.fromkeys(names, 0.0)
        return {name: self.total(made[name]) for name in names}

    def barrier(self) -> None:
        """Waits for the others: what the chief wrote before is there for all afterwards."""
        self.total(0.0)


ALONE = Workers(Member())
"""One process that trains by itself."""


def draw_apart(model: Any, member: Member) -> None:
    """Gives each worker dropout masks of its own: the chief's seeds stay, the others' move by their index."""
    for variable in model.non_trainable_variables:
        if variable.name == "seed_generator_state":
            seed, drawn = variable.numpy()
            variable.assign(np.array([seed + member.index * SEED_STEP, drawn], "uint32"))


@contextlib.contextmanager
def lost_workers(member: Member) -> Iterator[None]:
    """Says that training goes on from its checkpoint where another worker has gone.

    Raises:
        RetryError: instead of what TensorFlow raises then.
    """
    import tensorflow as tf

    gone = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError, tf.errors.CancelledError)
    try:
        yield
    except (*gone, tf.errors.InternalError) as error:
        if member.count == 1:
            raise
        words = str(error).strip().splitlines()[0][:300]
        raise RetryError(f"another worker is gone: {words}; start all of them again, they go on from the checkpoint") from None
