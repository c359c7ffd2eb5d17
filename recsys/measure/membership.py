"""Permutation test of membership: does a group differ from everybody else, or would any so many users?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

PERMUTATIONS: Final = 10_000
LARGE: Final = 2_000
"""Where so many users are on either side, the difference of the means is normal enough."""
LEVEL: Final = 0.05


def p_values(
    values: NDArray[np.float64], sizes: Sequence[int], differences: Sequence[float], seed: int = 0
) -> NDArray[np.float64]:
    """How often users drawn at random differ as much from the others as the members of each group do (Fisher, 1935).

    Most users' values may be zero: an interval by the spread within a small group would then be too narrow, or nothing.

    Args:
        values: float64 [users], of all users.
        sizes: number of members of each group, at least 1 and less than all users.
        differences: the members' mean minus that of all others, by group.
        seed: of the draws.

    Returns:
        float64 [groups], two-sided: of PERMUTATIONS draws without replacement, the observed one included, the share with a
        difference as great; of groups with more than LARGE users inside and outside, by the normal distribution.
    """
    users, inside = len(values), np.minimum(sizes, len(values) - np.array(sizes, np.int64))
    reached = np.abs(np.array(differences, np.float64))
    found = np.ones(len(inside))
    large = inside > LARGE
    for group in np.flatnonzero(large):
        error = spread_of_difference(values, int(inside[group]))
        found[group] = math.erfc(reached[group] / error / math.sqrt(2)) if error > 0 else 1.0
    small = np.flatnonzero(~large)
    if len(small):
        size, total, random = inside[small], values.sum(), np.random.default_rng(seed)
        least = reached[small] * (1 - 1e-9) - 1e-12  # sums of the same values in another order are not quite equal
        as_great = np.ones(len(small), np.int64)
        for _ in range(PERMUTATIONS - 1):
            sums = np.cumsum(random.choice(values, int(size.max()), replace=False))[size - 1]
            as_great += np.abs(sums / size - (total - sums) / (users - size)) >= least
        found[small] = as_great / PERMUTATIONS
    return found


def spread_of_difference(values: NDArray[np.float64], size: int) -> float:
    """Standard deviation of the mean of `size` users drawn at random minus that of all others."""
    users = len(values)
    return float(values.std(ddof=1) * math.sqrt(users / (size * (users - size))))


def holm(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """p values, float64 [tests], such that with those below a level the chance of any false one is at most that level, however
    many tests there are (Holm, 1979)."""
    order = np.argsort(found, kind="stable")
    adjusted = np.empty(len(found))
    adjusted[order] = np.minimum(np.maximum.accumulate(found[order] * np.arange(len(found), 0, -1)), 1.0)
    return adjusted
