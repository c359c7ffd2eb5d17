"""Events that a run does not know yet, as histories that its methods can score: read without Spark, by the rules of `clean`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from recsys.config import Config, Table
from recsys.contract import histories, matching, schema
from recsys.contract.features_info import FeaturesInfo
from recsys.contract.histories import Histories
from recsys.errors import DataError
from recsys.features import chunks, clean, gather
from recsys.features.chunks import Chunk
from recsys.features.events import of_kind
from recsys.features.read import describe
from recsys.features.sums import total

BLOCK_USERS: Final = 65_536
"""Histories of the run are looked through so many at a time."""


@dataclasses.dataclass(frozen=True)
class FoldedIn:
    """The users of some new events, with their whole histories.

    Attributes:
        user_ids: ascending [users].
        histories: with the indices of the run; those of users that it does not know have user_index 0.
        events: new events of items that the run knows.
        unknown: new events of items that the run does not know, which say nothing to its methods.
        rejected: rows set aside, by reason.
    """

    user_ids: pa.Array
    histories: Histories
    events: int
    unknown: int
    rejected: Mapping[str, int]

    def joined(self, known: Iterable[tuple[pa.Array, Histories]]) -> Iterator[tuple[pa.Array, Histories]]:
        """All users: the known ones in their order, with their new events, and then the new ones.

        Args:
            known: blocks of the run's users, ids and histories, one for each user.
        """
        for ids, block in known:
            place = np.flatnonzero(np.isin(self.histories.user_index, block.user_index))
            others = block.rows(np.flatnonzero(~np.isin(block.user_index, self.histories.user_index[place])))
            whole = histories.concatenate([others, self.histories.rows(place)])
            yield ids, whole.rows(np.argsort(whole.user_index, kind="stable"))
        new = np.flatnonzero(self.histories.user_index == 0)
        if len(new):
            yield self.user_ids.take(pa.array(new)), self.histories.rows(new)

    def blocks(self, users: int) -> Iterator[tuple[pa.Array, Histories]]:
        """So many of the users with new events at a time, with their ids."""
        for start in range(0, len(self.user_ids), users):
            rows = np.arange(start, min(start + users, len(self.user_ids)))
            yield self.user_ids[start : start + users], self.histories.rows(rows)


def fold_in(table: Table, features: str, info: FeaturesInfo, config: Config) -> FoldedIn:
    """Reads new events and adds them to what a run knows of their users.

    An event with an item that the user has had is a repeat, as everywhere.

    Args:
        table: the events.
        features: the run's features folder.
        info: its features.json.
        config: the run's; features.max_rejected and source.forget count.

    Raises:
        DataError: too many rows are unusable, or there is no usable event.
    """
    rows = describe(table, "interactions", 1)
    user_type, item_type = (pa.type_for_alias(name) for name in (info.user_id_type, info.item_id_type))
    layout = clean.layout(rows, user_type, item_type, info.options["timestamp_unit"], config.source.forget)
    divided = (part for _, part in gather.divide(rows.batches(), layout, 1))
    parts = list(gather.gather(divided, 1, layout))
    sums = total(value.decode() for value in of_kind(iter(parts), gather.SUMS))
    clean.check_rejected(
        "interactions", table.path, sums.rejected, sums.rows, config.features.max_rejected, sums.example(rows.files)
    )
    if not sums.count:
        raise DataError(f"{table.path} has no usable event")
    found = [_numbered(chunks.unpack_chunk(value), features) for value in of_kind(iter(parts), gather.HISTORIES)]
    user_ids = pa.concat_arrays([ids for ids, _ in found])
    new = histories.concatenate([block for _, block in found])
    whole = _joined(_known(features, new.user_index), new)
    known = int(np.count_nonzero(new.items))
    return FoldedIn(user_ids, whole, known, sums.count - known, sums.rejected)


def _numbered(chunk: Chunk, features: str) -> tuple[pa.Array, Histories]:
    """The ids of the users of a chunk, and its histories with the run's indices, 0 for what it does not know."""
    users = matching.origins_of(features, chunk.users, schema.USER_ID)[1:]
    items = matching.origins_of(features, chunk.item_ids, schema.ITEM_ID)[1:][chunk.items]
    none = np.zeros(len(users), np.int32)
    return chunk.users, Histories(users, chunk.offsets, items, chunk.ratings, chunk.timestamps, none, none)


def _known(features: str, users: np.ndarray) -> Histories:
    """What the run knows of some users, one row for each, empty for index 0."""
    wanted = (block.rows(np.flatnonzero(np.isin(block.user_index, users))) for block in histories.stream(features, BLOCK_USERS))
    there = histories.concatenate([histories.EMPTY, *wanted])  # in order of user_index, which the ids are not
    place = np.searchsorted(there.user_index, users)
    found = np.flatnonzero(users > 0)
    found = found[np.isin(users[found], there.user_index)]
    lengths = np.zeros(len(users), np.int64)
    lengths[found] = there.lengths[place[found]]
    some, none = there.rows(place[found]), np.zeros(len(users), np.int32)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    return Histories(users, offsets, some.items, some.ratings, some.timestamps, none, none)


def _joined(old: Histories, new: Histories) -> Histories:
    """Both together in order of time, the old first at the same moment, each item of a user once; without items of index 0."""
    rows = np.concatenate([np.repeat(np.arange(len(part)), part.lengths) for part in (old, new)])
    items, ratings, times = (
        np.concatenate([getattr(part, name) for part in (old, new)]) for name in ("items", "ratings", "timestamps")
    )
    order = np.lexsort((times, rows))  # stable
    order = order[items[order] > 0]
    width = int(items.max(initial=0)) + 1
    order = order[~pd.Series(rows[order].astype(np.int64) * width + items[order]).duplicated().to_numpy()]
    lengths = np.bincount(rows[order], minlength=len(new))
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    none = np.zeros(len(new), np.int32)
    return Histories(new.user_index, offsets, items[order], ratings[order], times[order], none, none)
