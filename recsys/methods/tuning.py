"""Chooses the best point of a method's grid on the validation events, and refits it on all events before the test."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np

from recsys.config import Config
from recsys.contract.histories import Histories
from recsys.measure import protocol
from recsys.measure.targets import Targets, find_targets
from recsys.methods.base import TraditionalMethod
from recsys.progress import Log

METRIC: Final = "ndcg@10"
MAX_USERS: Final = 5_000
"""Maximum number of users to tune on, sampled with the seed."""


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A fitted method and how it was chosen.

    Attributes:
        method: fitted on training and validation events with the chosen parameters
        parameters: the chosen point of the grid
        trials: every point with its `METRIC` on validation; empty if there was nothing to choose
        seconds: wall time of fitting and choosing
    """

    method: TraditionalMethod
    parameters: Mapping[str, float]
    trials: list[dict[str, Any]]
    seconds: float


def tune(
    kind: type[TraditionalMethod],
    histories: Histories,
    n_items: int,
    config: Config,
    log: Log,
    since: int | None = None,
) -> Tuned:
    """Chooses by the mean NDCG@10 over users on validation; ties go to the earlier point.

    Every point is fitted on the training part; the chosen one is then refitted on all events before the test. Without
    validation events the first point is taken.

    Args:
        kind: the method.
        histories: all events; only training and validation events are read.
        n_items: size of the catalogue.
        config: seed and evaluation.max_users; the Spark section for ALS.
        log: takes progress lines.
        since: see targets.find_targets.
    """
    started, before_test = time.perf_counter(), histories.head(histories.valid_length)
    targets = find_targets(histories, "valid", min(config.evaluation.max_users, MAX_USERS), config.seed, since)
    trials: list[dict[str, Any]] = []

    def best(methods: Iterable[TraditionalMethod]) -> int:
        for point, method in zip(kind.GRID, methods, strict=True):
            trials.append({"parameters": dict(point), f"valid {METRIC}": _validate(method, histories, targets, n_items)})
        return int(np.argmax([trial[f"valid {METRIC}"] for trial in trials]))

    if len(kind.GRID) > 1 and len(targets.rows):
        method = kind.fit_chosen((histories.head(histories.train_length), before_test), n_items, best, config, log)
        chosen = max(trials, key=lambda trial: trial[f"valid {METRIC}"])["parameters"]  # the first of equal ones
    else:
        (method,), chosen = kind.fit(before_test, n_items, kind.GRID[:1], config, log), kind.GRID[0]
    return Tuned(method, chosen, trials, time.perf_counter() - started)


def _validate(method: TraditionalMethod, histories: Histories, targets: Targets, n_items: int) -> float:
    return float(protocol.evaluate(method, histories, targets, n_items, ks=(10,)).per_user[METRIC].mean())
