"""The items nearest to an item, by the vectors that a network has learned for them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def nearest(vectors: NDArray[np.float32], item: int, k: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The items whose vectors point most nearly where that of the given item points.

    Args:
        vectors: float32 [items, width].
        item: row of the item.
        k: most items to return; there may be fewer.

    Returns:
        Their rows, int32 [k], nearest first and without the item itself, equally near ones in order; and the cosine of the
        angle between the vectors, float32 [k], from -1 to 1, 0 for a vector of zeros.
    """
    lengths = np.linalg.norm(vectors, axis=1)
    unit = vectors / np.where(lengths > 0, lengths, 1.0)[:, None]
    cosines = np.clip(unit @ unit[item], -1.0, 1.0).astype(np.float32)
    others = np.flatnonzero(np.arange(len(vectors)) != item)
    best = others[np.argsort(-cosines[others], kind="stable")[:k]]
    return best.astype(np.int32), cosines[best]
