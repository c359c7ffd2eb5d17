"""Fits a baseline with each point of its small grid and keeps the one that is best on the validation events."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from recsys.config import Config
from recsys.evaluation import baselines, protocol
from recsys.evaluation.baselines.common import Candidate
from recsys.evaluation.protocol import Scorer
from recsys.histories import Histories

METRIC: Final = "ndcg@10"
MAX_USERS: Final = 5_000
"""Users whose validation events decide, drawn with the seed."""


@dataclasses.dataclass(frozen=True)
class Tuned:
    """A fitted baseline and how it was chosen.

    Attributes:
        scorer: fitted on the training part with the chosen parameters
        parameters: the chosen point of the grid
        trials: every point with its `METRIC` on validation; no value where nothing was to be chosen
        seconds: wall time of fitting and choosing
    """

    scorer: Scorer
    parameters: Mapping[str, float]
    trials: list[dict[str, Any]]
    seconds: float


def tune(name: str, histories: Histories, n_items: int, config: Config, progress: Callable[[str], None]) -> Tuned:
    """Chooses by the mean NDCG@10 over users on validation; equal values go to the earlier point, the more usual one.

    Args:
        name: of the baseline.
        histories: all events; only training and validation events are read.
        n_items: size of the catalogue.
        config: seed and evaluation.max_users; the Spark section for ALS.
        progress: takes lines for a person to read.

    Raises:
        ConfigError: unknown name.
    """
    started = time.perf_counter()
    train = histories.head(histories.train_length)
    max_users = min(config.evaluation.max_users, MAX_USERS)
    best: Candidate | None = None
    best_value = -1.0
    trials: list[dict[str, Any]] = []
    for candidate in baselines.candidates(name, train, n_items, config, progress):
        value = 0.0
        if candidate.parameters:
            value = _validate(candidate.scorer, histories, n_items, max_users, config.seed)
            trials.append({"parameters": dict(candidate.parameters), f"valid {METRIC}": value})
        if best is None or value > best_value:
            best, best_value = candidate, value
    if best is None:
        raise ValueError(f"baseline {name} has an empty grid")
    return Tuned(best.scorer, best.parameters, trials, time.perf_counter() - started)


def _validate(scorer: Scorer, histories: Histories, n_items: int, max_users: int, seed: int) -> float:
    """0 where the validation part has no events."""
    result = protocol.evaluate(scorer, histories, "valid", n_items, ks=(10,), max_users=max_users, seed=seed)
    values = result.per_user[METRIC]
    return float(values.mean()) if len(values) else 0.0
