"""How large the arrays may become that grow with the catalogue: they are computed in blocks that fit the device's memory."""

from __future__ import annotations

import dataclasses
from typing import Final


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Most bytes of one block.

    Attributes:
        logits: of a step's logits, see recsys.model.loss.
        scores: of a tile of scores, see recsys.methods.tiles. Several are at work at the same time.
    """

    logits: int
    scores: int


CPU: Final = Blocks(logits=8 << 20, scores=8 << 20)
"""The bits of a result depend on its blocks, so on CPUs they are the same whatever the memory. They stay in the caches: what is
written is still at hand when it is read again."""
UNKNOWN: Final = Blocks(logits=512 << 20, scores=128 << 20)
"""Of a GPU that does not tell its memory."""
MOST: Final = Blocks(logits=4 << 30, scores=512 << 20)
"""Kernels count the elements of an array in 31 bits; of scores, the blend holds as much in the host's memory."""
LOGITS_SHARE, SCORES_SHARE = 16, 128
"""A step holds about four arrays of the size of its logits: with gradients and softmax a quarter of the memory, and the rest is
for weights, moments and activations. Of scores there are four blocks with about six arrays each: a fifth."""


def of_gpu(memory: int) -> Blocks:
    """The blocks for a GPU: powers of two, so that a few more bytes in use do not change the bits.

    Args:
        memory: free bytes; 0 if unknown.
    """
    if not memory:
        return UNKNOWN
    shares = Blocks(memory // LOGITS_SHARE, memory // SCORES_SHARE)
    return Blocks(min(MOST.logits, _power_of_two(shares.logits)), min(MOST.scores, _power_of_two(shares.scores)))


def _power_of_two(number: int) -> int:
    """The largest power of two up to a number of at least 1."""
    return 1 << (max(1, number).bit_length() - 1)
