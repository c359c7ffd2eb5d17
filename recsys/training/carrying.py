"""Weights carried over from a network into one with another encoding of the features, and perhaps of other items."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.contract.features_info import Encoding
from recsys.model.encoding import code_origins
from recsys.model.network import CausalCNN


def carry_over(
    old: CausalCNN, new: CausalCNN, before: Encoding, after: Encoding, items: NDArray[np.integer] | None = None
) -> None:
    """Copies the weights of a network with the previous encoding into one with the new encoding; new values get zero vectors.

    Args:
        old: the network to copy from.
        new: the network to copy into.
        before, after: their encodings.
        items: integers [items + 1], the index in `old` of each item of `new`; 0 for new ones, which keep their weights and are
            not known. None: both have the same items.

    Raises:
        ValueError: the networks differ in more than the sizes of their features.
    """
    encoded = (new.item_codes, new.item_numbers, new.item_features.table, new.user_features.table)
    by_item = (new.item_vectors, new.item_bias, new.item_known)
    for variable, value in zip(new.variables, old.variables, strict=True):
        if any(variable is other for other in encoded):
            continue
        if items is not None and any(variable is other for other in by_item):
            there, rows = items > 0, variable.numpy()
            rows[there] = value.numpy()[items[there]]
            variable.assign(rows)
            continue
        if variable.shape != value.shape:
            raise ValueError(f"{variable.path} has the shape {value.shape} in the old network, {variable.shape} in the new one")
        variable.assign(value)
    for bag, trained, pair in (
        (new.item_features, old.item_features, (before.item_features, after.item_features)),
        (new.user_features, old.user_features, (before.user_features, after.user_features)),
    ):
        origins = code_origins(*pair)
        vectors = np.zeros(bag.table.shape, np.float32)
        vectors[: len(origins)] = np.where(origins[:, None] > 0, np.asarray(trained.table)[origins], 0.0)
        bag.table.assign(vectors)
