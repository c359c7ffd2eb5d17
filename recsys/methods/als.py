"""ALS: implicit matrix factorisation by Spark's MLlib; users are folded in from their events."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.config import Config, Spark
from recsys.contract.histories import Histories
from recsys.methods import als_training, counting
from recsys.settings import to_dict

GRID: Final = ((64, 0.03, 1.0), (64, 0.01, 0.3), (32, 0.1, 10.0))
"""(rank, regularisation, alpha)."""
MAX_EVENTS: Final = 5_000_000
"""Item factors come from a random sample of users with at most so many events; all other users are folded in all the same."""


@dataclasses.dataclass(frozen=True)
class Als:
    """Factorisation with fold-in.

    Attributes:
        name: of the method
        items: float32 [items + 1, rank], zeros for items without a training event
        gram: float64 [rank, rank], the items' factors: YᵀY
        regularisation: as in MLlib
        alpha: as in MLlib
        popular: float32 [items + 1], for users without events
    """

    name: str
    items: NDArray[np.float32]
    gram: NDArray[np.float64]
    regularisation: float
    alpha: float
    popular: NDArray[np.float32]

    def score(self, context: Histories) -> NDArray[np.float32]:
        """The folded-in users' factors times the items' factors, float32 [users, items + 1]."""
        users = fold_in(self, context).astype(np.float32)
        return counting.fall_back(users @ self.items.T, self.popular)


def fold_in(model: Als, context: Histories) -> NDArray[np.float64]:
    """Factors of users from their events and the items' factors, float64 [users, rank]; zeros without a known item.

    One half-step of MLlib's implicit ALS, every rating being 1 (Hu, Koren and Volinsky, "Collaborative filtering for
    implicit feedback datasets", ICDM 2008; the regularisation scaled by the number of events as in Zhou et al., 2008):
    x = (YᵀY + alpha · Σ y yᵀ + regularisation · n · I)⁻¹ (1 + alpha) Σ y, with sums over the user's n items.
    """
    rank = model.items.shape[1]
    left = np.empty((len(context), rank, rank))
    right = np.zeros((len(context), rank))
    known: NDArray[np.bool_] = np.any(model.items, axis=1)
    for user, (start, end) in enumerate(zip(context.offsets[:-1], context.offsets[1:], strict=True)):
        items = context.items[start:end]
        factors: NDArray[np.float64] = model.items[items[known[items]]].astype(np.float64)
        ridge = model.regularisation * len(factors) if len(factors) else 1.0
        left[user] = model.gram + model.alpha * (factors.T @ factors) + ridge * np.eye(rank)
        right[user] = (1 + model.alpha) * factors.sum(axis=0)
    return np.asarray(np.linalg.solve(left, right[:, :, None])[:, :, 0], np.float64)


def fit(
    train: Histories, n_items: int, grid: Sequence[tuple[int, float, float]], config: Config, progress: Callable[[str], None]
) -> list[Als]:
    """Trains one model for each (rank, regularisation, alpha), all in one Spark process that has ended on return.

    The events are at hand on this machine, so Spark runs here, also where `spark.master` names a cluster. Only the items'
    factors are kept.

    Args:
        train: the training part.
        n_items: size of the catalogue.
        grid: the points to train.
        config: seed and Spark section.
        progress: takes lines for a person to read.

    Raises:
        MissingComponentError: there is no Java.
    """
    from recsys.spark import child, session

    sample = _sample(train, config.seed)
    spark = config.spark if session.is_local(config.spark.master) else Spark(memory=config.spark.memory)
    popular = counting.popularity(train, n_items)
    if not len(sample.items):
        return [Als("als", np.zeros((n_items + 1, 1), np.float32), np.zeros((1, 1)), 1.0, 1.0, popular)] * len(grid)
    with tempfile.TemporaryDirectory(prefix="recsys-als-") as folder:
        users = np.repeat(np.arange(len(sample), dtype=np.int32), sample.lengths)
        columns = {
            als_training.USER: users,
            als_training.ITEM: sample.items,
            als_training.RATING: np.ones(len(users), np.float32),
        }
        pq.write_table(pa.table(columns), os.path.join(folder, als_training.EVENTS_FILE))
        arguments = {
            "config": to_dict(dataclasses.replace(config, spark=spark)),
            "folder": folder,
            "grid": [list(point) for point in grid],
        }
        outcome = child.call("recsys.methods.als_training:train", arguments, progress)
        models = []
        for (_, regularisation, alpha), path in zip(grid, outcome.result, strict=True):
            items = _read_factors(path, n_items)
            gram = items.astype(np.float64).T @ items.astype(np.float64)
            models.append(Als("als", items, gram, regularisation, alpha, popular))
    return models


def candidates(
    train: Histories,
    n_items: int,
    config: Config,
    progress: Callable[[str], None],
    grid: Sequence[tuple[int, float, float]] = GRID,
) -> Iterator[counting.Candidate]:
    """One candidate for each point of the grid."""
    for (rank, regularisation, alpha), model in zip(grid, fit(train, n_items, grid, config, progress), strict=True):
        yield counting.Candidate({"rank": rank, "regularisation": regularisation, "alpha": alpha}, model)


def _sample(train: Histories, seed: int) -> Histories:
    """Users drawn at random as long as their events are at most `MAX_EVENTS`; all users where that is enough."""
    if len(train.items) <= MAX_EVENTS:
        return train
    order = np.random.default_rng(seed).permutation(len(train))
    return train.rows(np.sort(order[np.cumsum(train.lengths[order]) <= MAX_EVENTS]))


def _read_factors(path: str, n_items: int) -> NDArray[np.float32]:
    """Factors of all ids, float32 [items + 1, rank]."""
    table = pq.read_table(path).combine_chunks()
    factors = table.column("features").chunk(0).flatten().to_numpy().reshape(table.num_rows, -1)
    items = np.zeros((n_items + 1, factors.shape[1]), np.float32)
    items[table.column("id").to_numpy()] = factors
    return items
