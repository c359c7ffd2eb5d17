"""Soft targets: what a position learns besides its next event.

A history says of each moment what followed, once. Two things are known that say more:

- *The events after the next one.* Lists are made for a while, not for one event, and what comes a little later would have been
  right as well. Each event ahead counts DECAY times as much as the one before it.
- *What followed the same items in other histories*, as the transitions count it (recsys.methods.transitions). Every step draws
  SAMPLES items per position: one of the last events, later ones more often, and then one of its successors, by its share. That
  is label smoothing towards a distribution that depends on the context, or the distillation of a teacher that counts (Hinton et
  al., "Distilling the knowledge in a neural network", 2015). Where events are few, the network alone would rather learn the
  histories by heart.

Everything is computed on the device from the batch itself: nothing more is copied to it than a seed for each step.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.contract.histories import Histories
from recsys.methods import counting
from recsys.methods.blend import MAX_EVENTS, TRANSITIONS
from recsys.methods.transitions import Transitions
from recsys.model.encoding import Arrays

WINDOW: Final = int(TRANSITIONS["window"])
"""The last events whose successors are drawn, and the largest lag that is counted."""
DECAY: Final = TRANSITIONS["decay"]
"""Weight of a lag, or of an event ahead, relative to the one before."""
SAMPLES: Final = 4
"""Successors drawn for each position and step."""


@dataclasses.dataclass(frozen=True)
class Successors:
    """What follows each item, to draw from.

    Attributes:
        starts: int32 [items + 2], where the successors of each item begin in the other arrays.
        items: int32 [pairs].
        cumulative: float32 [pairs], the share of an item's successors up to this one.
    """

    starts: NDArray[np.int32]
    items: NDArray[np.int32]
    cumulative: NDArray[np.float32]

    @classmethod
    def count(cls, events: Histories, n_items: int, seed: int) -> Successors:
        """Counts the events, or those of a sample of users, as the blend does."""
        rows = Transitions.fit_one(counting.sample_users(events, MAX_EVENTS, seed), n_items, TRANSITIONS).rows
        sums = np.concatenate(([0.0], np.cumsum(rows.data, dtype=np.float64)))
        before = np.repeat(sums[rows.indptr[:-1]], np.diff(rows.indptr))
        return cls(rows.indptr.astype(np.int32), rows.indices.astype(np.int32), (sums[1:] - before).astype(np.float32))


class SoftTargets:
    """Adds `targets` and `shares` to batches.

    Args:
        horizon: events ahead, the next one included.
        smoothing: share of a target that goes to drawn successors, where there are any.
        successors: see Successors; None without smoothing.
        rows: of the whole batch, of which a worker has a part.
        own: the rows that it has.
        before: of an earlier phase. If there is room in its tensors, these get the same size, so that steps that are compiled
            for them serve both.

    Attributes:
        form: what the compiled steps depend on.
        tensors: what they look up, by name.
    """

    def __init__(
        self,
        horizon: int,
        smoothing: float,
        successors: Successors | None,
        rows: int,
        own: slice,
        before: SoftTargets | None = None,
    ) -> None:
        self.horizon, self.smoothing, self.rows, self.own = horizon, smoothing, rows, own
        self.successors = successors if successors is not None and len(successors.items) else None
        """None also if nobody had a second event."""
        self._room, self._halvings, self.tensors = 0, 0, dict[str, Any]()
        if self.successors is not None:
            self._look_up(self.successors, before)
        self.form = (horizon, smoothing, rows, own.start, own.stop, self._room, self._halvings)

    def _look_up(self, successors: Successors, before: SoftTargets | None) -> None:
        """Makes the tensors, with room for half as many pairs again."""
        import tensorflow as tf

        pairs, halvings = len(successors.items), int(np.diff(successors.starts).max()).bit_length()
        if before is not None and before._room >= pairs and before._halvings >= halvings:
            self._room, self._halvings = before._room, before._halvings
        else:
            self._room, self._halvings = pairs + pairs // 2, halvings + 1
        for name, values in dataclasses.asdict(successors).items():
            self.tensors[name] = tf.constant(values if name == "starts" else np.pad(values, (0, self._room - pairs)))

    def __call__(self, batch: Any, tensors: Any) -> dict[str, Any]:
        """For use in a tf.function.

        Args:
            batch: of packing.training_batches, and `draw` int32 [2], the seed of the step.
            tensors: those of this or of another one of the same form.

        Returns:
            `targets` int32 [B, T, M] and `shares` float32 [B, T, M], which sum to 1; a share of 0 where there is no target.
        """
        import tensorflow as tf

        targets, shares = self._ahead(batch)
        if self.successors is None:
            return {"targets": targets, "shares": shares}
        drawn, found = self._drawn(batch, tensors)
        weights = tf.cast(found, tf.float32)
        count = tf.reduce_sum(weights, axis=-1, keepdims=True)
        smoothing = self.smoothing * tf.minimum(count, 1.0)
        both = [(1.0 - smoothing) * shares, smoothing * weights / tf.maximum(count, 1.0)]
        return {"targets": tf.concat([targets, drawn], -1), "shares": tf.concat(both, -1)}

    def _ahead(self, batch: Any) -> tuple[Any, Any]:
        """The next events of the same history, as far as they lie in the same row: [B, T, horizon] each."""
        import tensorflow as tf

        targets, weights = [], []
        for ahead in range(self.horizon):
            later = {
                name: tf.pad(batch[name][:, ahead:], [[0, 0], [0, ahead]]) for name in ("target", "position", "user", "weight")
            }
            same = (later["position"] == batch["position"] + ahead) & (later["user"] == batch["user"]) & (later["weight"] > 0)
            targets.append(later["target"])
            weights.append(DECAY**ahead * tf.cast(same, tf.float32))
        found = tf.stack(weights, -1)
        return tf.stack(targets, -1), found / tf.maximum(tf.reduce_sum(found, axis=-1, keepdims=True), 1e-9)

    def _drawn(self, batch: Any, tensors: Any) -> tuple[Any, Any]:
        """Successors of the last events, int32 [B, T, SAMPLES], and whether there is one."""
        import tensorflow as tf

        length = batch["item"].shape[1]
        uniform = tf.random.stateless_uniform((2, self.rows, length, SAMPLES), batch["draw"], alg="philox")[:, self.own]
        there = tf.minimum(tf.minimum(batch["position"], tf.range(1, length + 1)), WINDOW)  # events that the row holds
        mass = 1.0 - tf.pow(DECAY, tf.cast(there, tf.float32))[..., None]
        steps = tf.cast(tf.math.log(1.0 - uniform[0] * mass) / np.float32(np.log(DECAY)), tf.int32)  # inverse of the geometric
        back = tf.clip_by_value(steps, 0, tf.maximum(there - 1, 0)[..., None])
        place = tf.maximum(tf.range(length)[:, None] - back, 0)
        item = tf.reshape(tf.gather(batch["item"], tf.reshape(place, (-1, length * SAMPLES)), batch_dims=1), tf.shape(back))
        low, end = tf.gather(tensors["starts"], item), tf.gather(tensors["starts"], item + 1)
        found, high = (end > low) & (there > 0)[..., None], end - 1
        for _ in range(self._halvings):  # binary search
            middle = (low + high) // 2
            right = tf.gather(tensors["cumulative"], tf.maximum(middle, 0)) <= uniform[1]
            low, high = tf.where(right & (middle < high), middle + 1, low), tf.where(right, high, middle)
        return tf.gather(tensors["items"], tf.where(found, low, 0)), found


def signature() -> dict[str, Any]:
    """What `with_draw` adds to a batch, as TensorSpecs by name."""
    import tensorflow as tf

    return {"draw": tf.TensorSpec((2,), tf.int32)}


def with_draw(batch: Arrays, seed: int, epoch: int, step: int) -> Arrays:
    """The batch with `draw` int32 [2], the seed of its step, from which a resumed training draws the same."""
    return {**batch, "draw": np.random.default_rng([seed, epoch, step, 4]).integers(2**31, size=2, dtype=np.int32)}
