"""The features stage again in plain Python: slow, obvious, and written from the contract only."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

Event = tuple[Any, Any, float, int]


def histories(events: list[Event], min_item_events: int = 1) -> dict[Any, list[Event]]:
    """Each user's events ordered by time, ties in source order, with only the first event of each item."""
    found: dict[Any, list[Event]] = {}
    for event in sorted(events, key=lambda event: event[3]):
        history = found.setdefault(event[0], [])
        if event[1] not in [other[1] for other in history]:
            history.append(event)
    counts = Counter(event[1] for history in found.values() for event in history)
    kept = {user: [event for event in history if counts[event[1]] >= min_item_events] for user, history in found.items()}
    return {user: history for user, history in kept.items() if history}


def lengths(history: list[Event], method: str, test: float, valid: float, valid_from: int, test_from: int) -> tuple[int, int]:
    n = len(history)
    if method == "leave-one-out":
        return (n, n) if n < 3 else (n - 2, n - 1)
    if method == "per-user-ratio":
        rest = n - min(math.ceil(n * test - 1e-9), n - 1)
        return rest - min(math.ceil(rest * valid - 1e-9), rest - 1), rest
    if method == "global-time":
        times = [event[3] for event in history]
        return sum(time < valid_from for time in times), sum(time < test_from for time in times)
    return n, n


def standardised(number: float, fitted: list[float]) -> float:
    mean, deviation = moments(fitted)
    return (number - mean) / (deviation or 1.0)


def item_order(training: list[Event], all_items: set[Any]) -> list[Any]:
    counts = Counter(event[1] for event in training)
    return sorted(all_items, key=lambda item: (-counts[item], item if isinstance(item, int) else str(item).encode()))


def vocabulary(rows: list[list[str]], most: int = 5000, least: int = 1) -> list[str]:
    counts = Counter(value for row in rows for value in set(row))
    ranked = sorted(counts, key=lambda value: (-counts[value], value.encode()))
    return [value for value in ranked if counts[value] >= least][:most]


def extended(known: list[str], rows: list[list[str]], most: int = 5000, least: int = 1) -> list[str]:
    """The known values, and after them those that are new in these rows."""
    return (known + [value for value in vocabulary(rows, least=least) if value not in known])[:most]


def moments(values: list[float]) -> tuple[float, float]:
    mean = sum(values) / len(values)
    return mean, math.sqrt(sum((value - mean) ** 2 for value in values) / len(values))
