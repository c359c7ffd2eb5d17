"""What has changed from one night's lists to the next."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.recommend import overlap


def lists(folder, users):
    rows = [(user, item) for user, items in users.items() for item in items]
    folder.mkdir()
    table = pa.table({"user_id": [user for user, _ in rows], "item_id": pa.array([item for _, item in rows], pa.int64())})
    pq.write_table(table, folder / "part-00000.parquet")
    return str(folder)


def test_overlap_new_items_and_the_commonest_list(tmp_path):
    old = lists(tmp_path / "old", {"a": [1, 2], "b": [1, 3], "gone": [9, 8]})
    new = lists(tmp_path / "new", {"a": [2, 1], "b": [1, 4], "c": [1, 4], "d": [1]})
    found = overlap.compare(old, new)
    assert found == {"users": 2, "jaccard": round((1 + 1 / 3) / 2, 4), "new_items": round(2 / 7, 4), "same_list": 0.5}


@pytest.mark.parametrize(("same", "warned"), [(0.49, False), (0.5, True)])
def test_lists_that_are_the_same_for_many_are_worth_a_warning(same, warned):
    said = []
    overlap.tell({"users": 2, "jaccard": 0.5, "new_items": 0.25, "same_list": same}, said.append)
    assert "50% of the items" in said[0] and "25.0% of the rows" in said[0]
    assert any("the very same list" in line for line in said) == warned


def test_nobody_has_a_list(tmp_path):
    old, new = lists(tmp_path / "old", {}), lists(tmp_path / "new", {})
    assert overlap.compare(old, new) == {"users": 0, "jaccard": 0.0, "new_items": 0.0, "same_list": 0.0}


def test_of_many_users_the_same_ones_are_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(overlap, "MOST_USERS", 100)
    many = {f"u{n}": [n % 7, 10] for n in range(1000)}
    old, new = lists(tmp_path / "old", many), lists(tmp_path / "new", many)
    found = overlap.compare(old, new)
    assert 40 < found["users"] <= 100 and found["jaccard"] == 1.0


def test_items_and_lists_count_of_all_users_however_few_are_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(overlap, "MOST_USERS", 3)
    old = lists(tmp_path / "old", {f"u{n:03}": [n, 1000 + n] for n in range(200)})
    new = lists(tmp_path / "new", {f"u{n:03}": [199 - n, 1000 + n] for n in range(200)} | {"v": [7000, 7001]})
    found = overlap.compare(old, new)
    assert found["users"] <= 3 and found["jaccard"] == 0.3333
    assert found["new_items"] == round(2 / 402, 4) and found["same_list"] == round(1 / 201, 4)
