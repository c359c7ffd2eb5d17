"""Ranking in TensorFlow against the same in NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from recsys.contract.histories import Histories
from recsys.errors import RecsysError
from recsys.measure import ranking
from recsys.methods import compiled
from recsys.methods.tiles import GROUP, Tiles
from tests.measure.helpers import random_histories
from tests.methods.matrices import FromMatrix

ITEMS = 5 * GROUP
DIVISIONS = (Tiles.of(ITEMS), Tiles(ITEMS, rows=7, width=2 * GROUP), Tiles(ITEMS, rows=64, width=GROUP))


class Given(FromMatrix):
    """Always the same logits."""

    def __init__(self, logits: np.ndarray, tiles: Tiles) -> None:
        super().__init__(ITEMS, tiles)
        self.given = logits

    def score(self, context: Histories) -> np.ndarray:
        return self.given


def best(logits: np.ndarray, tiles: Tiles, context: Histories, k: int, scores: Any = compiled.alone, *rest: Any) -> Any:
    blocks = Given(logits, tiles).logits(context)
    return compiled.best(scores, ((users, ((tile, *rest) for tile in parts)) for users, _, parts in blocks), tiles, context, k)


@pytest.mark.parametrize("tiles", DIVISIONS)
@pytest.mark.parametrize("k", [1, 10, ITEMS - 2, ITEMS + 1, 200])
def test_the_best_are_those_that_numpy_finds_ties_included(k: int, tiles: Tiles) -> None:
    random = np.random.default_rng(k)
    context = random_histories(40, ITEMS, seed=k)
    scores = random.integers(0, 6, (40, ITEMS + 1)).astype(np.float32)
    scores[:, 0] = -np.inf
    scores[3, 7:] = -np.inf
    expected, values = ranking.top_k(scores.copy(), *ranking.seen(context), k)
    found, found_values = best(scores, tiles, context, k)
    np.testing.assert_array_equal(found, expected)
    totals = np.log(np.exp(scores).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found_values, values - totals, rtol=1e-5)
    assert (found.dtype, found_values.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("tiles", DIVISIONS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("place", [1, 17, ITEMS])
@pytest.mark.parametrize("k", [1, 5])
def test_a_logit_that_is_not_finite_is_refused_wherever_it_stands(wrong: float, place: int, k: int, tiles: Tiles) -> None:
    logits = np.random.default_rng(0).normal(size=(9, ITEMS + 1)).astype(np.float32)
    logits[4, place], logits[:, 0] = wrong, -np.inf
    context = random_histories(9, ITEMS, seed=0)
    nothing, biases = np.zeros((tiles.rows, 0), np.float32), np.zeros((2, tiles.width), np.float32)
    users = np.zeros(tiles.rows, bool), np.zeros(tiles.rows, np.int32)
    rest = (nothing, nothing, *users, biases, biases[0], np.float32(1.0), np.float32(1.0))
    for scores, arguments in ((compiled.alone, ()), (compiled.blended, rest)):
        with pytest.raises(RecsysError, match="diverged"):
            best(logits, tiles, context, k, scores, *arguments)


def test_nobody_to_rank_for() -> None:
    found, values = best(np.zeros((0, ITEMS + 1), np.float32), DIVISIONS[0], random_histories(0, ITEMS, seed=0), 3)
    assert found.shape == values.shape == (0, 3)


def test_other_users_and_lengths_are_not_compiled_anew() -> None:
    tiles, random = Tiles(ITEMS, rows=16, width=2 * GROUP), np.random.default_rng(0)
    for users in (3, 20, 35):
        best(random.normal(size=(users, ITEMS + 1)).astype(np.float32), tiles, random_histories(users, ITEMS, seed=users), 4)
    before = [function.experimental_get_tracing_count() for function in (compiled._best_of_tile, compiled._merged)]
    for users, k in ((50, 4), (9, 7), (33, 60)):
        best(random.normal(size=(users, ITEMS + 1)).astype(np.float32), tiles, random_histories(users, ITEMS, seed=users), k)
    after = [function.experimental_get_tracing_count() for function in (compiled._best_of_tile, compiled._merged)]
    assert after == before


def test_other_weights_are_not_compiled_anew() -> None:
    logits = tf.zeros((3, ITEMS + 1))
    users, biases = (np.zeros(3, bool), np.zeros(3, np.int32)), np.zeros((2, ITEMS + 1), np.float32)
    rest = (logits, tf.zeros((3, 0)), *users, biases, biases[0])
    compiled.weighted(logits, *rest, np.float32(0.25), np.float32(0.5))
    before = compiled.weighted.experimental_get_tracing_count()
    compiled.weighted(logits, *rest, np.float32(4.0), np.float32(0.0))
    assert compiled.weighted.experimental_get_tracing_count() == before
