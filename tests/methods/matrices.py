"""Matrices of scores where the product has tiles of logits, and the other way round."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import Any

import numpy as np

from recsys.contract.histories import Histories
from recsys.methods.blend import Logits
from recsys.methods.tiles import Tiles
from recsys.methods.weights import Weights

WEIGHTS = Weights(
    few=4,
    many=8,
    transitions_many=1.0,
    taste=0.5,
    taste_many=1.0,
    recent=0.5,
    share=0.5,
    age=-0.5,
    idle=0.5,
    cold_age=-0.5,
    cold_idle=0.5,
)
"""Weights of which each changes a list, with ends within the lengths of support.chains."""


class FromMatrix(abc.ABC):
    """Logits for the blend from `score`, which a subclass defines: float32 [users, items + 1], column 0 -inf."""

    name = "matrix"

    def __init__(self, items: int, tiles: Tiles | None = None) -> None:
        self.tiles = tiles or Tiles.of(items)

    @abc.abstractmethod
    def score(self, context: Histories) -> np.ndarray:
        """See above."""

    def block_users(self, n_items: int) -> int:
        return self.tiles.rows

    def logits(self, context: Histories) -> Iterator[tuple[slice, Histories, Iterator[Any]]]:
        whole = self.score(context)
        for users, some in self.tiles.blocks(context):
            filled = np.resize(whole[users], (self.tiles.rows, whole.shape[1]))
            yield users, some, iter(self.tiles.divided(filled, -np.inf))


def logits_of(network: Logits, context: Histories) -> np.ndarray:
    """Logits of all items, float32 [users, items + 1]."""
    blocks = [np.concatenate(list(tiles), axis=1)[: users.stop - users.start] for users, _, tiles in network.logits(context)]
    return np.concatenate(blocks)[:, : network.tiles.items + 1]
