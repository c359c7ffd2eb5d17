"""metrics.json: means, standard errors, slices and paired intervals of all methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recsys.config import Config
from recsys.contract.features_info import FeaturesInfo
from recsys.evaluation import groups
from recsys.evaluation.groups import Group, std_error
from recsys.measure.intervals import paired_intervals
from recsys.measure.protocol import KS, Result
from recsys.measure.targets import Targets

SLICES: Final = {"0": (0, 0), "1-4": (1, 4), "5-19": (5, 19), "20-49": (20, 49), "50+": (50, np.inf)}
"""By number of events before the cut, both ends inclusive."""
COMPARED: Final = ("ndcg@10", "recall@10", "f1@10")


def summarise(
    config: Config,
    info: FeaturesInfo,
    results: Sequence[Result],
    facts: Mapping[str, Mapping[str, Any]],
    train_counts: NDArray[np.int64],
    train_lengths: NDArray[np.int32],
    user_groups: Mapping[str, Sequence[Group]],
) -> dict[str, Any]:
    """The content of metrics.json.

    Args:
        config: the section evaluation, and the seed.
        info: features.json.
        results: of all methods on the same users, the published one first.
        facts: by method: parameters, trials, seconds.
        train_counts: int64 [items + 1], training users of each item.
        train_lengths: int32 [users], training events of each evaluated user.
        user_groups: of the evaluated users, by feature.

    Returns:
        - "protocol": split, part, users, items, ks, and what the figures mean, in words
        - "methods": by name, "metrics" (means over users, and those of all lists), "std_errors", "slices" by number of
          events before the cut, "new_users" (without training events) and "new_items" (recall of targets that no training user
          had), each None if there are none, "user_groups" (groups.measure; of the first method also groups.judge),
          "item_popularity" (groups.by_popularity), and the facts
        - "comparison": the mean difference of the first method from each other one, for `COMPARED`, and its interval
    """
    targets = results[0].targets
    methods = {}
    for result in results:
        methods[result.name] = {
            "metrics": {**_means(result.per_user), **result.lists},
            "std_errors": _std_errors(result.per_user),
            "slices": _slices(result),
            "new_users": _means_of(result, train_lengths == 0),
            "new_items": groups.recall_of(result, train_counts[result.targets.items] == 0),
            "user_groups": groups.measure(result, user_groups),
            "item_popularity": groups.by_popularity(result, train_counts),
            **facts[result.name],
        }
    groups.judge(results[0], methods[results[0].name]["user_groups"], config.seed)
    return {
        "protocol": _protocol(config, info, targets),
        "methods": methods,
        "comparison": _comparison(config, results),
    }


def _protocol(config: Config, info: FeaturesInfo, targets: Targets) -> dict[str, Any]:
    split = info.split
    return {
        "split": split.method,
        "part": "test",
        "test_fraction": split.test_fraction,
        "valid_fraction": split.valid_fraction,
        "test_from": split.test_from,
        "since": split.since,
        "users": len(targets.rows),
        "targets": len(targets.items),
        "items": info.items,
        "ks": list(KS),
        "candidates": "all items except those the user had before the cut; ties go to the lower item index",
        "fitted_on": "all events before the test"
        + ("; the network: the training part" if config.training.refit_epochs == 0 else "")
        + ("" if split.since is None else "; a network that goes on from that of an earlier run: the training part")
        + "; parameters and early stopping by NDCG@10 on the validation part, with global-time excluding its first quarter",
        "held_out": "of all events"
        if split.since is None
        else "of the events later than those that the network of the run before had learned; `published` is what that run has",
        "means": "over users; F1 is the mean of each user's F1; MAP is normalised by min(K, relevant items)",
        "max_users": config.evaluation.max_users,
        "least_users": groups.LEAST_USERS,
        "most_groups": groups.MOST_GROUPS,
        "seed": config.seed,
    }


def _means(values: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    return {name: float(column.mean()) for name, column in values.items()}


def _std_errors(values: Mapping[str, NDArray[np.float64]]) -> dict[str, float]:
    return {name: std_error(column) for name, column in values.items()}


def _slices(result: Result) -> dict[str, dict[str, Any]]:
    """`_means_of` every non-empty slice."""
    found: dict[str, dict[str, Any]] = {}
    for name, (low, high) in SLICES.items():
        inside = (result.targets.context_lengths >= low) & (result.targets.context_lengths <= high)
        if means := _means_of(result, inside):
            found[name] = means
    return found


def _means_of(result: Result, chosen: NDArray[np.bool_]) -> dict[str, Any] | None:
    """Number of the chosen users, their means at K = 10, and the standard errors of these; None if there are none."""
    if not chosen.any():
        return None
    at_10 = {metric: values[chosen] for metric, values in result.per_user.items() if metric.endswith("@10")}
    return {"users": int(chosen.sum()), **_means(at_10), "std_errors": _std_errors(at_10)}


def _comparison(config: Config, results: Sequence[Result]) -> dict[str, Any]:
    first, others = results[0], results[1:]
    pairs = [(other, metric) for other in others for metric in COMPARED]
    minus: dict[str, dict[str, Any]] = {other.name: {} for other in others}
    if pairs:
        differences = np.stack([first.per_user[metric] - other.per_user[metric] for other, metric in pairs], axis=1)
        found = paired_intervals(differences, config.evaluation.bootstrap, config.seed)
        for (other, metric), interval in zip(pairs, found, strict=True):
            minus[other.name][metric] = {
                "difference": interval.difference,
                "low": interval.low,
                "high": interval.high,
                "significant": interval.significant,
            }
    return {"method": first.name, "level": 0.95, "resamples": config.evaluation.bootstrap, "minus": minus}
