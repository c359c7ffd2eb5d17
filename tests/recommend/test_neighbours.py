"""The items nearest to an item."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.recommend.neighbours import nearest

VECTORS = np.array([[2, 0], [0, 3], [1, 1], [-4, 0], [0, 0], [5, 5]], np.float32)
"""Item 4 has nothing."""


@pytest.mark.parametrize(
    ("item", "items", "cosines"),
    [
        (0, [2, 5, 1, 4, 3], [np.sqrt(0.5), np.sqrt(0.5), 0, 0, -1]),
        (2, [5, 0, 1, 4, 3], [1, np.sqrt(0.5), np.sqrt(0.5), 0, -np.sqrt(0.5)]),
        (4, [0, 1, 2, 3, 5], [0, 0, 0, 0, 0]),
    ],
)
def test_by_angle_whatever_the_length_and_equal_ones_in_order(item: int, items: list[int], cosines: list[float]) -> None:
    for k in (3, 9):
        found, similar = nearest(VECTORS, item, k)
        assert found.tolist() == items[:k] and (found.dtype, similar.dtype) == (np.int32, np.float32)
        np.testing.assert_allclose(similar, cosines[:k], atol=1e-6)
