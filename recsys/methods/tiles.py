"""Users and items divided into tiles of scores, of a size that suits the device."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from recsys.blocks import CPU
from recsys.contract.histories import Histories
from recsys.measure.ranking import BLOCK_USERS

FEWEST_ROWS: Final = 128
"""Users in a tile: fewer would read the vectors of the items too often."""
GROUP: Final = 16
"""Widths are multiples of this, see compiled.best."""


@dataclasses.dataclass(frozen=True)
class Tiles:
    """Scores [users, items + 1] in tiles [rows, width] of one size, since the last bits of a product depend on its shape.

    Attributes:
        items: of the catalogue; column 0 is padding.
        rows: users of a tile.
        width: columns of a tile; the last one is filled up.
    """

    items: int
    rows: int
    width: int

    @classmethod
    def of(cls, items: int, tile_bytes: int = CPU.scores) -> Self:
        """As few tiles as can be of about that many bytes, see recsys.blocks, for a catalogue of that size."""
        count = -(-(items + 1) // max(GROUP, tile_bytes // (4 * FEWEST_ROWS)))
        width = -(-(items + 1) // (count * GROUP)) * GROUP
        rows = 1 << int(np.log2(max(1, tile_bytes // (4 * width))))
        return cls(items, int(np.clip(rows, FEWEST_ROWS, BLOCK_USERS)), width)

    @property
    def count(self) -> int:
        """Tiles that hold all items of the same users."""
        return -(-(self.items + 1) // self.width)

    def divided(self, values: NDArray[Any], fill: float) -> list[NDArray[Any]]:
        """Values of the items [..., items + 1] as one array [..., width] for each tile."""
        found = [np.full((*values.shape[:-1], self.width), fill, values.dtype) for _ in self.firsts]
        for first, part in zip(self.firsts, found, strict=True):
            given = values[..., first : first + self.width]
            part[..., : given.shape[-1]] = given
        return found

    @property
    def firsts(self) -> range:
        """The first column of each tile."""
        return range(0, self.count * self.width, self.width)

    def blocks(self, context: Histories) -> Iterator[tuple[slice, Histories]]:
        """The users, `rows` at a time, as (their slice of the context, histories); the last block repeats users to be full."""
        for start in range(0, len(context), self.rows):
            users = np.arange(start, min(start + self.rows, len(context)))
            yield slice(start, start + len(users)), context.rows(np.resize(users, self.rows))
