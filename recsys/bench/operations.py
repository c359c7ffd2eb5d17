"""Operations of a step, counted from its shapes, and how fast the device multiplies matrices."""

from __future__ import annotations

import dataclasses
import time
from typing import Any, Final

import numpy as np

from recsys.model.network import Spec

SIZES: Final = (512, 1024, 2048, 4096, 8192)
"""Rows of the square matrices that are multiplied, until a product takes LONG_ENOUGH seconds."""
LONG_ENOUGH: Final = 0.02
PRODUCTS: Final = 5
TIMES: Final = 3


@dataclasses.dataclass(frozen=True)
class Operations:
    """Operations of one step, an addition and a multiplication each being one, by the precision in which they are done.

    Attributes:
        blocks: in the compute dtype of the precision.
        softmax: always in float32 (TF32 on GPUs), see CausalCNN.logits.
    """

    blocks: int
    softmax: int

    @property
    def total(self) -> int:
        """Of both."""
        return self.blocks + self.softmax


def count(spec: Spec, positions: int, negatives: int) -> Operations:
    """Operations of the matrix products of one step; everything else (sums, gates, norms, gathers, Adam) is not counted.

    With width w, kernel size k, feed-forward factor f, and c columns of logits (all items and padding, or the negatives), a
    position takes forward

        blocks · 2 (k w · 2w + w · w + 2 f w · w)        the taps to value and gate; the projection; the feed-forward block
        2 w c                                            the logits

    and backward twice as much: a product C = A B has two gradients, each a product of the same size. Logits that are computed
    again in the backward pass to save memory (recsys.model.loss) count once.

    Args:
        spec: sizes of the network.
        positions: of a step.
        negatives: of the sampled softmax; 0: the full one.
    """
    w, columns = spec.width, negatives or spec.items + 1
    block = 2 * (spec.kernel_size * w * 2 * w + w * w + 2 * spec.feed_forward * w * w)
    return Operations(3 * positions * len(spec.dilations) * block, 3 * positions * 2 * w * columns)


def share(operations: Operations, seconds: float, compute: float, float32: float) -> float:
    """The time that the operations would take if all ran as fast as a large product of matrices, as a share of a step's time.

    Args:
        operations: of a step.
        seconds: of a step.
        compute, float32: operations a second of such products in the compute dtype and in float32, see matmul_rate.
    """
    return (operations.blocks / compute + operations.softmax / float32) / seconds


def matmul_rate(dtype: str) -> float:
    """Operations a second of the fastest product of square matrices, tf.matmul on the device that TensorFlow chooses.

    Args:
        dtype: of the matrices: float32 (TF32 on GPUs that have it), bfloat16 or float16.
    """
    best = 0.0
    for size in SIZES:
        seconds = _seconds(size, dtype)
        best = max(best, 2 * size**3 / seconds)
        if seconds > LONG_ENOUGH:
            break
    return best


def _seconds(size: int, dtype: str) -> float:
    """Of one product; the shortest of some."""
    import tensorflow as tf

    random = np.random.default_rng(0)
    left, right = (tf.cast(random.standard_normal((size, size), np.float32), dtype) for _ in range(2))

    def multiplied(times: int) -> None:
        result: Any = left
        for _ in range(times):
            result = tf.matmul(left, right)
        result[0, 0].numpy()  # waits for all of them

    multiplied(1)
    found = []
    for _ in range(TIMES):
        started = time.perf_counter()
        multiplied(PRODUCTS)
        found.append((time.perf_counter() - started) / PRODUCTS)
    return min(found)
