"""One protocol for every method: each user's next items, ranked among all items, without those already had."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from typing import Final, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.contract.features_info import SplitInfo
from recsys.contract.histories import Histories, ranges
from recsys.errors import RecsysError
from recsys.measure import metrics, ranking

KS: Final = (5, 10, 20)
Part = Literal["valid", "test"]


class Scorer(Protocol):
    """A method of recommendation, fitted on events before those it is measured on."""

    @property
    def name(self) -> str:
        """What the method is called in tables."""

    def score(self, context: Histories) -> NDArray[np.float32]:
        """Scores of all items for some users, from their events before the cut alone.

        Args:
            context: the users' events before the cut; a user may have none.

        Returns:
            float32 [users, items + 1], higher is better; column 0 is padding and is ignored. The caller may overwrite it.
        """


@dataclasses.dataclass(frozen=True)
class Targets:
    """The users that are evaluated, and what they really did next.

    Attributes:
        rows: int64 [users], row numbers in the histories, rising
        user_index: int32 [users]
        context_lengths: int64 [users], events before the cut
        offsets: int64 [users + 1] of `items`
        items: int32 [targets], those of each user in order of time
    """

    rows: NDArray[np.int64]
    user_index: NDArray[np.int32]
    context_lengths: NDArray[np.int64]
    offsets: NDArray[np.int64]
    items: NDArray[np.int32]


@dataclasses.dataclass(frozen=True)
class Result:
    """What one method reached on one part.

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
    scorer: Scorer,
    histories: Histories,
    part: Part,
    n_items: int,
    ks: Sequence[int] = KS,
    max_users: int = 50_000,
    seed: int = 0,
    block: int | None = None,
    since: int | None = None,
) -> Result:
    """Measures a method on the validation or the test events.

    Every user with at least one event in the part is evaluated, cold users (no event before the cut) too. The context is
    all that comes before the part: the training events for "valid", training and validation events for "test". Candidates
    are all items of the catalogue but those in the context; equal scores go by the lower item index.

    Args:
        scorer: fitted on events before the part.
        histories: all events, with the split positions.
        part: "valid" or "test".
        n_items: size of the catalogue.
        ks: lengths of lists to measure.
        max_users: at most so many users, drawn without replacement.
        seed: of that draw.
        block: users scored at once; by default as many as give 256 MB of scores.
        since: see find_targets.

    Raises:
        RecsysError: the scores have the wrong shape, or one is not finite.
    """
    started = time.perf_counter()
    targets = find_targets(histories, part, max_users, seed, since)
    top = np.zeros((len(targets.rows), max(ks)), np.int32)
    for rows, context in contexts(histories, targets, block or ranking.block_rows(n_items)):
        scores = scorer.score(context)
        if scores.shape != (len(context), n_items + 1):
            raise RecsysError(f"{scorer.name} gave scores {scores.shape}, expected {(len(context), n_items + 1)}")
        seen = np.repeat(np.arange(len(context)), context.lengths)
        top[rows], _ = ranking.top_k(scores, seen, context.items, max(ks))
    counts, train_users = training_counts(histories, n_items)
    return Result(
        name=scorer.name,
        targets=targets,
        top=top,
        per_user=metrics.per_user(top, targets.offsets, targets.items, ks),
        lists=metrics.of_lists(top, counts, train_users, ks),
        seconds=time.perf_counter() - started,
    )


def find_targets(histories: Histories, part: Part, max_users: int, seed: int, since: int | None = None) -> Targets:
    """The users with an event in the part that is not in their context, at most `max_users` of them, drawn with the seed.

    Events of the part before the moment `since`, in seconds, are no targets, unless there are no others.
    """
    starts, ends = _bounds(histories, part)
    first = starts
    if since is not None:
        early = np.concatenate(([0], np.cumsum(histories.timestamps < since)))
        later = np.clip(early[histories.offsets[1:]] - early[histories.offsets[:-1]], starts, ends)
        first = later if np.any(ends > later) else starts
    rows = np.flatnonzero(ends > first)
    if len(rows) > max_users:
        rows = np.sort(np.random.default_rng(seed).choice(rows, max_users, replace=False))
    chosen, starts, lengths = histories.rows(rows), starts[rows], (ends - first)[rows]
    items = chosen.items[ranges(chosen.offsets[:-1] + first[rows], lengths)]
    owners = np.repeat(np.arange(len(chosen)), lengths)
    keep = ~_already_had(chosen, starts, owners, items)
    counts = np.bincount(owners[keep], minlength=len(chosen))
    kept = counts > 0
    return Targets(
        rows=rows[kept],
        user_index=chosen.user_index[kept],
        context_lengths=starts[kept],
        offsets=np.concatenate(([0], np.cumsum(counts[kept]))),
        items=items[keep],
    )


def decisive_from(split: SplitInfo) -> int | None:
    """The moment from which validation events decide, seconds: with global-time the end of their span's first quarter.

    What is in fashion at the cut decides the days after it, and little later on. Test events are further from their cut than
    validation events are from theirs, for their span is longer: without the earliest, the distances come closer.

    Args:
        split: as it was applied.

    Returns:
        None with other splits.
    """
    if split.valid_from is None or split.test_from is None:
        return None
    return int(split.valid_from + (split.test_from - split.valid_from) / 4)


def contexts(histories: Histories, targets: Targets, block: int) -> Iterator[tuple[slice, Histories]]:
    """The evaluated users' events before the cut, `block` users at a time: (their place among the targets, events)."""
    for start in range(0, len(targets.rows), block):
        place = slice(start, start + block)
        yield place, histories.rows(targets.rows[place]).head(targets.context_lengths[place])


def training_counts(histories: Histories, n_items: int) -> tuple[NDArray[np.int64], int]:
    """Training users of each item, int64 [items + 1], and the number of users with a training event."""
    items = histories.items[ranges(histories.offsets[:-1], histories.train_length)]
    return np.bincount(items, minlength=n_items + 1), int(np.count_nonzero(histories.train_length))


def _bounds(histories: Histories, part: Part) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the part begins and ends in each user's history, int64 [users] each."""
    train = histories.train_length.astype(np.int64)
    valid = histories.valid_length.astype(np.int64)
    return (train, valid) if part == "valid" else (valid, histories.lengths.astype(np.int64))


def _already_had(
    histories: Histories, starts: NDArray[np.int64], owners: NDArray[np.int64], items: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Which targets stand in the context. The rule on duplicates leaves none, but no metric should depend on that."""
    width = int(histories.items.max(initial=0)) + 1
    had = histories.items[ranges(histories.offsets[:-1], starts)]
    keys = np.repeat(np.arange(len(histories), dtype=np.int64), starts) * width + had
    found: NDArray[np.bool_] = np.isin(owners * width + items, keys)
    return found
