"""Ten users with what they had and what they get, by title: some new ones, the others of all lengths of history."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys import storage
from recsys.contract import histories, item_names, schema
from recsys.contract.item_names import ItemName
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
    index, columns = pa.array(chosen, pa.int32()), [schema.USER_INDEX, schema.USER_ID]
    users = storage.read_rows(storage.join(features, schema.USERS_DIR), pc.field(schema.USER_INDEX).isin(index), columns)
    ids = dict(zip(*(users.column(name).to_pylist() for name in columns), strict=True))
    past = histories.read_users(features, chosen)
    last = past.tail(np.full(len(past), LATEST))
    titles = item_names.by_index(features, last.items.tolist())
    latest: dict[int, list[Event]] = {user: [] for user in chosen}
    for user, item, rating, time in zip(
        np.repeat(last.user_index, last.lengths).tolist(),
        last.items.tolist(),
        last.ratings.tolist(),
        last.timestamps.tolist(),
        strict=True,
    ):
        latest[user].append(Event(time, rating, name(titles[item])))
    events = dict(zip(past.user_index.tolist(), past.lengths.tolist(), strict=True))
    lists = _lists(features, recommendations, users.column(schema.USER_ID).combine_chunks()) if recommendations else {}
    return [
        Example(one_line(str(ids[user])), events.get(user, 0), tuple(latest[user]), tuple(lists.get(ids[user], ())))
        for user in chosen
    ]


def _lists(features: str, recommendations: str, users: pa.Array) -> dict[Any, list[str]]:
    """The names of the items in the lists of some users, by rank, by id of the user."""
    rows = storage.read_rows(recommendations, pc.field(schema.USER_ID).isin(users)).sort_by(schema.RANK)
    names = item_names.by_id(features, rows.column(schema.ITEM_ID).combine_chunks())
    found: dict[Any, list[str]] = {}
    for user, item in zip(*(rows.column(column).to_pylist() for column in (schema.USER_ID, schema.ITEM_ID)), strict=True):
        found.setdefault(user, []).append(name(names[item]))
    return found


def name(item: ItemName) -> str:
    """An item as the page names it, in one line that is not too long."""
    text = one_line(item.text)
    return text if len(text) <= LONGEST_TITLE else f"{text[: LONGEST_TITLE - 1]}…"
