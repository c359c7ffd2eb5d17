"""Operations of a step against a calculation by hand, and against what the network itself multiplies."""

import dataclasses

import pytest

from recsys.bench import operations
from recsys.config import Model
from recsys.model.network import resolve

SIZES = {"item_codes": 4, "item_slots": 1, "item_numbers": 1, "user_codes": 4, "user_slots": 1, "user_numbers": 1}


def spec(**model):
    return resolve(Model(**model), 1_000, {"items": 10, **SIZES}, seed=0)


def test_operations_of_a_tiny_network_by_hand():
    counted = operations.count(spec(width=4, kernel_size=3, dilations=(1, 2)), positions=5, negatives=0)
    taps = 2 * (12 * 8)  # three taps of 4 channels to 4 values and 4 gates
    projection = 2 * (4 * 4)
    logits = 2 * (4 * 11)  # 10 items and padding
    assert counted == operations.Operations(blocks=3 * 5 * 2 * (taps + projection), softmax=3 * 5 * logits)
    assert counted.total == 3 * 5 * (2 * (192 + 32) + 88)


def test_feed_forward_blocks_and_negatives_count():
    plain, wide = (operations.count(spec(width=4, dilations=(1,), feed_forward=f), 1, negatives=7) for f in (0, 2))
    assert wide.blocks - plain.blocks == 3 * 2 * (4 * 8 + 8 * 4)
    assert wide.softmax == 3 * 2 * 4 * 7


def test_the_count_is_that_of_the_weights_of_the_blocks():
    """A weight of a matrix is multiplied and added once a position forward."""
    from recsys.model.network import CausalCNN

    made = spec(width=8, kernel_size=2, dilations=(1, 4, 2), feed_forward=3)
    model = CausalCNN(made)
    model.build()
    matrices = sum(int(w.shape[0] * w.shape[1]) for b in model.blocks for w in b.trainable_variables if len(w.shape) == 2)
    assert operations.count(made, positions=1, negatives=0).blocks == 3 * 2 * matrices


def test_the_share_is_that_of_the_two_rates():
    counted = operations.Operations(blocks=600, softmax=100)
    assert operations.share(counted, seconds=8.0, compute=300.0, float32=50.0) == pytest.approx((2.0 + 2.0) / 8.0)
    assert dataclasses.replace(counted, softmax=0).total == 600


def test_a_rate_is_found(monkeypatch):
    monkeypatch.setattr(operations, "SIZES", (16,))
    assert operations.matmul_rate("float32") > 0
