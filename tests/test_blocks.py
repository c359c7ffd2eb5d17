"""Blocks by the memory of a device: a share of it, within bounds, and the same for nearly the same memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys import blocks
from recsys.blocks import Blocks, of_gpu

GIB = 1 << 30


@pytest.mark.parametrize(
    ("memory", "logits", "scores"),
    [
        (4 * GIB, 256 << 20, 32 << 20),
        (15 * GIB, 512 << 20, 64 << 20),
        (22 * GIB, GIB, 128 << 20),
        (78 * GIB, 4 * GIB, 512 << 20),
    ],
)
def test_a_larger_gpu_gets_larger_blocks(memory: int, logits: int, scores: int) -> None:
    assert of_gpu(memory) == Blocks(logits, scores)


def test_of_unknown_memory_little_is_taken() -> None:
    assert of_gpu(0) == Blocks(512 << 20, 128 << 20)


@given(st.integers(min_value=1, max_value=1 << 40))
def test_blocks_keep_to_their_share_of_the_memory(memory: int) -> None:
    found = of_gpu(memory)
    assert 1 <= found.logits <= max(1, memory / blocks.LOGITS_SHARE)
    assert 1 <= found.scores <= max(1, memory / blocks.SCORES_SHARE)
    assert found.logits <= blocks.MOST.logits < 4 * (1 << 31) and found.scores <= blocks.MOST.scores


def test_a_few_bytes_in_use_do_not_change_them() -> None:
    assert of_gpu(78 * GIB) == of_gpu(77 * GIB) == of_gpu(70 * GIB)
