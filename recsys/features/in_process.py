"""The part of Spark's RDD interface that the features stage uses, in one process and in memory: for work that ends before a JVM
has started.

Whatever runs on it is written for Spark, and runs on Spark where it is more than this process holds. Partitions are worked on
by threads, since Arrow and NumPy let go of the interpreter. Nothing is lazy: what is asked for is computed at once.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from pyspark import SparkContext


def context() -> SparkContext:
    """What the features stage asks of a SparkContext, without Spark."""
    return cast("SparkContext", Context())


class Context:
    """In the place of a SparkContext."""

    def __init__(self) -> None:
        self.defaultParallelism: Final = len(os.sched_getaffinity(0))

    def getConf(self) -> Mapping[str, str]:
        """No property is set."""
        return {}

    def parallelize(self, values: Sequence[Any], partitions: int) -> Parts:
        """The values, spread over partitions in their order."""
        size = len(values)
        ends = [size * number // partitions for number in range(partitions + 1)]
        return Parts(self, [list(values[start:end]) for start, end in itertools.pairwise(ends)])

    def union(self, several: Iterable[Parts]) -> Parts:
        """The partitions of all, one after another."""
        return Parts(self, [values for parts in several for values in parts.partitions])

    def broadcast(self, value: Any) -> Shared:
        """The value itself."""
        return Shared(value)


class Shared:
    """In the place of a Broadcast."""

    def __init__(self, value: Any) -> None:
        self.value = value


class Parts:
    """In the place of an RDD.

    Args:
        context: it belongs to.
        partitions: the elements of each.
    """

    def __init__(self, context: Context, partitions: Sequence[list[Any]]) -> None:
        self.context = context
        self.partitions = partitions

    def mapPartitionsWithIndex(self, work: Callable[[int, Iterator[Any]], Iterable[Any]]) -> Parts:
        """What `work` makes of the number and the elements of each partition."""
        with ThreadPoolExecutor(self.context.defaultParallelism) as threads:
            found = threads.map(lambda number: list(work(number, iter(self.partitions[number]))), range(len(self.partitions)))
            return Parts(self.context, list(found))

    def mapPartitions(self, work: Callable[[Iterator[Any]], Iterable[Any]]) -> Parts:
        """What `work` makes of the elements of each partition."""
        return self.mapPartitionsWithIndex(lambda _, values: work(values))

    def map(self, work: Callable[[Any], Any]) -> Parts:
        """What `work` makes of each element."""
        return self.mapPartitions(lambda values: map(work, values))

    def flatMap(self, work: Callable[[Any], Iterable[Any]]) -> Parts:
        """All that `work` makes of each element."""
        return self.mapPartitions(lambda values: (found for value in values for found in work(value)))

    def values(self) -> Parts:
        """The second of each pair."""
        return self.map(lambda pair: pair[1])

    def partitionBy(self, partitions: int, number_of: Callable[[Any], int]) -> Parts:
        """The pairs, each in the partition of its first."""
        spread: list[list[Any]] = [[] for _ in range(partitions)]
        for values in self.partitions:
            for pair in values:
                spread[number_of(pair[0]) % partitions].append(pair)
        return Parts(self.context, spread)

    def coalesce(self, partitions: int) -> Parts:
        """The same elements in fewer partitions."""
        size = len(self.partitions)
        most = min(partitions, size)
        groups = [range(size * number // most, size * (number + 1) // most) for number in range(most)]
        return Parts(self.context, [[value for number in group for value in self.partitions[number]] for group in groups])

    def getNumPartitions(self) -> int:
        """How many there are."""
        return len(self.partitions)

    def collect(self) -> list[Any]:
        """All elements, in order of the partitions."""
        return [value for values in self.partitions for value in values]

    def persist(self, level: object) -> Parts:
        """They are in memory as it is."""
        return self

    def unpersist(self) -> Parts:
        """They end with the last reference to them."""
        return self
