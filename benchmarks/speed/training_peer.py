"""What the libraries compared by `training` share: events, clock, metric, and the lines that they print. It needs NumPy alone.

A line is a JSON object, printed after each validation: `epoch`, `an_epoch` (targets in one), and so far `trained` (targets),
`seconds` (of training) and `whole` (with validation), and `ndcg@10`.
"""

from __future__ import annotations

import dataclasses
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np

K: Final = 10
GOAL: Final = 0.17
"""The NDCG@10 that ends a training."""
CORES: Final = len(os.sched_getaffinity(0))


@dataclasses.dataclass(frozen=True)
class Events:
    """The published file, split by leave-one-out; users are numbered from 0, items from 1.

    Attributes:
        learned: of each user the items to learn from, in time order: all events but the last two.
        targets: int32 [users], the validation events: the last but one; the last is left for a test.
        items: size of the catalogue.
    """

    learned: list[np.ndarray]
    targets: np.ndarray
    items: int

    @classmethod
    def read(cls, path: str | Path) -> Events:
        """Reads lines of `user item`, all events of a user together and in time order; users are numbered from 1."""
        table = np.loadtxt(path, np.int32, ndmin=2)
        histories = np.split(table[:, 1], np.flatnonzero(np.diff(table[:, 0])) + 1)
        if not np.array_equal(table[np.cumsum([0, *map(len, histories[:-1])]), 0], np.arange(len(histories)) + 1):
            raise SystemExit(f"{path}: expected the events of user 1, then all of user 2, and so on")
        targets = np.array([history[-2] for history in histories], np.int32)
        return cls([history[:-2] for history in histories], targets, int(table[:, 1].max()))


def best(scores: np.ndarray, seen: list[np.ndarray]) -> np.ndarray:
    """The K best unseen items, best first, int [users, K].

    Args:
        scores: float [users, items + 1]; column 0 is padding. What may not be shown is overwritten.
        seen: of each user the items that are not shown.
    """
    scores[:, 0] = -np.inf
    for row, items in zip(scores, seen, strict=True):
        row[items] = -np.inf
    top = np.argpartition(-scores, K, axis=1)[:, :K]
    order = np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1)


def ndcg(top: np.ndarray, targets: np.ndarray) -> float:
    """Mean of NDCG@K over all users with one relevant item each: 1 / log2(rank + 1), or 0 if it is not in the list.

    Args:
        top: int [users, K], best first, 0 = no item.
        targets: int [users].
    """
    return float(((top == targets[:, None]) / np.log2(np.arange(2, top.shape[1] + 2))).sum(axis=1).mean())


class Watch:
    """Times a training, and says when it is over: as soon as GOAL or the limit is reached.

    Args:
        events: has the validation events.
        an_epoch: targets of an epoch.
        limit: seconds of training; validations are added.
    """

    def __init__(self, events: Events, an_epoch: int, limit: float) -> None:
        self._events, self._an_epoch, self._limit = events, an_epoch, limit
        self._seconds, self._validating, self._since = 0.0, 0.0, 0.0
        self._epoch, self._trained, self._score = 0, 0.0, 0.0

    @property
    def goes_on(self) -> bool:
        """Whether to train another epoch."""
        return self._score < GOAL and self._seconds < self._limit

    def start(self) -> None:
        """An epoch begins."""
        self._epoch, self._since = self._epoch + 1, time.monotonic()

    def trained(self, targets: float) -> bool:
        """A step has been taken; says whether to cut the epoch short, since time is over."""
        self._trained += targets
        return self._seconds + time.monotonic() - self._since >= self._limit

    def stop(self) -> None:
        """The epoch ends."""
        self._seconds += time.monotonic() - self._since

    def validate(self, rank: Callable[[], np.ndarray]) -> None:
        """Measures the network as it is, and prints a line.

        Args:
            rank: gives the list of every user, see ndcg.
        """
        started = time.monotonic()
        self._score = ndcg(rank(), self._events.targets)
        self._validating += time.monotonic() - started
        whole = self._seconds + self._validating
        tell(self._epoch, self._an_epoch, round(self._trained), self._seconds, whole, self._score)


def tell(epoch: int, an_epoch: int, trained: int, seconds: float, whole: float, score: float) -> None:
    """Prints a line."""
    line = {"epoch": epoch, "an_epoch": an_epoch, "trained": trained, "seconds": seconds, "whole": whole, "ndcg@10": score}
    print(json.dumps(line), flush=True)
