"""One user as `recsys show` has them: features, latest events, recommendations and, if asked, why."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow.compute as pc

from recsys import storage
from recsys.contract import item_names, schema
from recsys.contract.features_info import read_info
from recsys.contract.histories import Histories
from recsys.recommend import readable, reasons, rows
from recsys.recommend.readable import Item, Values


@dataclasses.dataclass(frozen=True)
class Event:
    """An event of the past.

    Attributes:
        item: of what.
        time: seconds since 1970.
        rating: None if the source has none.
    """

    item: Item
    time: int
    rating: float | None


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """One row of a list.

    Attributes:
        item: what is recommended.
        rank: from 1.
        score: as written.
        relative: see reasons.relative.
        because_of: past items with the share of the weight that goes with each, if known, see reasons.because_of; None if not
            asked for.
    """

    item: Item
    rank: int
    score: float
    relative: float
    because_of: tuple[tuple[Item, float | None], ...] | None


@dataclasses.dataclass(frozen=True)
class UserView:
    """A user.

    Attributes:
        run_id: of which run.
        user_id: as in the source.
        features: see Values.
        events: how many there are.
        history: the latest of them, in time order.
        recommendations: by rank.
    """

    run_id: str
    user_id: Any
    features: Values
    events: int
    history: tuple[Event, ...]
    recommendations: tuple[Recommendation, ...]


def describe_user(
    features: str,
    recommendations: str,
    run_id: str,
    user: str | None,
    latest: int,
    scores: reasons.Scores | None = None,
    seed: int | None = None,
) -> UserView:
    """Reads no more than what concerns the user, but for `scores`.

    Args:
        features: folder of the run's features.
        recommendations: folder of its recommendations.
        run_id: its name.
        user: id as in the source; None for a user at random.
        latest: maximum number of events.
        scores: of the run's published method, to say why; None if nobody asked.
        seed: of a user at random.

    Raises:
        ConfigError: there is no such user.
    """
    index, user_id = rows.any_user(features, seed) if user is None else rows.find(features, schema.USER_ID, user, run_id)
    info = read_info(features)
    past = rows.history(features, index)
    listed = storage.read_rows(recommendations, pc.field(schema.USER_ID) == user_id).sort_by(schema.RANK)
    names = item_names.by_id(features, listed.column(schema.ITEM_ID).combine_chunks())
    chosen = np.array([names[item].index for item in listed.column(schema.ITEM_ID).to_pylist()], np.int32)
    because = [None] * len(chosen) if scores is None else reasons.because_of(scores, past, chosen)
    shown = range(max(0, len(past.items) - latest), len(past.items))
    needed = {*shown, *(event for why in because if why is not None for event, _ in why)}
    items = readable.read_items(features, info, [*chosen.tolist(), *(int(past.items[event]) for event in needed)])
    listing = []
    for item, row, why in zip(chosen.tolist(), listed.to_pylist(), because, strict=True):
        named = None if why is None else tuple((items[int(past.items[event])], share) for event, share in why)
        weight = reasons.relative(row[schema.SCORE], listed.column(schema.SCORE)[0].as_py())
        listing.append(Recommendation(items[item], row[schema.RANK], row[schema.SCORE], weight, named))
    return UserView(
        run_id,
        user_id.as_py(),
        readable.read_user(features, info, index),
        len(past.items),
        tuple(_event(past, event, items, info.has_ratings) for event in shown),
        tuple(listing),
    )


def _event(past: Histories, event: int, items: dict[int, Item], has_ratings: bool) -> Event:
    rating = float(past.ratings[event]) if has_ratings else None
    return Event(items[int(past.items[event])], int(past.timestamps[event]), rating)
