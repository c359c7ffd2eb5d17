"""Ids and titles of a few items out of features/. Row groups without them are skipped, by their statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recsys import storage
from recsys.contract import schema


@dataclasses.dataclass(frozen=True)
class ItemName:
    """Index and id of an item, and its title, None without one."""

    index: int
    item_id: Any
    title: str | None

    @property
    def text(self) -> str:
        """The title, or the id of an item without one."""
        return str(self.item_id) if self.title is None else self.title


def by_index(features: str, indices: Iterable[int]) -> dict[int, ItemName]:
    """The items with the given indices, by index; indices that are none are left out."""
    wanted = pc.field(schema.ITEM_INDEX).isin(pa.array(sorted(set(indices)), pa.int32()))
    return {one.index: one for one in _read(features, wanted)}


def by_id(features: str, item_ids: pa.Array) -> dict[Any, ItemName]:
    """The items with the given ids, by id; ids that are none are left out."""
    return {one.item_id: one for one in _read(features, pc.field(schema.ITEM_ID).isin(item_ids))}


def _read(features: str, wanted: pc.Expression) -> list[ItemName]:
    columns = [schema.ITEM_INDEX, schema.ITEM_ID, schema.TITLE]
    found = storage.read_rows(storage.join(features, schema.ITEMS_DIR), wanted, columns)
    return [ItemName(*row.values()) for row in found.to_pylist()]
