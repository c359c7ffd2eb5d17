"""Which users and items of one run are which of another: by their ids, since every run numbers them anew."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.contract import histories, schema

INDEX: dict[str, str] = {schema.USER_ID: schema.USERS_DIR, schema.ITEM_ID: schema.ITEMS_DIR}
"""The folder of features/ that holds each kind of id."""


def origins(before: str, after: str, key: str) -> NDArray[np.int32]:
    """The index in the features `before` of each user or item of the features `after`.

    Args:
        before, after: two features folders.
        key: schema.USER_ID or schema.ITEM_ID.

    Returns:
        int32 [rows of `after` + 1], by the index there; 0 for those that `before` lacks, and for padding.
    """
    return origins_of(before, read_ids(after, key), key)


def origins_of(features: str, ids: pa.Array, key: str) -> NDArray[np.int32]:
    """The same for some ids: int32 [ids + 1], the first for padding. Ids of another type than those of the folder are equal to
    none, unless both are integers."""
    known = read_ids(features, key)
    if ids.type != known.type:
        if not (pa.types.is_integer(ids.type) and pa.types.is_integer(known.type)):
            return np.zeros(len(ids) + 1, np.int32)
        ids, known = ids.cast(pa.int64()), known.cast(pa.int64())
    found = pc.fill_null(pc.index_in(ids, value_set=known), -1).to_numpy()
    return np.concatenate([[0], found + 1]).astype(np.int32)


def read_ids(features: str, key: str) -> pa.Array:
    """The ids of all users or items, in order of index, which starts at 1."""
    return histories.read_table(features, INDEX[key], [key]).column(0).combine_chunks()
