"""Ten users with what they had and what they get, by title: some new ones, the others of all lengths of history."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys import storage
from recsys.contract import schema
from recsys.redaction import one_line

USERS: Final = 10
NEW: Final = 2
"""So many of them have no history, if there are such users."""
LATEST: Final = 10
"""So many events are shown, the latest ones."""
LONGEST_TITLE: Final = 120


@dataclasses.dataclass(frozen=True)
class Event:
    """One event of a history: its time in seconds, its rating and the item's title."""

    timestamp: int
    rating: float
    title: str


@dataclasses.dataclass(frozen=True)
class Example:
    """One user.

    Attributes:
        user: id.
        events: number of events in the whole history.
        latest: the last of them, in time order.
        recommended: titles by rank; empty if there are no lists.
    """

    user: str
    events: int
    latest: tuple[Event, ...]
    recommended: tuple[str, ...]


def choose(lengths: NDArray[np.int64], seed: int) -> list[int]:
    """Indices of the users to show, those with the fewest events first.

    Args:
        lengths: int64 [users + 1], events of each user; entry 0 is no user.
        seed: of the draw.
    """
    random = np.random.default_rng(seed)
    known, new = np.flatnonzero(lengths[1:] > 0) + 1, np.flatnonzero(lengths[1:] == 0) + 1
    few = min(len(new), max(NEW, USERS - len(known)))
    chosen = [int(user) for user in np.sort(random.choice(new, few, replace=False))] if few else []
    ordered = known[np.argsort(lengths[known], kind="stable")]
    parts = np.array_split(ordered, min(USERS - few, len(ordered))) if len(ordered) else []
    return chosen + [int(random.choice(part)) for part in parts]


def read(features: str, recommendations: str | None, chosen: list[int]) -> list[Example]:
    """The chosen users, in that order. Row groups without them are skipped.

    Args:
        features: the features folder.
        recommendations: the lists; None if there are none.
        chosen: indices of users.
    """
    index = pa.array(chosen, pa.int32())
    columns = [schema.USER_INDEX, schema.USER_ID]
    users = storage.read_rows(storage.join(features, schema.USERS_DIR), pc.field(schema.USER_INDEX).isin(index), columns)
    ids = dict(zip(*(users.column(name).to_pylist() for name in columns), strict=True))
    histories = _rows(storage.join(features, schema.HISTORIES_DIR), schema.USER_INDEX, index)
    had = {row[schema.USER_INDEX]: row for row in histories}
    lists: dict[Any, list[Any]] = {}
    if recommendations is not None:
        for row in _rows(recommendations, schema.USER_ID, users.column(schema.USER_ID).combine_chunks()):
            lists.setdefault(row[schema.USER_ID], []).append(row)
    by_index, by_id = _titles(features, had, lists)
    found = []
    for user in chosen:
        row = had.get(user, {schema.TIMESTAMPS: [], schema.RATINGS: [], schema.ITEMS: []})
        events = list(zip(row[schema.TIMESTAMPS], row[schema.RATINGS], row[schema.ITEMS], strict=True))
        latest = tuple(Event(time, rating, by_index[item]) for time, rating, item in events[-LATEST:])
        ranked = sorted(lists.get(ids[user], []), key=lambda one: one[schema.RANK])
        recommended = tuple(by_id[one[schema.ITEM_ID]] for one in ranked)
        found.append(Example(one_line(str(ids[user])), len(events), latest, recommended))
    return found


def titles(features: str, items: list[int]) -> dict[int, str]:
    """The titles of some items by their index; of an item without a title its id."""
    columns = [schema.ITEM_INDEX, schema.ITEM_ID, schema.TITLE]
    wanted = pc.field(schema.ITEM_INDEX).isin(pa.array(items, pa.int32()))
    rows = storage.read_rows(storage.join(features, schema.ITEMS_DIR), wanted, columns).to_pylist()
    return {row[schema.ITEM_INDEX]: _name(row) for row in rows}


def _titles(
    features: str, had: dict[int, dict[str, Any]], lists: dict[Any, list[Any]]
) -> tuple[dict[int, str], dict[Any, str]]:
    """The titles of all items that are shown, by their index and by their id."""
    items = storage.join(features, schema.ITEMS_DIR)
    with storage.open_dataset(items) as table:
        kind = table.schema.field(schema.ITEM_ID).type
    indices = {item for row in had.values() for item in row[schema.ITEMS][-LATEST:]}
    ids = {one[schema.ITEM_ID] for rows in lists.values() for one in rows}
    wanted = pc.field(schema.ITEM_INDEX).isin(pa.array(sorted(indices), pa.int32()))
    wanted |= pc.field(schema.ITEM_ID).isin(pa.array(sorted(ids), kind))
    rows = storage.read_rows(items, wanted, [schema.ITEM_INDEX, schema.ITEM_ID, schema.TITLE]).to_pylist()
    return {row[schema.ITEM_INDEX]: _name(row) for row in rows}, {row[schema.ITEM_ID]: _name(row) for row in rows}


def _rows(folder: str, column: str, values: pa.Array) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = storage.read_rows(folder, pc.field(column).isin(values)).to_pylist()
    return found


def _name(item: dict[str, Any]) -> str:
    """A title in one line that is not too long, or the id of an item without one."""
    title = item[schema.TITLE]
    text = one_line(f"item {item[schema.ITEM_ID]}" if title is None else str(title))
    return text if len(text) <= LONGEST_TITLE else f"{text[: LONGEST_TITLE - 1]}…"
