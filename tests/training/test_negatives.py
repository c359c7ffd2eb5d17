"""The sample of a step: what it is drawn from, and that nothing but seed, epoch and step decides it."""

import numpy as np
import pytest

from recsys.training import negatives
from recsys.training.negatives import proposal, with_negatives

COUNTS = np.array([0, 90, 0, 9, 1, 0])
POSITIONS = np.array([[0, 1, 3, 1, 0, 4, 4, 3]], np.int32)


def batch():
    return {"item": POSITIONS, "target": np.roll(POSITIONS, -1, axis=1), "weight": np.ones((1, 8), np.float32)}


def drawn(count=50_000, seed=0, epoch=0, step=0):
    found = with_negatives(batch(), proposal(COUNTS), count, seed, epoch, step)
    return found["rows"][found["negative"]]


def test_half_goes_by_the_events_and_half_to_every_item_with_an_event():
    expected = 0.5 * COUNTS / 100 + 0.5 * (COUNTS > 0) / 3
    np.testing.assert_allclose(np.exp(proposal(COUNTS).log_q), expected)
    shares = np.bincount(drawn(), minlength=6) / 50_000
    np.testing.assert_allclose(shares, expected, atol=4 * np.sqrt(0.25 / 50_000))


def test_items_without_events_are_never_drawn():
    assert set(drawn()) == {1, 3, 4}


def test_places_lead_back_to_the_items_and_shapes_are_static():
    found = with_negatives(batch(), proposal(COUNTS), 5, 0, 0, 0)
    for name in ("item", "target"):
        np.testing.assert_array_equal(found["rows"][found[name]], batch()[name])
    np.testing.assert_array_equal(found["item"] == 0, batch()["item"] == 0)  # padding stays padding
    for name, spec in negatives.signature(8, 5).items():
        assert (found[name].shape, found[name].dtype) == (tuple(spec.shape), spec.dtype.as_numpy_dtype)
    items = found["rows"][found["negative"]]
    np.testing.assert_allclose(found["log_expected"], np.log(5 * np.exp(proposal(COUNTS).log_q)[items]), rtol=1e-6)


def test_there_is_room_where_every_item_differs():
    items = np.arange(1, 9, dtype=np.int32)[None]
    found = with_negatives(
        {"item": items, "target": items + 1}, proposal(np.r_[np.zeros(10, np.int64), np.ones(99, np.int64)]), 4, 0, 0, 0
    )
    np.testing.assert_array_equal(found["rows"][found["target"]], items + 1)


@pytest.mark.parametrize("other", [{"seed": 1}, {"epoch": 1}, {"step": 1}])
def test_seed_epoch_and_step_decide_the_draw(other):
    np.testing.assert_array_equal(drawn(100), drawn(100))
    assert (drawn(100) != drawn(100, **other)).any()
