"""Blocks of users at the same time on several cores: NumPy, SciPy and TensorFlow release Python's lock while they compute."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

MOST: Final = 4
"""Blocks at a time, at most; each takes memory of its own (ranking.BLOCK_BYTES, recsys.blocks)."""
Given = TypeVar("Given")
Found = TypeVar("Found")


def in_order(work: Callable[[Given], Found], given: Iterable[Given]) -> Iterator[Found]:
    """The results of `work`, in the order of what is given, of which only as much is taken as there are threads and one more.

    Args:
        work: must not depend on the calls before.
        given: read in the caller's thread.
    """
    threads = min(MOST, len(os.sched_getaffinity(0)))
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[Found]] = deque()
    try:
        for one in given:
            waiting.append(pool.submit(work, one))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
