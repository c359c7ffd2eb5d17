"""A few rows out of large Parquet folders of a run. Row groups without them are skipped, by their statistics."""

from __future__ import annotations

import dataclasses
import random
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys import storage
from recsys.contract import histories, matching, schema
from recsys.contract.histories import Histories
from recsys.errors import ConfigError
from recsys.redaction import one_line

_EXAMPLES: Final = 3
_INDEX: Final = {schema.USER_ID: schema.USER_INDEX, schema.ITEM_ID: schema.ITEM_INDEX}
_WORDS: Final = {schema.USER_ID: "user", schema.ITEM_ID: "item"}


def find(features: str, key: str, given: str, run_id: str) -> tuple[int, pa.Scalar]:
    """Index of a user or item, and the id in the type that the source has.

    Args:
        features: folder of the run's features.
        key: schema.USER_ID or schema.ITEM_ID.
        given: the id as people write it.
        run_id: for the message.

    Raises:
        ConfigError: there is none with this id.
    """
    folder = storage.join(features, matching.INDEX[key])
    with storage.open_dataset(folder) as table:
        kind = table.schema.field(key).type
    try:
        found_id = pa.scalar(given).cast(kind)
        same = found_id.cast(pa.string()).as_py() == given  # 042 is not the id 42
    except pa.ArrowInvalid:
        same = False
    if same:
        found = storage.read_rows(folder, pc.field(key) == found_id, [_INDEX[key]]).column(0)
        if len(found):
            return found[0].as_py(), found_id
    with storage.open_dataset(folder) as table:
        known = table.head(_EXAMPLES, columns=[key]).column(0).to_pylist()
    examples, word = ", ".join(one_line(str(one)) for one in known), _WORDS[key]
    raise ConfigError(f"--{word} {given}: no such {word} in run {run_id}; ids look like: {examples}")


def any_user(features: str, seed: int | None) -> tuple[int, pa.Scalar]:
    """Index and id of a user at random, each as likely, with or without events; the same for the same seed."""
    folder = storage.join(features, schema.USERS_DIR)
    with storage.open_dataset(folder) as table:
        user = random.Random(seed).randrange(table.count_rows()) + 1
    return user, storage.read_rows(folder, pc.field(schema.USER_INDEX) == user, [schema.USER_ID]).column(0)[0]


def history(features: str, user: int) -> Histories:
    """The events of one user, empty if there are none; positions of the split do not hold."""
    found = histories.read_users(features, [user])
    if len(found):
        return found
    none = np.zeros(1, np.int32)
    index, offsets = np.array([user], np.int32), np.zeros(2, np.int64)
    return dataclasses.replace(found, user_index=index, offsets=offsets, train_length=none, valid_length=none)
