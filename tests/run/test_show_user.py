"""What `recsys show` tells of a user, and that it reads no more than that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import storage
from recsys.config import Config
from recsys.contract import schema
from recsys.errors import ConfigError
from recsys.run import runs
from recsys.run.publish import show_user
from tests.store import Store

USERS = 6


def write(folder: str, columns: dict[str, Any], rows_per_group: int) -> None:
    with storage.atomic_output(storage.join(folder, schema.part_file(0))) as stream:
        pq.write_table(pa.table(columns), stream, row_group_size=rows_per_group)


def make(output: str, user_ids: list[Any], kind: pa.DataType) -> runs.Run:
    """A run in which user u has had items u and u + 1 and is recommended 9 and 8; the last user has had nothing."""
    run = runs.create(Config(output=output), "r")
    features = run.path(schema.FEATURES_DIR)
    indices = list(range(1, USERS + 1))
    write(f"{features}/users", {"user_index": pa.array(indices, pa.int32()), "user_id": pa.array(user_ids, kind)}, 2)
    items = {
        "item_index": pa.array(range(1, 10), pa.int32()),
        "item_id": [f"i{item}" for item in range(1, 10)],
        "title": [None, *(f"Title {item}" for item in range(2, 10))],
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
user {}, run r
last 2 of 2 events:
  1970-01-02   1.0  i1
  1971-01-01   4.5  Title 2 (i2)

recommendations:
    1     0.500  Title 9 (i9)
    2     0.250  Title 8 (i8)"""


@pytest.mark.parametrize(
    ("user_ids", "kind"),
    [
        ([10, 20, 30, 40, 50, 60], pa.int64()),
        ([10**30 + user for user in range(USERS)], pa.decimal128(38, 0)),
        (["u 'ä", "u2", "u3", "u4", "u5", "u6"], pa.string()),
        (["u 'ä", "u2", "u3", "u4", "u5", "u6"], pa.large_string()),
    ],
)
def test_history_and_recommendations_of_a_user_with_an_id_of_any_type(
    tmp_path: Path, user_ids: list[Any], kind: pa.DataType
) -> None:
    make(str(tmp_path), user_ids, kind)
    assert show_user(str(tmp_path), "r", str(user_ids[0]), 10) == EXPECTED.format(user_ids[0])
    assert "last 1 of 2 events:\n  1971-01-01   4.5  Title 4 (i4)\n\nrec" in show_user(str(tmp_path), "r", str(user_ids[2]), 1)
    assert "no events\n\nrecommendations:\n    1     0.500  Title 9" in show_user(str(tmp_path), "r", str(user_ids[-1]), 10)
    with pytest.raises(ConfigError, match=rf"--user x: no such user in run r; ids look like: {user_ids[0]}, "):
        show_user(str(tmp_path), "r", "x", 10)


@pytest.mark.parametrize("user", ["010", "11", "1e1", "10.0", "", "99999999999999999999"])
def test_what_only_resembles_an_id_is_no_user(tmp_path: Path, user: str) -> None:
    make(str(tmp_path), [10, 20, 30, 40, 50, 60], pa.int64())
    with pytest.raises(ConfigError, match="no such user"):
        show_user(str(tmp_path), "r", user, 10)


def test_it_reads_only_the_row_groups_of_the_user(tmp_path: Path) -> None:
    run = make(str(tmp_path), [10, 20, 30, 40, 50, 60], pa.int64())
    for folder in ("features/users", "features/histories", "recommendations"):
        path = Path(run.path(folder)) / "part-00000.parquet"
        groups, content = pq.read_metadata(path), bytearray(path.read_bytes())
        for group in range(1, groups.num_row_groups):
            for column in range(groups.num_columns):
                chunk = groups.row_group(group).column(column)
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                content[start : start + chunk.total_compressed_size] = b"\xff" * chunk.total_compressed_size
        path.write_bytes(content)
    assert show_user(str(tmp_path), "r", "10", 10) == EXPECTED.format(10)


def test_a_run_in_a_store_is_shown_too(store: Store) -> None:
    make(f"{store.bucket}/shown", [10, 20, 30, 40, 50, 60], pa.int64())
    assert show_user(f"{store.bucket}/shown", "r", "10", 10) == EXPECTED.format(10)
