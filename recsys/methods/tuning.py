"""Chooses the point of a baseline's small grid that is best on the validation events, and fits it on all before the test."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from recsys.config import Config
from recsys.contract.histories import Histories
from recsys.measure import protocol
from recsys.measure.protocol import Scorer
from recsys.methods import traditional

METRIC: Final = "ndcg@10"
MAX_USERS: Final = 5_000
"""Users whose validation events decide, drawn with the seed."""


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A fitted baseline and how it was chosen.

    Attributes:
        scorer: fitted on the training and validation events with the chosen parameters
        parameters: the chosen point of the grid
        trials: every point with its `METRIC` on validation; no value where nothing was to be chosen
        seconds: wall time of fitting and choosing
    """

    scorer: Scorer
    parameters: Mapping[str, float]
    trials: list[dict[str, Any]]
    seconds: float


def tune(
    name: str,
    histories: Histories,
    n_items: int,
    config: Config,
    progress: Callable[[str], None],
    since: int | None = None,
) -> Tuned:
    """Chooses by the mean NDCG@10 over users on validation; equal values go to the earlier point, the more usual one.

    Each point is fitted on the training part to be chosen from; the chosen one is fitted once more, on all events before the
    test.

    Args:
        name: of the baseline.
        histories: all events; only training and validation events are read.
        n_items: size of the catalogue.
        config: seed and evaluation.max_users; the Spark section for ALS.
        progress: takes lines for a person to read.
        since: see protocol.find_targets.

    Raises:
        ConfigError: unknown name.
    """
    started = time.perf_counter()
    train, before_test = histories.head(histories.train_length), histories.head(histories.valid_length)
    values: list[float] = []
    trials: list[dict[str, Any]] = []
    for candidate in traditional.candidates(name, train, n_items, config, progress):
        values.append(0.0)
        if candidate.parameters:
            values[-1] = _validate(candidate.scorer, histories, n_items, config, since)
            trials.append({"parameters": dict(candidate.parameters), f"valid {METRIC}": values[-1]})
    (chosen,) = traditional.candidates(name, before_test, n_items, config, progress, only=int(np.argmax(values)))
    return Tuned(chosen.scorer, chosen.parameters, trials, time.perf_counter() - started)


def _validate(scorer: Scorer, histories: Histories, n_items: int, config: Config, since: int | None) -> float:
    """0 where the validation part has no events."""
    max_users = min(config.evaluation.max_users, MAX_USERS)
    result = protocol.evaluate(
        scorer, histories, "valid", n_items, ks=(10,), max_users=max_users, seed=config.seed, since=since
    )
    values = result.per_user[METRIC]
    return float(values.mean()) if len(values) else 0.0
