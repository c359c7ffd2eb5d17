"""Whether XLA is worth it on this machine: a few steps are timed with it and without, before training begins."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

from recsys.training.steps import Steps

CLEARLY: Final = 1.5
"""XLA is left out where a step takes so many times as long with it. The last bits depend on it, so only a great difference
counts, which a rerun on the same machine finds again."""
SECONDS: Final = 0.3
"""Of one timing."""
TIMINGS: Final = 3
"""The shortest counts: what else the machine does makes a step only longer."""


def step_milliseconds(steps: Mapping[bool, Steps], tables: Any, chunk: Mapping[str, Any]) -> dict[str, float]:
    """Times some steps of either kind, once they are compiled. They change what they train: restore it.

    Args:
        steps: with XLA, and without.
        tables: what they look up, see steps.lookup_tables.
        chunk: a chunk of batches, from packing.dataset.

    Returns:
        Milliseconds a step by "on" and "off".
    """
    return {name: round(1000 * _seconds(steps[name == "on"], tables, chunk), 2) for name in ("on", "off")}


def worthwhile(milliseconds: Mapping[str, float]) -> bool:
    """Whether to use XLA, by what `step_milliseconds` returned."""
    return milliseconds["on"] <= CLEARLY * milliseconds["off"]


def _seconds(steps: Steps, tables: Any, chunk: Mapping[str, Any]) -> float:
    """Of a step, the shortest of several timings."""

    def timed(count: int) -> float:
        started = time.perf_counter()
        steps(tables, chunk, np.array(0, np.int32), np.array(count, np.int32)).numpy()
        return (time.perf_counter() - started) / count

    timed(1)  # compiles
    count = int(np.clip(SECONDS / timed(1), 1, int(chunk["steps"])))
    return min(timed(count) for _ in range(TIMINGS))
