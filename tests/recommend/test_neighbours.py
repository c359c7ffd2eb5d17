"""The items nearest to an item."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.recommend.neighbours import nearest

VECTORS = np.array([[9, 9], [2, 0], [0, 3], [1, 1], [-4, 0], [0, 0], [5, 5]], np.float32)
"""Row 0 is padding; item 5 has nothing."""


@pytest.mark.parametrize(
    ("item", "items", "cosines"),
    [
        (1, [3, 6, 2, 5, 4], [np.sqrt(0.5), np.sqrt(0.5), 0, 0, -1]),
        (3, [6, 1, 2, 5, 4], [1, np.sqrt(0.5), np.sqrt(0.5), 0, -np.sqrt(0.5)]),
        (5, [1, 2, 3, 4, 6], [0, 0, 0, 0, 0]),
    ],
)
def test_by_angle_whatever_the_length_and_equal_ones_by_index(item: int, items: list[int], cosines: list[float]) -> None:
    for k in (3, 9):
        found, similar = nearest(VECTORS, item, k)
        assert found.tolist() == items[:k] and (found.dtype, similar.dtype) == (np.int32, np.float32)
        np.testing.assert_allclose(similar, cosines[:k], atol=1e-6)
