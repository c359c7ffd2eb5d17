"""One protocol for every method: rank each user's next items among all items, seen items excluded."""

from __future__ import annotations

import abc
import dataclasses
import time
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.contract.histories import Histories
from recsys.errors import RecsysError
from recsys.measure import metrics, ranking, threads
from recsys.measure.targets import Targets, contexts, training_counts

KS: Final = (5, 10, 20)

Top = tuple[NDArray[np.int32], NDArray[np.float32]]
"""Items and their scores, each [users, k]; see ranking.top_k."""


class Scorer(Protocol):
    """A recommendation method, fitted on events before those it is measured on."""

    @property
    def name(self) -> str:
        """Name of the method in tables."""

    def block_users(self, n_items: int) -> int:
        """Users that `top` should be given at once, for a catalogue of that size."""

    def top(self, context: Histories, k: int) -> Top:
        """The k best items of some users among those they have not had, judged only by their events before the cut.

        Args:
            context: the users' events before the cut; a user may have none. Several blocks are ranked at the same time.
            k: length of the lists.

        Returns:
            See ranking.top_k.

        Raises:
            RecsysError: a score is NaN or +inf.
        """


class MatrixScorer(abc.ABC):
    """A Scorer that computes the scores of all items as a matrix of NumPy."""

    def block_users(self, n_items: int) -> int:
        """As many as take ranking.BLOCK_BYTES."""
        return ranking.block_rows(n_items)

    @abc.abstractmethod
    def score(self, context: Histories) -> NDArray[np.float32]:
        """float32 [users, items + 1], higher is better; column 0 is padding. The caller may overwrite it."""

    def top(self, context: Histories, k: int) -> Top:
        """See Scorer."""
        return ranking.top_k(self.score(context), *ranking.seen(context), k)


@dataclasses.dataclass(frozen=True)
class Result:
    """What one method scored on one part.

    Attributes:
        name: the method
        targets: who was evaluated, on what
        top: int32 [users, max(ks)], best first, 0 = no item
        per_user: {"ndcg@10": float64 [users], …}, see metrics.per_user
        lists: {"coverage@10": …}, see metrics.of_lists
        seconds: wall time of scoring, ranking and measuring
    """

    name: str
    targets: Targets
    top: NDArray[np.int32]
    per_user: dict[str, NDArray[np.float64]]
    lists: dict[str, float]
    seconds: float


def evaluate(
    scorer: Scorer, histories: Histories, targets: Targets, n_items: int, ks: Sequence[int] = KS, block: int | None = None
) -> Result:
    """Measures how well a method ranks the users' next items.

    A user's context is everything before the cut; users without any (cold users) are measured too. Candidates are all items of
    the catalogue except those in the context; ties go to the lower item index.

    Args:
        scorer: fitted on events before the cut.
        histories: all events, with the split positions.
        targets: the users and the items to find; see targets.find_targets.
        n_items: size of the catalogue.
        ks: lengths of lists to measure.
        block: users scored at once; by default what the scorer asks for.

    Raises:
        RecsysError: the lists have the wrong shape, or a score is not finite.
    """
    started = time.perf_counter()
    top = np.zeros((len(targets.rows), max(ks)), np.int32)

    def rank(place: tuple[slice, Histories]) -> tuple[slice, NDArray[np.int32]]:
        rows, context = place
        items, _ = scorer.top(context, max(ks))
        if items.shape != (len(context), max(ks)) or items.max(initial=0) > n_items:
            raise RecsysError(
                f"{scorer.name} returned lists of shape {items.shape} with items up to {items.max(initial=0)}, expected "
                f"{(len(context), max(ks))} and {n_items}"
            )
        return rows, items

    users = block or scorer.block_users(n_items)
    for rows, found in threads.in_order(rank, contexts(histories, targets, users)):
        top[rows] = found
    counts, train_users = training_counts(histories, n_items)
    return Result(
        name=scorer.name,
        targets=targets,
        top=top,
        per_user=metrics.per_user(top, targets.offsets, targets.items, ks),
        lists=metrics.of_lists(top, counts, train_users, ks),
        seconds=time.perf_counter() - started,
    )
