"""Whether XLA is worth it on this machine: a few steps are timed with it and without, before training begins."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from recsys.training.steps import Steps

CLEARLY: Final = 1.2
"""XLA is left out where a step takes so many times as long with it: either way the last bits differ, and by so much a rerun on
the same machine does not err."""
SECONDS: Final = 0.3
"""Of one timing."""
TIMINGS: Final = 3
"""The shortest counts: what else the machine does makes a step only longer."""


def step_milliseconds(compiled: Callable[[bool], Steps], chunk: Mapping[str, Any]) -> dict[str, float]:
    """Times some steps of either kind, once they are compiled. They change what they train: restore it.

    Args:
        compiled: makes the steps with XLA or without.
        chunk: a chunk of batches, from packing.dataset.

    Returns:
        Milliseconds a step by "on" and "off".
    """
    return {name: round(1000 * _seconds(compiled(name == "on"), chunk), 2) for name in ("on", "off")}


def worthwhile(milliseconds: Mapping[str, float]) -> bool:
    """Whether to use XLA, by what `step_milliseconds` returned."""
    return milliseconds["on"] <= CLEARLY * milliseconds["off"]


def _seconds(steps: Steps, chunk: Mapping[str, Any]) -> float:
    """Of a step, the shortest of several timings."""

    def timed(count: int) -> float:
        started = time.perf_counter()
        steps(chunk, np.array(0, np.int32), np.array(count, np.int32)).numpy()
        return (time.perf_counter() - started) / count

    timed(1)  # compiles
    count = int(np.clip(SECONDS / timed(1), 1, int(chunk["steps"])))
    return min(timed(count) for _ in range(TIMINGS))
