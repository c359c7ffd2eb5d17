"""The run whose network another run goes on from."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class EarlierRun:
    """Where it is, and what it knows.

    Attributes:
        run_id: its name.
        features, model: its folders.
        since: the last moment that its network has learned, seconds.
    """

    run_id: str
    features: str
    model: str
    since: int
