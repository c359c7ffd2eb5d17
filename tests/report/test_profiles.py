"""What is counted of events and lists, against a slow count; which users are shown."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.config import Recommend
from recsys.contract.features_info import read_info
from recsys.progress import Progress
from recsys.recommend.lists import recommend
from recsys.report import event_profile, examples, list_profile
from tests.support import NextItem, chains, write_features


def test_lists_are_counted_as_they_are(tmp_path: Path) -> None:
    features = write_features(tmp_path / "features", [*chains(users=50), [3, 4], [3, 4], [3, 4]], 40, cold_users=4)
    folder = str(tmp_path / "lists")
    recommend(Recommend(k=7, rows_per_file=100), features, folder, "r", NextItem(), Progress(quiet=True))
    rows = pq.read_table(folder).to_pandas()
    lists = Counter(tuple(items) for _, items in rows.groupby("user_id")["item_id"])
    shown = rows["item_id"].value_counts()
    found = list_profile.profile(features, folder)
    assert (found.users, found.rows, found.different) == (57, 57 * 7, len(lists))
    assert found.same_list == max(lists.values()) / 57 > 2 / 57
    assert {place * 10**15: count for place, count in enumerate(found.shown) if count} == shown.to_dict()
    assert (found.items, found.coverage) == (len(shown), len(shown) / 40)


def test_the_same_items_in_another_order_are_another_list(tmp_path: Path) -> None:
    features = write_features(tmp_path / "features", chains(users=3), 40, cold_users=0)
    ids = [place * 10**15 for place in (1, 2, 3, 3, 2, 1, 1, 2, 3)]
    (tmp_path / "lists").mkdir()
    columns = {"user_id": np.repeat(["u0001", "u0002", "u0003"], 3), "item_id": ids}
    pq.write_table(pa.table(columns), tmp_path / "lists" / "part-00000.parquet")
    found = list_profile.profile(features, str(tmp_path / "lists"))
    assert (found.different, found.same_list) == (2, 2 / 3)


def test_events_gaps_and_values_that_are_missing(tmp_path: Path) -> None:
    features = write_features(tmp_path / "features", [[1, 2, 3], [1], [2, 1]], 5, cold_users=2)
    path = tmp_path / "features" / "histories" / "part-00000.parquet"
    table, day = pq.read_table(path), 86_400
    times = pa.array([[0, day, 6 * day], [day + 5], [6 * day, 7 * day]], table.schema.field("timestamps").type)
    column = table.schema.get_field_index("timestamps")
    pq.write_table(table.set_column(column, table.schema.field(column), times), path)
    found = event_profile.profile(features, read_info(features))
    assert found.lengths.tolist() == [0, 3, 1, 2, 0, 0]
    assert found.item_events.tolist() == [0, 3, 2, 1, 0, 0]
    assert (found.without_history, found.without_events) == (2, 2)
    assert (found.days.tolist(), found.day_events.tolist()) == ([0, 1, 6, 7], [1, 2, 2, 1])
    assert found.longest_gap == (4, 2)
    assert found.unknown["users"] == {"gender": 2 / 5}, "every third user's"
    assert found.unknown["items"] == {"genres": 3 / 5}, "of the items 1, 3 and 5"


@pytest.mark.parametrize("users", [1, 9, 12, 300_000])
def test_users_of_all_lengths_are_shown_some_of_them_new(users: int) -> None:
    lengths = np.random.default_rng(1).geometric(0.05, users + 1)
    lengths[1::4] = 0
    chosen = examples.choose(lengths, 7)
    assert chosen == examples.choose(lengths, 7) and len(set(chosen)) == len(chosen) == min(10, users)
    events = [lengths[user] for user in chosen]
    assert events == sorted(events) and min(chosen) > 0
    assert sum(count == 0 for count in events) == (2 if users > 12 else int((lengths[1:] == 0).sum()) if users < 10 else 2)
    if users > 100:
        assert events[2] <= np.quantile(lengths[lengths > 0], 1 / 8) and events[-1] >= np.quantile(lengths[lengths > 0], 7 / 8)
        assert chosen != examples.choose(lengths, 8)
