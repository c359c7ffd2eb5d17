"""Scoring in shards gives the same recommendations as one process, and is complete only when every shard is."""

import json
import shutil
import subprocess

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import storage
from recsys.config import Config, Recommend
from recsys.contract import schema
from recsys.errors import ConfigError, RecsysError, RetryError
from recsys.measure.protocol import MatrixScorer
from recsys.progress import Progress
from recsys.recommend import content, lists, shards, writer
from recsys.recommend.shards import Shard, parse
from recsys.run import runs
from tests import contract
from tests.command import ITEMS, USERS, command, environment, histories, invoke, manifest, run_folder, succeed
from tests.support import chains, write_features

CATALOGUE = 40


@pytest.fixture
def unscored(built_in, tmp_path):
    """Home of a trained and evaluated run, and the recommendations that were removed from it."""
    done = run_folder(built_in / "out")
    shutil.copytree(done, tmp_path / "out" / "runs" / done.name)
    folder = run_folder(tmp_path / "out")
    before = pq.read_table(folder / "recommendations").replace_schema_metadata(None)
    shutil.rmtree(folder / "recommendations")
    facts = json.loads((folder / "run.json").read_text())
    facts["stages"] = {name: facts["stages"][name] for name in ("features", "train", "evaluate")}
    facts["status"] = "running"
    (folder / "run.json").write_text(json.dumps(facts))
    return tmp_path, before


@pytest.mark.slow
def test_three_concurrent_shards_are_merged(unscored):
    home, before = unscored
    succeed("recommend", "--shard", "2/3", "--output", "out", home=home, run=invoke)
    assert not (run_folder(home / "out") / "recommendations").exists()
    assert invoke("publish", "--output", "out", home=home).returncode == 2
    at_once = [
        subprocess.Popen(
            command("recommend", "--shard", "3", "--output", "out"),
            env=environment(home, JOB_COMPLETION_INDEX=str(index)),
            cwd=home,
        )
        for index in (0, 1)
    ]
    assert [process.wait(300) for process in at_once] == [0, 0]
    facts = manifest(home / "out")["stages"]["recommend"]
    assert (facts["users"], facts["rows"], facts["shards"]) == (len(USERS), before.num_rows, 3)
    assert not (run_folder(home / "out") / "shards").exists()
    assert "already done" in succeed("recommend", "--shard", "1/3", "--output", "out", home=home, run=invoke).stderr
    succeed("publish", "--output", "out", home=home, run=invoke)
    contract.check_output(home / "out", histories(run_folder(home / "out")), USERS, ITEMS, 10)
    assert pq.read_table(run_folder(home / "out") / "recommendations").replace_schema_metadata(None).equals(before)


class Fixed(MatrixScorer):
    name = "fixed"

    def score(self, context):
        return ((context.user_index[:, None] * 7 + np.arange(CATALOGUE + 1)[None] * 13) % 41).astype(np.float32)


@pytest.fixture
def made(tmp_path, monkeypatch):
    """A run, and `score(shard)`, which scores one shard into several files."""
    monkeypatch.setattr(writer, "ROWS_PER_GROUP", 20)
    found = runs.create(Config(output=str(tmp_path)), "r")
    features = write_features(found.path("features"), chains(users=30), CATALOGUE, cold_users=3)
    config = Recommend(k=5, block_users=4, rows_per_file=40)

    def score(shard, folder=None):
        place = folder or shard.folder(found.path("shards"))
        facts = lists.recommend(config, features, place, "r", Fixed(), Progress(quiet=True), shard)
        storage.mark_success(place)
        storage.write_json(shard.facts_file(found.path("shards")), {"seconds": shard.index, "peak_bytes": 1, **facts})

    return found, score


def table(found):
    return pa.concat_tables(pq.read_table(path) for path in storage.list_files(found.path(schema.RECOMMENDATIONS_DIR)))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 40])
def test_any_number_of_shards_gives_the_same_rows_in_the_same_order(made, count):
    found, score = made
    score(lists.EVERYBODY, found.path("whole"))
    shutil.rmtree(found.path("shards"))
    for index in reversed(range(count)):
        assert index in shards.missing(found.path("shards"), count)
        score(Shard(index, count))
    assert shards.missing(found.path("shards"), count) == []
    facts = shards.merge(found.path("shards"), found.path("recommendations"), count, 33)
    assert (facts["rows"], facts["users"], facts["users_without_events"], facts["k"]) == (165, 33, 3, 5)
    assert facts["seconds"] == count - 1
    names = [path.rsplit("/", 1)[-1] for path in storage.list_files(found.path(schema.RECOMMENDATIONS_DIR))]
    assert names == [f"part-{number:05d}.parquet" for number in range(facts["files"])]
    assert content.faults(found.path(schema.RECOMMENDATIONS_DIR), facts["written"]) == []
    whole = pa.concat_tables(pq.read_table(path) for path in storage.list_files(found.path("whole")))
    assert table(found).equals(whole)


def test_an_interrupted_merge_resumes_anywhere(made, monkeypatch):
    found, score = made
    for index in range(3):
        score(Shard(index, 3))
    folder, move = found.path(schema.RECOMMENDATIONS_DIR), storage.move_file
    storage.create_folder(folder)
    storage.write_json(storage.join(folder, "part-00009.parquet"), {})  # left by a killed process that was scoring everybody
    moved = 0
    while not storage.is_whole(folder):
        left = [True, False]

        def one(source, target, left=left):
            if not left.pop(0):
                raise RetryError("ended")
            move(source, target)

        monkeypatch.setattr(storage, "move_file", one)
        try:
            shards.merge(found.path("shards"), found.path("recommendations"), 3, 33)
        except RetryError:
            assert not storage.is_whole(folder)
            moved += 1
            assert len(storage.list_files(folder)) == moved
    assert moved > 2
    assert table(found).num_rows == 165
    rows = table(found)
    facts = shards.merge(found.path("shards"), found.path("recommendations"), 3, 33)
    assert table(found).equals(rows)
    assert content.faults(folder, facts["written"]) == []


def test_shards_that_miss_users_are_not_merged(made):
    found, score = made
    for index in range(3):
        score(Shard(index, 3))
    with pytest.raises(RecsysError, match="scored 33 users"):
        shards.merge(found.path("shards"), found.path("recommendations"), 3, 34)
    assert not storage.exists(found.path(schema.RECOMMENDATIONS_DIR))


def test_a_shard_is_named_or_takes_its_index_from_kubernetes():
    assert parse("0/3", {}) == parse("0/3", {"JOB_COMPLETION_INDEX": "1"}) == Shard(0, 3)
    assert parse("3", {"JOB_COMPLETION_INDEX": "2"}) == Shard(2, 3)


@pytest.mark.parametrize("text", ["3/3", "-1/3", "1/", "/3", "a/b", "0/0", "3", ""])
def test_an_invalid_shard_is_an_error(text):
    with pytest.raises(ConfigError, match="expected INDEX/COUNT"):
        parse(text, {})


def test_a_shard_takes_the_run_as_it_is(tmp_path):
    runs.create(Config(output=str(tmp_path / "out")))
    for more in (("--redo",), ("--set", "recommend.k=3")):
        done = invoke("recommend", "--shard", "0/3", *more, "--output", "out", home=tmp_path)
        assert done.returncode == 2 and "drop --redo, --set" in done.stderr
