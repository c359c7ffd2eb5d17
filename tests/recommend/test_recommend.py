"""The recommend stage: alignment of users and histories, streaming, files, metadata."""

import hashlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import storage
from recsys.config import Recommend
from recsys.contract import histories, schema
from recsys.errors import RecsysError
from recsys.measure.protocol import MatrixScorer
from recsys.progress import Progress
from recsys.recommend import lists, writer
from tests.support import chains, write_features

ITEMS = 40


class Fixed(MatrixScorer):
    """Scores that depend on the user and the item alone."""

    name = "fixed"

    def score(self, context):
        item = np.arange(ITEMS + 1)[None]
        return ((context.user_index[:, None] * 7 + item * 13) % 41).astype(np.float32)


@pytest.fixture
def features(tmp_path):
    return write_features(tmp_path / "features", chains(users=30), ITEMS, cold_users=3)


def recommend(features, folder, **settings):
    facts = lists.recommend(Recommend(**settings), features, str(folder), "run-1", Fixed(), Progress(quiet=True))
    storage.mark_success(str(folder))
    return facts


@pytest.mark.parametrize("block_users", [1, 4, 7, 1000])
def test_every_user_gets_the_best_unseen_items_whatever_the_block(features, tmp_path, block_users):
    facts = recommend(features, tmp_path / "r", k=5, block_users=block_users)
    counts = {name: value for name, value in facts.items() if name != "written"}
    assert counts == {"users": 33, "users_without_events": 3, "rows": 165, "files": 1, "k": 5}
    table = pq.read_table(tmp_path / "r" / "part-00000.parquet")
    block = histories.read(features)
    for user in range(33):
        had = set(block.items[block.offsets[user] : block.offsets[user + 1]]) if user < 30 else set()
        score = {i: ((user + 1) * 7 + i * 13) % 41 for i in range(1, ITEMS + 1) if i not in had}
        best = sorted(score, key=lambda i: (-score[i], i))[:5]
        rows = table.slice(5 * user, 5).to_pydict()
        assert rows["user_id"] == [f"u{user + 1:04d}"] * 5
        assert rows["item_id"] == [i * 10**15 for i in best]
        assert rows["rank"] == [1, 2, 3, 4, 5]
        assert rows["score"] == [score[i] for i in best]


def test_types_metadata_and_marker(features, tmp_path):
    recommend(features, tmp_path / "r")
    found = pq.read_schema(tmp_path / "r" / "part-00000.parquet")
    assert found.equals(schema.recommendations(pa.string(), pa.int64()))
    assert not any(field.nullable for field in found)
    assert found.metadata[b"run_id"] == b"run-1"
    assert b"generated_at" in found.metadata
    assert storage.is_whole(str(tmp_path / "r"))


def test_fewer_rows_only_where_fewer_items_remain(features, tmp_path):
    recommend(features, tmp_path / "r", k=ITEMS)
    rows = pq.read_table(tmp_path / "r" / "part-00000.parquet").group_by("user_id").aggregate([("rank", "max")])
    longest = dict(zip(rows["user_id"].to_pylist(), rows["rank_max"].to_pylist(), strict=True))
    block = histories.read(features)
    for user in range(30):
        assert longest[f"u{user + 1:04d}"] == ITEMS - block.lengths[user]


def test_lists_are_cut_to_the_catalogue(features, tmp_path):
    facts = recommend(features, tmp_path / "r", k=10**9)
    assert facts["k"] == ITEMS


def test_rows_go_on_in_further_files_in_order(features, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "ROWS_PER_GROUP", 20)
    facts = recommend(features, tmp_path / "r", k=5, block_users=2, rows_per_file=40)
    assert facts["files"] == 5
    users = pq.read_table(tmp_path / "r").column("user_id").to_pylist()
    assert users == sorted(users)
    assert len(users) == 165
    assert pq.ParquetFile(tmp_path / "r" / "part-00000.parquet").metadata.num_row_groups == 2


def test_a_failure_in_the_middle_leaves_no_file_that_looks_whole(features, tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "ROWS_PER_GROUP", 20)

    class Failing(Fixed):
        calls = 0

        def score(self, context):
            self.calls += 1
            return super().score(context) if self.calls < 4 else np.full((len(context), ITEMS + 1), np.nan, np.float32)

    with pytest.raises(RecsysError, match="nan"):
        lists.recommend(Recommend(k=5, block_users=5), features, str(tmp_path / "r"), "x", Failing(), Progress(quiet=True))
    assert not storage.is_whole(str(tmp_path / "r"))
    assert not list((tmp_path / "r").iterdir())


@pytest.mark.parametrize("settings", [{}, {"rows_per_file": 40, "block_users": 2}])
def test_the_checksum_of_each_file_is_that_of_what_is_stored(features, tmp_path, monkeypatch, settings):
    monkeypatch.setattr(writer, "ROWS_PER_GROUP", 20)
    written = recommend(features, tmp_path / "r", k=5, **settings)["written"]
    files = sorted((tmp_path / "r").glob("*.parquet"))
    assert [entry["file"] for entry in written] == [path.name for path in files]
    assert (len(files) > 1) == bool(settings)
    for entry, path in zip(written, files, strict=True):
        assert (entry["bytes"], entry["sha256"]) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
