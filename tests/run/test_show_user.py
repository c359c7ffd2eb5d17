"""What `recsys show` tells of a user, and that it reads no more than that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import storage
from recsys.config import Config
from recsys.contract import schema
from recsys.run import runs
from recsys.text_table import columns_of
from tests.command import assert_refused, invoke, succeed
from tests.store import Store
from tests.support import write_features

USERS = 6


def write(folder: str, columns: dict[str, Any], rows_per_group: int) -> None:
    with storage.atomic_output(storage.join(folder, schema.part_file(0))) as stream:
        pq.write_table(pa.table(columns), stream, row_group_size=rows_per_group)


def make(output: str, user_ids: list[Any], kind: pa.DataType) -> runs.Run:
    """A run in which user u has had items u and u + 1 and is recommended 9 and 8; the last user has had nothing."""
    run = runs.create(Config(output=output), "r")
    features = write_features(run.path(schema.FEATURES_DIR), [[user, user + 1] for user in range(1, USERS)], 9)
    indices = list(range(1, USERS + 1))
    users = {"user_index": pa.array(indices, pa.int32()), "user_id": pa.array(user_ids, kind)}
    write(f"{features}/users", {**users, "gender": pa.array([2, *[0] * (USERS - 1)], pa.int32())}, 2)
    items = {
        "item_index": pa.array(range(1, 10), pa.int32()),
        "item_id": [f"i{item}" for item in range(1, 10)],
        "title": [None, *(f"Title {item}" for item in range(2, 10))],
        "genres": pa.array([[], *[[1, 4]] * 7, [2]], pa.list_(pa.int32())),
    }
    write(f"{features}/items", items, 9)
    histories = {
        "user_index": pa.array(indices[:-1], pa.int32()),
        "items": pa.array([[user, user + 1] for user in indices[:-1]], pa.list_(pa.int32())),
        "ratings": pa.array([[1.0, 4.5]] * (USERS - 1), pa.list_(pa.float32())),
        "timestamps": [[86_400 * user, 86_400 * 365] for user in indices[:-1]],
    }
    write(f"{features}/histories", histories, 2)
    recommendations = {
        "user_id": pa.array([user for user in user_ids for _ in range(2)], kind),
        "item_id": ["i9", "i8"] * USERS,
        "rank": pa.array([1, 2] * USERS, pa.int32()),
        "score": pa.array([0.5, 0.25] * USERS, pa.float32()),
    }
    write(run.path(schema.RECOMMENDATIONS_DIR), recommendations, 4)
    for folder in (features, run.path(schema.RECOMMENDATIONS_DIR)):
        storage.mark_success(folder)
    return run


EXPECTED = """\
user {}, run r: gender M

last 2 of 2 events:
  date        rating  item          genres
  1970-01-02     1.0  i1            -
  1971-01-01     4.5  Title 2 (i2)  Action, Drama

recommendations:
  rank  of 100  score  item          genres
     1     100  0.500  Title 9 (i9)  Comedy
     2      78  0.250  Title 8 (i8)  Action, Drama
"""
"""78: exp(0.25 - 0.5) of 100."""
IDS = [10, 20, 30, 40, 50, 60]


def show(home: Path, *words: object, output: str = "out") -> str:
    return succeed("show", "--output", output, "--run-id", "r", *words, home=home, run=invoke).stdout


@pytest.mark.parametrize(
    ("user_ids", "kind"),
    [
        (IDS, pa.int64()),
        (["u 'ä", "u2", "u3", "u4", "u5", "u6"], pa.string()),
        (["u 'ä", "u2", "u3", "u4", "u5", "u6"], pa.large_string()),
    ],
)
def test_history_and_recommendations_of_a_user_with_an_id_of_any_type(
    tmp_path: Path, user_ids: list[Any], kind: pa.DataType
) -> None:
    make(str(tmp_path / "out"), user_ids, kind)
    assert show(tmp_path, "--user", user_ids[0]) == EXPECTED.format(user_ids[0])
    latest = show(tmp_path, "--user", user_ids[2], "--history", 1)
    assert "last 1 of 2 events:\n  date        rating  item          genres\n  1971-01-01     4.5  Title 4 (i4)" in latest
    assert "no events\n\nrecommendations, by the user's features and" in show(tmp_path, "--user", user_ids[-1])
    assert json.loads(show(tmp_path, "--user", user_ids[0], "--json"))["user_id"] == user_ids[0]
    refused = invoke("show", "--output", "out", "--run-id", "r", "--user", "x", home=tmp_path)
    assert_refused(refused, 2, f"--user x: no such user in run r; ids look like: {user_ids[0]}, ")


def test_json_has_what_the_text_has(tmp_path: Path) -> None:
    make(str(tmp_path / "out"), IDS, pa.int64())
    found = json.loads(show(tmp_path, "--user", 10, "--json"))
    assert found["features"] == {"gender": ["M"]} and (found["run_id"], found["events"]) == ("r", 2)
    first, second = found["history"]
    assert first == {
        "item_id": "i1",
        "title": None,
        "features": {"genres": []},
        "time": "1970-01-02T00:00:00+00:00",
        "rating": 1.0,
    }
    assert second["features"] == {"genres": ["Action", "Drama"]}
    assert found["recommendations"][1] == {
        "item_id": "i8",
        "title": "Title 8",
        "features": {"genres": ["Action", "Drama"]},
        "rank": 2,
        "score": 0.25,
        "relative": 77.88,
        "because_of": None,
    }
    assert json.loads(show(tmp_path, "--user", 60, "--json"))["history"] == []


def test_a_user_at_random_can_be_shown_again(tmp_path: Path) -> None:
    make(str(tmp_path / "out"), IDS, pa.int64())
    shown = {seed: show(tmp_path, "--random", "--seed", seed) for seed in range(20)}
    assert {said.split(",")[0] for said in shown.values()} == {f"user {user}" for user in IDS}
    assert shown[3] == show(tmp_path, "--random", "--seed", 3) == show(tmp_path, "--user", shown[3].split(",")[0][5:])
    assert show(tmp_path, "--random").startswith("user ")


@pytest.mark.parametrize(
    "words",
    [(), ("--user", 10, "--random"), ("--user", 10, "--item", "i1"), ("--user", 10, "--seed", 1), ("--item", "i1", "--why")],
)
def test_what_is_asked_for_must_be_clear(tmp_path: Path, words: tuple[object, ...]) -> None:
    make(str(tmp_path / "out"), IDS, pa.int64())
    assert_refused(invoke("show", "--output", "out", "--run-id", "r", *words, home=tmp_path), 2, "--random")


@pytest.mark.parametrize("user", ["010", "11", "1e1", "10.0", "", "99999999999999999999"])
def test_what_only_resembles_an_id_is_no_user(tmp_path: Path, user: str) -> None:
    make(str(tmp_path / "out"), IDS, pa.int64())
    assert_refused(invoke("show", "--output", "out", "--run-id", "r", "--user", user, home=tmp_path), 2, "no such user")


def test_it_reads_only_the_row_groups_of_the_user(tmp_path: Path) -> None:
    run = make(str(tmp_path / "out"), IDS, pa.int64())
    for folder in ("features/users", "features/histories", "recommendations"):
        path = Path(run.path(folder)) / "part-00000.parquet"
        groups, content = pq.read_metadata(path), bytearray(path.read_bytes())
        for group in range(1, groups.num_row_groups):
            for column in range(groups.num_columns):
                chunk = groups.row_group(group).column(column)
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
        path.write_bytes(content)
    assert show(tmp_path, "--user", 10) == EXPECTED.format(10)


def test_a_run_in_a_store_is_shown_too(store: Store, tmp_path: Path) -> None:
    make(f"{store.bucket}/shown", IDS, pa.int64())
    assert show(tmp_path, "--user", 10, output=f"{store.bucket}/shown") == EXPECTED.format(10)


def test_narrow_terminals_and_wide_titles_lose_nothing(tmp_path: Path) -> None:
    run, title = make(str(tmp_path / "out"), IDS, pa.int64()), "とても長い題名の映画、続編のまた続編 with many words after it"
    items = {
        "item_index": pa.array(range(1, 10), pa.int32()),
        "item_id": [f"i{n}" for n in range(1, 10)],
        "title": [title] * 9,
        "genres": pa.array([[1, 2, 3, 4]] * 9, pa.list_(pa.int32())),
    }
    write(run.path("features", "items"), items, 9)
    done = invoke("show", "--output", "out", "--run-id", "r", "--user", 10, home=tmp_path, changes={"COLUMNS": "50"})
    assert all(columns_of(line) <= 50 for line in done.stdout.splitlines())
    assert all(done.stdout.count(letter) >= 4 * title.count(letter) for letter in title), "two events and two recommendations"
