"""The traditional methods that the model is measured beside, each a module of its own.

Every module has a small grid, `GRID`, and `candidates(train, n_items, config, progress, grid)`, which fits the method once for
each point.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from typing import Final

from recsys.config import Config
from recsys.contract.histories import Histories
from recsys.errors import ConfigError
from recsys.methods.counting import Candidate

Progress = Callable[[str], None]

MODULES: Final = {
    "popularity": "recsys.methods.popularity",
    "recent-popularity": "recsys.methods.recent_popularity",
    "item-knn": "recsys.methods.item_knn",
    "ease": "recsys.methods.ease",
    "als": "recsys.methods.als",
    "transitions": "recsys.methods.transitions",
}


def check(name: str) -> None:
    """Raises ConfigError where no baseline has that name."""
    if name not in MODULES:
        raise ConfigError(f"unknown baseline '{name}' in 'evaluation.baselines'; known here: {', '.join(MODULES)}")


def candidates(
    name: str, train: Histories, n_items: int, config: Config, progress: Progress, only: int | None = None
) -> Iterator[Candidate]:
    """The baseline fitted with each point of its grid; the first point is the usual choice.

    Args:
        name: one of `MODULES`.
        train: the events to learn from, such as the training part, `histories.head(histories.train_length)`.
        n_items: size of the catalogue.
        config: seed, and the Spark section for methods that use Spark.
        progress: takes lines for a person to read.
        only: fits just the point of this place in the grid.

    Raises:
        ConfigError: unknown name.
    """
    check(name)
    module = importlib.import_module(MODULES[name])
    grid = module.GRID if only is None else module.GRID[only : only + 1]
    found: Iterator[Candidate] = module.candidates(train, n_items, config, progress, grid)
    return found
