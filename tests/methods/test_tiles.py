"""Division of scores into tiles."""

from __future__ import annotations

import numpy as np
import pytest

from recsys.blocks import CPU, MOST
from recsys.methods import tiles
from recsys.methods.tiles import Tiles
from tests.measure.helpers import random_histories


@pytest.mark.parametrize("tile_bytes", [CPU.scores, MOST.scores])
@pytest.mark.parametrize("items", [1, 15, 16, 500, 3_416, 27_000, 300_000, 10_000_000])
def test_tiles_hold_all_items_and_stay_small(items: int, tile_bytes: int) -> None:
    found = Tiles.of(items, tile_bytes)
    assert found.count * found.width >= items + 1
    assert found.count * found.width - items - 1 < found.count * tiles.GROUP
    assert found.width % tiles.GROUP == 0
    assert tiles.FEWEST_ROWS <= found.rows <= tiles.BLOCK_USERS
    assert 4 * found.rows * found.width <= tile_bytes + 4 * found.rows * tiles.GROUP


def test_values_are_divided_and_filled_up() -> None:
    found = Tiles(items=36, rows=2, width=16).divided(np.arange(74).reshape(2, 37), -1)
    assert [part.shape for part in found] == [(2, 16)] * 3
    np.testing.assert_array_equal(np.concatenate(found, axis=1)[:, :37], np.arange(74).reshape(2, 37))
    assert (found[-1][:, 5:] == -1).all()


def test_the_last_block_of_users_is_full() -> None:
    context = random_histories(9, 20, seed=0)
    found = list(Tiles(items=20, rows=4, width=32).blocks(context))
    assert [users for users, _ in found] == [slice(0, 4), slice(4, 8), slice(8, 9)]
    assert [len(block) for _, block in found] == [4, 4, 4]
    np.testing.assert_array_equal(found[-1][1].user_index, context.user_index[[8, 8, 8, 8]])
