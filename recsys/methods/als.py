"""ALS: implicit matrix factorisation with Spark's MLlib; users are folded in from their events."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import ClassVar, Final, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys import settings, storage
from recsys.config import Config, Spark
from recsys.contract.histories import Histories
from recsys.methods import als_training, counting
from recsys.methods.base import DEFAULTS, Point, TraditionalMethod
from recsys.progress import Log, silent

MAX_EVENTS: Final = 5_000_000
"""Item factors come from a random sample of users with at most this many events; every user is folded in regardless."""


@dataclasses.dataclass(frozen=True)
class Als(TraditionalMethod):
    """Factorisation with fold-in.

    Attributes:
        items: float32 [items + 1, rank], zeros for items without a training event
        gram: float64 [rank, rank], YᵀY of the item factors Y
        regularisation: as in MLlib
        alpha: as in MLlib
        popular: float32 [items + 1], for users without events
    """

    items: NDArray[np.float32]
    gram: NDArray[np.float64]
    regularisation: float
    alpha: float
    popular: NDArray[np.float32]

    name: ClassVar[str] = "als"
    GRID: ClassVar[Sequence[Point]] = tuple(
        {"rank": rank, "regularisation": regularisation, "alpha": alpha}
        for rank, regularisation, alpha in ((64, 0.03, 1.0), (64, 0.01, 0.3), (32, 0.1, 10.0))
    )

    @classmethod
    def fit(
        cls, events: Histories, n_items: int, points: Sequence[Point], config: Config = DEFAULTS, log: Log = silent
    ) -> Iterator[Self]:
        """See TraditionalMethod.fit. One process of Spark trains all points, and has ended before the first is yielded.

        The events are already on this machine, so Spark runs here even if `spark.master` names a cluster. Only the item
        factors are kept.

        Raises:
            MissingComponentError: Java is missing.
        """
        popular = counting.popularity(events, n_items)
        if not len(events.items):
            yield from [cls(np.zeros((n_items + 1, 1), np.float32), np.zeros((1, 1)), 1.0, 1.0, popular)] * len(points)
            return
        with storage.scratch("als") as folder:
            paths = _train(folder, [events], points, config, log)
            yield from [cls._of(path, point, popular) for path, point in zip(paths, points, strict=True)]

    @classmethod
    def fit_chosen(
        cls,
        parts: tuple[Histories, Histories],
        n_items: int,
        choose: Callable[[Iterable[Self]], int],
        config: Config,
        log: Log = silent,
    ) -> Self:
        """See TraditionalMethod.fit_chosen. One process of Spark trains on both parts: it asks which point was chosen."""
        if not len(parts[0].items):
            return super().fit_chosen(parts, n_items, choose, config, log)
        first, second = (counting.popularity(part, n_items) for part in parts)
        chosen = 0

        def answer(paths: Sequence[str]) -> int:
            nonlocal chosen
            chosen = choose(cls._of(path, point, first) for path, point in zip(paths, cls.GRID, strict=True))
            return chosen

        with storage.scratch("als") as folder:
            (path,) = _train(folder, parts, cls.GRID, config, log, answer)
            return cls._of(path, cls.GRID[chosen], second)

    @classmethod
    def _of(cls, path: str, point: Point, popular: NDArray[np.float32]) -> Self:
        """The method with the item factors that Spark has written."""
        items = _read_factors(path, len(popular) - 1)
        gram = items.astype(np.float64).T @ items.astype(np.float64)
        return cls(items, gram, point["regularisation"], point["alpha"], popular)

    def score(self, context: Histories) -> NDArray[np.float32]:
        """Folded-in user factors times item factors, float32 [users, items + 1]."""
        users = fold_in(self, context).astype(np.float32)
        return counting.fall_back(users @ self.items.T, self.popular)


def fold_in(model: Als, context: Histories) -> NDArray[np.float64]:
    """User factors from their events and the item factors, float64 [users, rank]; zeros without a known item.

    One half-step of MLlib's implicit ALS with every rating 1 (Hu, Koren and Volinsky, "Collaborative filtering for
    implicit feedback datasets", ICDM 2008; regularisation scaled by the number of events as in Zhou et al., 2008):
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


def _train(
    folder: str,
    parts: Sequence[Histories],
    points: Sequence[Point],
    config: Config,
    log: Log,
    answer: Callable[[Sequence[str]], int] = lambda paths: 0,
) -> list[str]:
    """Where Spark has written the item factors in the folder: those of every point, or with two parts of the chosen one."""
    from recsys.spark import child, session

    spark = config.spark if session.is_local(config.spark.master) else Spark(memory=config.spark.memory)
    files = []
    for number, part in enumerate(parts):
        sample = counting.sample_users(part, MAX_EVENTS, config.seed)
        users = np.repeat(np.arange(len(sample), dtype=np.int32), sample.lengths)
        ones = np.ones(len(users), np.float32)
        columns = {als_training.USER: users, als_training.ITEM: sample.items, als_training.RATING: ones}
        files.append(os.path.join(folder, f"events-{number}.parquet"))
        pq.write_table(pa.table(columns), files[-1])
    arguments = {
        "spark": settings.to_dict(spark),
        "seed": config.seed,
        "folder": folder,
        "files": files,
        "events": min(MAX_EVENTS, len(parts[-1].items)),
        "grid": [[point["rank"], point["regularisation"], point["alpha"]] for point in points],
    }
    result: list[str] = child.call("recsys.methods.als_training:train", arguments, log, answer=answer).result
    return result


def _read_factors(path: str, n_items: int) -> NDArray[np.float32]:
    """Factors of all items, float32 [items + 1, rank]."""
    table = pq.read_table(path).combine_chunks()
    factors = table.column("features").chunk(0).flatten().to_numpy().reshape(table.num_rows, -1)
    items = np.zeros((n_items + 1, factors.shape[1]), np.float32)
    items[table.column("id").to_numpy()] = factors
    return items


METHOD: Final = Als
