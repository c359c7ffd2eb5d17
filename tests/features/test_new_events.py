"""New events added to what a run knows: the same histories as if the features were built anew, for all that the run knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recsys import config
from recsys.contract import histories, schema
from recsys.errors import DataError
from recsys.features.new_events import FoldedIn, fold_in
from tests.building import Built, source
from tests.features.test_pipeline import make_data

NONE = config.Config(split=config.Split(method="none"))
COLUMNS = {"user_id": "user", "item_id": "item", "rating": "rating", "timestamp": "time"}


def text(events: list[tuple[str, str, float, int]]) -> str:
    return "user,item,rating,time\n" + "".join(f"{u},{i},{r},{t}\n" for u, i, r, t in events)


def folded(built: Built, table: config.Table, **options: Any) -> FoldedIn:
    return fold_in(table, built.folder, built.info, config.Config(features=config.Features(**options)))


def by_name(ids: list[str], items: list[str], block: histories.Histories) -> dict[str, list[tuple[str, float, int]]]:
    """Each user's events with the ids of the items."""
    found = {}
    for user, start, end in zip(ids, block.offsets[:-1], block.offsets[1:], strict=True):
        rows = range(start, end)
        found[user] = [(items[block.items[n] - 1], float(block.ratings[n]), int(block.timestamps[n])) for n in rows]
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_histories_are_those_of_a_build_of_all_events(
    build: Callable[..., Built], csv: Callable[..., config.Table], seed: int
) -> None:
    """Also with late events and with repeats of what a user has had."""
    events, *_ = make_data(seed, items=60)
    early, late = events[: len(events) * 3 // 5], events[len(events) * 3 // 5 :]
    known = build(source(csv(text(early), "early.csv", **COLUMNS)), NONE)
    whole = build(source(csv(text(events), "all.csv", **COLUMNS)), NONE)
    found = folded(known, csv(text(late), "late.csv", **COLUMNS))
    items = known.items[schema.ITEM_ID].to_pylist()
    all_items = whole.items[schema.ITEM_ID].to_pylist()
    everything = by_name(whole.users[schema.USER_ID].to_pylist(), all_items, whole.histories)
    expected = {
        user: sorted((event for event in everything[user] if event[0] in items), key=lambda event: event[2])
        for user in {event[0] for event in late}
    }
    ours = by_name(found.user_ids.to_pylist(), items, found.histories)
    assert {user: sorted(rows) for user, rows in ours.items()} == {user: sorted(rows) for user, rows in expected.items()}
    assert all([event[2] for event in rows] == sorted(event[2] for event in rows) for rows in ours.values()), "in order of time"
    users = dict(zip(known.users[schema.USER_ID].to_pylist(), known.users[schema.USER_INDEX].to_pylist(), strict=True))
    assert found.histories.user_index.tolist() == [users.get(user, 0) for user in found.user_ids.to_pylist()]


def test_new_users_unknown_items_and_bad_rows(build: Callable[..., Built], csv: Callable[..., config.Table]) -> None:
    known = build(source(csv(text([("u1", "a", 1, 10), ("u2", "b", 2, 20), ("u2", "a", 2, 30)]))), NONE)
    new = [("u9", "b", 3, 5), ("u1", "zz", 4, 50), ("u8", "zz", 4, 60), ("u2", "a", 5, 99)]
    found = folded(known, csv(text(new) + "u1,b,1,never\n", "new.csv", **COLUMNS))
    assert found.user_ids.to_pylist() == ["u1", "u2", "u8", "u9"]
    assert found.histories.lengths.tolist() == [1, 2, 0, 1], "an unknown item adds nothing, and what was had stays as it was"
    assert found.histories.timestamps[found.histories.offsets[1] : found.histories.offsets[2]].tolist() == [20, 30]
    assert (found.events, found.unknown, dict(found.rejected)) == (2, 2, {"bad_timestamp": 1})
    blocks = list(found.blocks(3))
    assert [ids.to_pylist() for ids, _ in blocks] == [["u1", "u2", "u8"], ["u9"]]
    assert np.concatenate([block.items for _, block in blocks]).tolist() == found.histories.items.tolist()


@pytest.mark.parametrize(
    ("rows", "words"), [("u1,a,1,never\n", "1 of 1 rows of interactions cannot be used"), ("", "has no usable event")]
)
def test_events_that_cannot_be_used_are_an_error(
    build: Callable[..., Built], csv: Callable[..., config.Table], tmp_path: Path, rows: str, words: str
) -> None:
    known = build(source(csv(text([("u1", "a", 1, 10), ("u2", "b", 2, 20)]))), NONE)
    with pytest.raises(DataError, match=words):
        folded(known, csv("user,item,rating,time\n" + rows, "new.csv", **COLUMNS))
