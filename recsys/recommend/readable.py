"""Users and items as people know them: ids, titles, and declared features by the names of their values."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from recsys import storage
from recsys.contract import item_names, schema
from recsys.contract.features_info import EncodedFeature, FeaturesInfo

Values = Mapping[str, tuple[str, ...]]
"""Values of the categorical and multi features by name, the frequent ones first; none where nothing is known."""


@dataclasses.dataclass(frozen=True)
class Item:
    """An item as people know it.

    Attributes:
        item_id: as in the source.
        title: None without one.
        features: see Values.
    """

    item_id: Any
    title: str | None
    features: Values


def read_items(features: str, info: FeaturesInfo, indices: Iterable[int]) -> dict[int, Item]:
    """The items with the given indices, by index; indices that are none are left out."""
    chosen = sorted(set(indices))
    wanted = pc.field(schema.ITEM_INDEX).isin(pa.array(chosen, pa.int32()))
    published = info.published
    values = _values(storage.join(features, published.items_dir), wanted, schema.ITEM_INDEX, published.item_features)
    return {index: Item(one.item_id, one.title, values[index]) for index, one in item_names.by_index(features, chosen).items()}


def read_user(features: str, info: FeaturesInfo, user: int) -> Values:
    """The features of a user."""
    published = info.published
    wanted = pc.field(schema.USER_INDEX) == user
    return _values(storage.join(features, published.users_dir), wanted, schema.USER_INDEX, published.user_features)[user]


def _values(folder: str, wanted: pc.Expression, index: str, declared: Sequence[EncodedFeature]) -> dict[int, Values]:
    """What the codes in a folder stand for, by index."""
    named = {feature.name: feature.values or () for feature in declared if feature.kind in ("categorical", "multi")}
    found: dict[int, Values] = {}
    for row in storage.read_rows(folder, wanted, [index, *named]).to_pylist():
        codes = {name: row[name] if isinstance(row[name], list) else [row[name]] for name in named}
        found[row[index]] = {name: tuple(values[code - 1] for code in codes[name] if code) for name, values in named.items()}
    return found
