"""Who is served how well: users by their declared features, and the items to find by how popular they are."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.contract import histories, schema
from recsys.contract.features_info import Encoding
from recsys.measure import membership, metrics
from recsys.measure.intervals import NORMAL_95
from recsys.measure.protocol import Result

LEAST_USERS: Final = 20
"""Smaller groups say little; they are joined."""
MOST_GROUPS: Final = 24
"""The largest so many values of a feature have a group of their own."""
SHOWN: Final = ("ndcg@10", "recall@10")
JUDGED: Final = "ndcg@10"
"""By which a group is said to be served worse or better."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Some of the evaluated users.

    Attributes:
        value: of the feature; None if it is not known.
        joined: how many values were joined into this group because few users have each; 0: it is a value of its own.
        members: bool [users]
    """

    value: str | None
    joined: int
    members: NDArray[np.bool_]


def of_users(features: str, encoding: Encoding, user_index: NDArray[np.int32]) -> dict[str, list[Group]]:
    """The groups of the evaluated users by each categorical feature, see `divide`.

    Args:
        features: the features folder.
        encoding: of the users; the published one knows every value.
        user_index: int32 [users], those evaluated.
    """
    names = [one.name for one in encoding.user_features if one.kind == "categorical"]
    if not names:
        return {}
    table = histories.read_table(features, encoding.users_dir, [schema.USER_INDEX, *names])
    rows = np.searchsorted(table.column(schema.USER_INDEX).to_numpy(), user_index)
    values = {one.name: one.values or () for one in encoding.user_features}
    return {name: divide(values[name], table.column(name).to_numpy()[rows]) for name in names}


def divide(values: Sequence[str], codes: NDArray[np.int32]) -> list[Group]:
    """The groups by one feature, those of numbers in their order, else the largest first; then the rest, joined.

    Args:
        values: what the codes 1, 2, … stand for; 0 is "not known".
        codes: int32 [users]
    """
    counts = np.bincount(codes, minlength=len(values) + 1)
    order = np.argsort(-counts, kind="stable")
    own = [int(code) for code in order[:MOST_GROUPS] if counts[code] >= LEAST_USERS]
    if all(code == 0 or values[code - 1].isdecimal() for code in own):
        own.sort(key=lambda code: int(values[code - 1]) if code else math.inf)
    groups = [Group(values[code - 1] if code else None, 0, codes == code) for code in own]
    left = ~np.isin(codes, own)
    return [*groups, Group(None, len(np.unique(codes[left])), left)] if left.any() else groups


def measure(result: Result, groups: Mapping[str, Sequence[Group]]) -> dict[str, list[dict[str, Any]]]:
    """The method's means in each group by feature: `value`, `joined`, and what `of_members` returns."""
    return {
        feature: [{"value": one.value, "joined": one.joined, **of_members(result, one.members)} for one in found]
        for feature, found in groups.items()
    }


def judge(result: Result, measured: Mapping[str, Sequence[dict[str, Any]]], seed: int) -> None:
    """Adds to `beside_others` of each group what is beyond chance: `p` of JUDGED by membership.p_values, corrected for all
    groups of all features, and `significant`; those of joined groups, which are none, are None and False.

    Args:
        result: of the method.
        measured: of the same, see `measure`.
        seed: of the permutations.
    """
    known = [one for found in measured.values() for one in found if one["beside_others"] is not None]
    for one in known:
        one["beside_others"][JUDGED] |= {"p": None, "significant": False}
    compared = [one for one in known if not one["joined"]]
    sizes, beside = [one["users"] for one in compared], [one["beside_others"][JUDGED] for one in compared]
    found = membership.p_values(result.per_user[JUDGED], sizes, [one["difference"] for one in beside], seed)
    for one, p in zip(beside, membership.holm(found).tolist(), strict=True):
        one |= {"p": p, "significant": p < membership.LEVEL}


def of_members(result: Result, members: NDArray[np.bool_]) -> dict[str, Any]:
    """Number of these users, their means and standard errors, and `beside_others`: the difference from the mean of all other
    users, with its 95 % interval; None if there are too few of either to know.

    The spread is that of all users: of a few, who may all have found nothing, it would be no measure of chance.
    """
    found: dict[str, Any] = {"users": int(members.sum()), "std_errors": {}, "beside_others": None}
    enough = 2 <= found["users"] <= len(members) - 2
    if enough:
        found["beside_others"] = {}
    for metric in SHOWN:
        values = result.per_user[metric]
        found[metric] = float(values[members].mean())
        found["std_errors"][metric] = std_error(values) * math.sqrt(len(values) / found["users"])
        if enough:
            difference = float(values[members].mean() - values[~members].mean())
            reach = NORMAL_95 * membership.spread_of_difference(values, found["users"])
            interval = {"difference": difference, "low": difference - reach, "high": difference + reach}
            found["beside_others"][metric] = interval
    return found


def by_popularity(result: Result, train_counts: NDArray[np.int64]) -> dict[str, dict[str, Any]]:
    """What `recall_of` says of the targets in each of metrics.TIERS that has any."""
    tier = metrics.tiers(train_counts)[result.targets.items]
    found = {name: recall_of(result, tier == place) for place, name in enumerate(metrics.TIERS)}
    return {name: one for name, one in found.items() if one is not None}


def recall_of(result: Result, chosen: NDArray[np.bool_]) -> dict[str, Any] | None:
    """Recall@10 of some of the targets, bool [targets], averaged over the users who have one; None if there are none."""
    targets = result.targets
    if not chosen.any():
        return None
    owners = np.repeat(np.arange(len(targets.rows)), np.diff(targets.offsets))[chosen]
    users, counts = np.unique(owners, return_counts=True)
    offsets = np.concatenate(([0], np.cumsum(counts)))
    recall = metrics.per_user(result.top[users], offsets, targets.items[chosen], (10,))["recall@10"]
    error = {"recall@10": std_error(recall)}
    return {"users": len(users), "targets": int(chosen.sum()), "recall@10": float(recall.mean()), "std_errors": error}


def std_error(values: NDArray[np.float64]) -> float:
    """Standard deviation between users divided by the square root of their number; 0 for a single user."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
