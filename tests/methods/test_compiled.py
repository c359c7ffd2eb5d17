"""Ranking in TensorFlow against the same in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from recsys.errors import RecsysError
from recsys.measure import ranking
from recsys.methods import compiled
from tests.measure.helpers import random_histories

ITEMS = 50


def given(scores: np.ndarray) -> np.ndarray:
    return scores


@pytest.mark.parametrize("k", [1, 10, ITEMS - 2, ITEMS + 1, 200])
def test_the_best_are_those_that_numpy_finds_ties_included(k: int) -> None:
    random = np.random.default_rng(k)
    context = random_histories(40, ITEMS, seed=k)
    scores = random.integers(0, 6, (40, ITEMS + 1)).astype(np.float32)
    scores[:, 0] = -np.inf
    scores[3, 7:] = -np.inf
    expected, values = ranking.top_k(scores.copy(), *ranking.seen(context), k)
    found, found_values = compiled.best(given, [scores], context, k)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(found_values, values)
    assert (found.dtype, found_values.dtype) == (np.int32, np.float32)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
@pytest.mark.parametrize("place", [1, 17, ITEMS])
@pytest.mark.parametrize("k", [1, 5])
def test_a_logit_that_is_not_finite_is_refused_wherever_it_stands(wrong: float, place: int, k: int) -> None:
    logits = np.random.default_rng(0).normal(size=(9, ITEMS + 1)).astype(np.float32)
    logits[4, place], logits[:, 0] = wrong, -np.inf
    context = random_histories(9, ITEMS, seed=0)
    rest = (np.zeros_like(logits), np.zeros((9, 5), np.float32), np.zeros(9, bool), *np.zeros((2, ITEMS + 1), np.float32))
    for scores, arguments in (
        (compiled.log_softmax, [logits]),
        (compiled.blended, [logits, *rest, np.float32(1.0), np.float32(1.0)]),
    ):
        with pytest.raises(RecsysError, match="diverged"):
            compiled.best(scores, arguments, context, k)


def test_other_weights_are_not_compiled_anew() -> None:
    logits = tf.zeros((3, ITEMS + 1))
    rest = (logits, tf.zeros((3, 5)), np.zeros(3, bool), *np.zeros((2, ITEMS + 1), np.float32))
    compiled.weighted(logits, *rest, np.float32(0.25), np.float32(0.5))
    before = compiled.weighted.experimental_get_tracing_count()
    compiled.weighted(logits, *rest, np.float32(4.0), np.float32(0.0))
    assert compiled.weighted.experimental_get_tracing_count() == before
