"""Paired bootstrap: is one method better than another on the same users, or is it chance?"""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

NORMAL_95: Final = 1.96
"""So many standard errors on each side of a mean are its 95 % interval."""
LEAST_USERS: Final = 10
"""Fewer prove nothing: resamples of a single user are all the same, and those of a few leave out most of what might be."""
_BLOCK_DRAWS: Final = 4_000_000


@dataclasses.dataclass(frozen=True)
class Interval:
    """A mean difference, its confidence interval, and the number of users it comes from."""

    difference: float
    low: float
    high: float
    users: int

    @property
    def significant(self) -> bool:
        """Whether the interval excludes zero, and there are enough users to tell."""
        return self.users >= LEAST_USERS and (self.low > 0 or self.high < 0)


def paired_intervals(
    differences: NDArray[np.float64], resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> list[Interval]:
    """Percentile bootstrap intervals of the mean of each column (Efron, 1979), resampling users.

    Each resample draws as many users as there are, with replacement, the same for all columns; the interval lies between
    the (1 ± level) / 2 quantiles of the resampled means. Both methods are measured on the same users, so the spread
    between users cancels out: the paired interval is much narrower than the two standard errors suggest.

    Args:
        differences: float64 [users, columns], first method minus second, one column for each metric or pair of methods.
        resamples: number of resamples.
        seed: of the draws; the same seed gives the same intervals.
        level: confidence level.

    Returns:
        One interval for each column; with no users, all zeros.
    """
    users, columns = differences.shape
    if not users:
        return [Interval(0.0, 0.0, 0.0, 0)] * columns
    random = np.random.default_rng(seed)
    means = np.empty((resamples, columns))
    block = max(1, _BLOCK_DRAWS // users)
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = random.integers(0, users, (size, users), dtype=np.int32)
        drawn += (np.arange(size, dtype=np.int32) * users)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * users).reshape(size, users)
        means[start : start + size] = weights @ differences / users
    low, high = np.quantile(means, ((1 - level) / 2, (1 + level) / 2), axis=0)
    return [Interval(*one, users) for one in zip(differences.mean(axis=0).tolist(), low.tolist(), high.tolist(), strict=True)]


def paired_interval(
    first: NDArray[np.float64], second: NDArray[np.float64], resamples: int = 1000, seed: int = 0, level: float = 0.95
) -> Interval:
    """The interval of the mean of `first - second`, per-user values [users] of the same metric on the same users."""
    return paired_intervals((first - second)[:, None], resamples, seed, level)[0]
