"""Ranking metrics per user, and metrics over all lists. Items are int32 indices from 1; 0 means "no item"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

TIERS: Final = {"head": 0.2, "middle": 0.5, "tail": 1.0}
"""The catalogue by popularity: the 20 % most popular items, those up to 50 %, the rest."""
COLLAPSED: Final = 0.5
"""Share of users with the very same list from which on it is worth a warning."""


def per_user(
    top: NDArray[np.int32], offsets: NDArray[np.int64], relevant: NDArray[np.int32], ks: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    """Metrics of each user's list against the items relevant to that user (binary relevance).

    With h(r) = 1 if the item at rank r is relevant and 0 otherwise, H = h(1) + … + h(K), and R relevant items:

    - precision@K = H / K, even if the list is shorter than K
    - recall@K = H / R
    - f1@K = 2 · precision · recall / (precision + recall) per user, 0 if H = 0. The mean over users is the mean of
      these, not the F1 of mean precision and mean recall.
    - ndcg@K = Σ h(r) / log2(r + 1) divided by its ideal value Σ_{r ≤ min(K, R)} 1 / log2(r + 1)
      (Järvelin and Kekäläinen, 2002)
    - hit_rate@K = 1 if H > 0
    - map@K = Σ h(r) · precision@r / min(K, R), so that a perfect list gets 1 even if R > K
    - mrr@K = 1 / (rank of the first relevant item), 0 if that is beyond K

    Args:
        top: int32 [users, Kmax], best first, no item twice, 0 = no item.
        offsets: int64 [users + 1]; the relevant items of user u are relevant[offsets[u]:offsets[u + 1]].
        relevant: int32 [relevant]; duplicates count once.
        ks: the values of K, each at most Kmax.

    Returns:
        {"ndcg@10": float64 [users], …}; all 0 for a user without relevant items.
    """
    hits, counts = _hits(top, offsets, relevant)
    found = hits.cumsum(axis=1)
    ranks = np.arange(1, top.shape[1] + 1, dtype=np.float64)
    discounts = 1 / np.log2(ranks + 1)
    gains = (hits * discounts).cumsum(axis=1)
    ideal = np.concatenate(([0.0], discounts.cumsum()))
    precisions = (hits * (found / ranks)).cumsum(axis=1)
    first = np.where(hits.any(axis=1), hits.argmax(axis=1) + 1, top.shape[1] + 1)
    values: dict[str, NDArray[np.float64]] = {}
    for k in ks:
        found_k = found[:, k - 1].astype(np.float64)
        reachable = np.minimum(counts, k)
        values[f"precision@{k}"] = found_k / k
        values[f"recall@{k}"] = found_k / np.maximum(counts, 1)
        values[f"f1@{k}"] = 2 * found_k / (k + counts)  # = 2PR / (P + R) with P = H/K and R = H/counts
        values[f"ndcg@{k}"] = gains[:, k - 1] / ideal[np.maximum(reachable, 1)]
        values[f"hit_rate@{k}"] = (found_k > 0).astype(np.float64)
        values[f"map@{k}"] = precisions[:, k - 1] / np.maximum(reachable, 1)
        values[f"mrr@{k}"] = np.where(first <= k, 1 / first, 0.0)
    return values


def of_lists(top: NDArray[np.int32], train_counts: NDArray[np.int64], train_users: int, ks: Sequence[int]) -> dict[str, float]:
    """Metrics over all lists: what the method shows, right or wrong.

    - coverage@K: share of the catalogue that appears in at least one list
    - novelty@K: mean over all recommended items of -log2(users who had the item in training / training users), the
      self-information of Zhou et al., "Solving the apparent diversity-accuracy dilemma", PNAS 2010; an item that nobody
      had counts as if one user had had it. Higher is more novel.
    - popularity_share@K: share of the recommended items that are in the head of the catalogue, see `tiers`

    Args:
        top: int32 [users, Kmax], 0 = no item.
        train_counts: int64 [items + 1], training users of each item; entry 0 is ignored.
        train_users: number of users with a training event.
        ks: the values of K, each at most Kmax.

    Returns:
        {"coverage@10": 0.31, …}; novelty and popularity share are 0 if nothing was recommended.
    """
    n_items = len(train_counts) - 1
    information = np.log2(max(train_users, 1) / np.maximum(train_counts, 1))
    popular = tiers(train_counts) == 0
    values: dict[str, float] = {}
    for k in ks:
        shown = top[:, :k]
        shown = shown[shown > 0]
        total = max(len(shown), 1)
        values[f"coverage@{k}"] = len(np.unique(shown)) / max(n_items, 1)
        values[f"novelty@{k}"] = float(information[shown].sum() / total)
        values[f"popularity_share@{k}"] = float(popular[shown].sum() / total)
    return values


def tiers(train_counts: NDArray[np.int64]) -> NDArray[np.int8]:
    """The popularity of each item as its place in `TIERS`, by the number of training users, ties by the lower item index.

    Args:
        train_counts: int64 [items + 1]; entry 0 is ignored.

    Returns:
        int8 [items + 1]; -1 for entry 0. The shares of `TIERS` are rounded up.
    """
    n_items = len(train_counts) - 1
    ends = np.ceil(np.array(list(TIERS.values())) * n_items)
    found = np.full(n_items + 1, -1, np.int8)
    found[np.argsort(-train_counts[1:], kind="stable") + 1] = np.searchsorted(ends, np.arange(n_items), side="right")
    return found


def _hits(
    top: NDArray[np.int32], offsets: NDArray[np.int64], relevant: NDArray[np.int32]
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Whether each listed item is relevant, bool [users, Kmax], and the number of relevant items, int64 [users]."""
    users = len(top)
    width = int(max(top.max(initial=0), relevant.max(initial=0))) + 1
    owners = np.repeat(np.arange(users, dtype=np.int64), np.diff(offsets))
    keys = np.unique(owners * width + relevant)
    counts = np.bincount(keys // width, minlength=users)
    wanted = np.arange(users, dtype=np.int64)[:, None] * width + top
    if not len(keys):
        return np.zeros(top.shape, np.bool_), counts
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return (keys[places] == wanted) & (top > 0), counts
