"""What the events of a run look like: how long histories are, how popular items, and whether there are gaps in time."""

from __future__ import annotations

import dataclasses
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recsys import storage
from recsys.contract import histories, schema
from recsys.contract.features_info import Encoding, FeaturesInfo

_BATCH_USERS: Final = 65_536


@dataclasses.dataclass(frozen=True)
class EventProfile:
    """All events of the source that were used, before any split.

    Attributes:
        lengths: int64 [users + 1], events of each user by index; entry 0 is no user.
        item_events: int64 [items + 1], events of each item by index; entry 0 is no item.
        train_counts: int64 [items + 1], training events of each item.
        days: int64, the days on which there are events, ascending, counted from 1970-01-01.
        day_events: int64, the events of each of these days.
        unknown: by table and feature, the share of users or items whose value is not known.
        without_title: share of the items without a title.
    """

    lengths: NDArray[np.int64]
    item_events: NDArray[np.int64]
    train_counts: NDArray[np.int64]
    days: NDArray[np.int64]
    day_events: NDArray[np.int64]
    unknown: dict[str, dict[str, float]]
    without_title: float

    @property
    def without_history(self) -> int:
        """Number of users without an event."""
        return int((self.lengths[1:] == 0).sum())

    @property
    def without_events(self) -> int:
        """Number of items without an event."""
        return int((self.item_events[1:] == 0).sum())

    @property
    def longest_gap(self) -> tuple[int, int]:
        """The most days in a row without any event between the first and the last event, and the day on which they begin."""
        if len(self.days) < 2:
            return 0, 0
        gaps = np.diff(self.days) - 1
        place = int(gaps.argmax())
        return int(gaps[place]), int(self.days[place]) + 1


def profile(features: str, info: FeaturesInfo) -> EventProfile:
    """Reads the events once, in blocks of bounded memory, and the tables of users and items.

    Args:
        features: the features folder.
        info: features.json.
    """
    lengths, item_events = np.zeros(info.users + 1, np.int64), np.zeros(info.items + 1, np.int64)
    days: dict[int, int] = {}
    for block in histories.stream(features, _BATCH_USERS):
        lengths[block.user_index] = block.lengths
        item_events += np.bincount(block.items, minlength=len(item_events))
        for day, count in zip(*np.unique(block.timestamps // schema.DAY, return_counts=True), strict=True):
            days[int(day)] = days.get(int(day), 0) + int(count)
    items = histories.read_table(features, schema.ITEMS_DIR, [schema.ITEM_INDEX, schema.TITLE, schema.TRAIN_COUNT])
    train_counts = np.zeros_like(item_events)
    train_counts[items.column(schema.ITEM_INDEX).to_numpy()] = items.column(schema.TRAIN_COUNT).to_numpy()
    ordered = sorted(days)
    return EventProfile(
        lengths=lengths,
        item_events=item_events,
        train_counts=train_counts,
        days=np.array(ordered, np.int64),
        day_events=np.array([days[day] for day in ordered], np.int64),
        unknown=_unknown(features, info.published),
        without_title=items.column(schema.TITLE).null_count / max(1, len(items)),
    )


def _unknown(features: str, encoding: Encoding) -> dict[str, dict[str, float]]:
    """By table and categorical or multi-valued feature, the share of rows that have no known value."""
    found: dict[str, dict[str, float]] = {}
    for table, folder, declared in (
        (schema.USERS_DIR, encoding.users_dir, encoding.user_features),
        (schema.ITEMS_DIR, encoding.items_dir, encoding.item_features),
    ):
        kinds = {one.name: one.kind for one in declared if one.kind != "numeric"}
        if not kinds:
            continue
        rows, none = np.zeros(len(kinds)), np.zeros(len(kinds))
        for path in storage.parquet_files(storage.join(features, folder)):
            with storage.open_parquet(path) as file:
                for batch in file.iter_batches(columns=list(kinds)):
                    for place, (name, kind) in enumerate(kinds.items()):
                        column = batch.column(batch.schema.get_field_index(name))
                        values = column.to_numpy() if kind == "categorical" else column.value_lengths().to_numpy()
                        none[place] += int((values == 0).sum())
                        rows[place] += len(values)
        found[table] = dict(zip(kinds, (none / np.maximum(rows, 1)).tolist(), strict=True))
    return found
