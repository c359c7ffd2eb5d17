"""Items like one item: by the vectors of the published network, and by what users had next."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.contract import schema
from recsys.contract.features_info import read_info
from recsys.recommend import neighbours, readable, rows
from recsys.recommend.readable import Item


@dataclasses.dataclass(frozen=True)
class Learned:
    """What a run has learned of its items.

    Attributes:
        vectors: float32 [items + 1, width], of the network; row 0 is padding.
        transitions: CSR float32 [items + 1, items + 1]; row i has the shares of what follows item i.
    """

    vectors: NDArray[np.float32]
    transitions: sparse.csr_matrix


@dataclasses.dataclass(frozen=True)
class ItemView:
    """An item.

    Attributes:
        run_id: of which run.
        item: which.
        similar: items with the cosine of the two vectors, -1 to 1, the most similar first.
        followed_by: items with their share of what users had soon after this one, 0 to 1, the most frequent first.
    """

    run_id: str
    item: Item
    similar: tuple[tuple[Item, float], ...]
    followed_by: tuple[tuple[Item, float], ...]


def describe_item(features: str, run_id: str, item: str, most: int, learned: Callable[[], Learned]) -> ItemView:
    """Describes an item by at most so many others.

    Args:
        features: folder of the run's features.
        run_id: its name.
        item: id as in the source.
        most: number of items in each list.
        learned: called once it is known that there is such an item.

    Raises:
        ConfigError: there is no such item.
    """
    index, _ = rows.find(features, schema.ITEM_ID, item, run_id)
    known = learned()
    nearest, cosines = neighbours.nearest(known.vectors[1:], index - 1, most)
    similar = list(zip((nearest + 1).tolist(), cosines.tolist(), strict=True))
    followed = _shares(known.transitions, index, most)
    items = readable.read_items(features, read_info(features), [index, *(one for one, _ in (*similar, *followed))])
    named = [tuple((items[one], value) for one, value in found) for found in (similar, followed)]
    return ItemView(run_id, items[index], *named)


def _shares(transitions: sparse.csr_matrix, index: int, most: int) -> list[tuple[int, float]]:
    row = transitions[index]
    best = np.lexsort((row.indices, -row.data))[:most]
    return [(int(row.indices[one]), float(row.data[one])) for one in best if row.data[one] > 0]
