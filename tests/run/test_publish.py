"""The quality gate: what it requires, that a refused run moves nothing, and that no publisher overwrites another."""

import contextlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import storage
from recsys.config import Config, Publish
from recsys.contract import schema
from recsys.errors import ConfigError, RefusedError, RetryError
from recsys.run import runs
from recsys.run.publish import publish, refusals, roll_back
from tests.command import invoke


def finished(output, run_id, score=0.3, popularity=0.2, split="global-time", rows=3):
    made = runs.create(Config(output=str(output)), run_id)
    folder = made.path(schema.RECOMMENDATIONS_DIR)
    columns = {"user_id": [1] * rows, "item_id": list(range(rows)), "rank": [1 + r for r in range(rows)], "score": [0.5] * rows}
    with storage.atomic_output(storage.join(folder, "part-00000.parquet")) as stream:
        pq.write_table(pa.table(columns), stream)
    storage.mark_success(folder)
    made.record_stage("recommend", {"rows": 3})
    if score is not None:
        methods = {"blend": score, "cnn": score - 0.01, "popularity": popularity}
        metrics = {
            "protocol": {"split": split},
            "comparison": {"method": "blend"},
            "methods": {n: {"metrics": {"ndcg@10": v}} for n, v in methods.items()},
        }
        storage.write_json(made.path(schema.EVALUATION_DIR, schema.METRICS_FILE), metrics)
    return made


def latest(output):
    return storage.read_json(storage.join(str(output), schema.LATEST_FILE))


def test_a_good_run_is_published_with_paths_that_lead_to_it(tmp_path):
    publish(Publish(), finished(tmp_path, "a"))
    found = latest(tmp_path)
    assert found["run_id"] == "a"
    assert storage.is_whole(storage.join(str(tmp_path), found["recommendations"]))
    assert storage.read_json(storage.join(str(tmp_path), found["run"]))["status"] == "published"


@pytest.mark.parametrize(
    ("gate", "changes", "message"),
    [
        (Publish(min_ndcg=0.5), {}, "min_ndcg requires 0.5"),
        (Publish(), {"popularity": 0.4}, "popularity reaches 0.4000"),
        (Publish(max_drop=0.1), {"score": 0.25}, r"fell from 0.3000 \(run a\) to 0.2500"),
        (Publish(), {"rows": 2}, "have 2 rows, 3 were written"),
    ],
)
def test_a_worse_run_is_refused_and_the_good_one_stays(tmp_path, gate, changes, message):
    publish(Publish(), finished(tmp_path, "a"))
    worse = finished(tmp_path, "b", **changes)
    with pytest.raises(RefusedError, match=message):
        publish(gate, worse)
    assert latest(tmp_path)["run_id"] == "a"
    assert worse.manifest()["status"] == "refused"


def test_another_split_is_not_compared(tmp_path):
    publish(Publish(), finished(tmp_path, "a", score=0.6))
    publish(Publish(), finished(tmp_path, "b", score=0.3, split="leave-one-out"))
    assert latest(tmp_path)["run_id"] == "b"


def test_a_run_that_held_nothing_out_needs_only_to_be_complete(tmp_path):
    publish(Publish(), finished(tmp_path, "a", score=None))
    assert latest(tmp_path)["ndcg@10"] is None
    incomplete = finished(tmp_path, "b", score=None)
    storage.delete_folder(incomplete.path(schema.RECOMMENDATIONS_DIR))
    with pytest.raises(RefusedError, match="incomplete"):
        publish(Publish(), incomplete)


def test_two_processes_do_not_publish_at_once(tmp_path):
    good = finished(tmp_path, "a")
    with storage.lock(str(tmp_path)), pytest.raises(RetryError, match="another process"):
        publish(Publish(), good)
    assert not storage.exists(storage.join(str(tmp_path), schema.LATEST_FILE))
    assert good.manifest()["status"] == "running"


def test_a_run_is_called_published_only_when_readers_can_follow_it(tmp_path, monkeypatch):
    made = finished(tmp_path, "a")

    def full(uri, value, real=storage.write_json):
        if uri.endswith("latest.json"):
            raise RetryError("no space left")
        real(uri, value)

    monkeypatch.setattr("recsys.storage.changes.write_json", full)
    with pytest.raises(RetryError, match="no space"):
        publish(Publish(), made)
    assert made.manifest()["status"] == "running"


@pytest.mark.parametrize("first", [None, "a"])
def test_of_two_publishers_in_a_store_that_overlap_the_later_one_loses(store, monkeypatch, first):
    """As if their lock had failed: one was stopped for longer than a dead holder's time, after it had read latest.json."""
    output = f"{store.bucket}/publishers-{first}"
    if first:
        publish(Publish(), finished(output, first))
    slow, fast = finished(output, "slow"), finished(output, "fast")
    monkeypatch.setattr(storage, "lock", lambda *args, **options: contextlib.nullcontext())

    def overtaken(*args, real=refusals):
        monkeypatch.setattr("recsys.run.publish.refusals", real)
        publish(Publish(), fast)
        return real(*args)

    monkeypatch.setattr("recsys.run.publish.refusals", overtaken)
    with pytest.raises(RetryError, match=r"another process has just written s3://.*latest\.json"):
        publish(Publish(), slow)
    assert (latest(output)["run_id"], latest(output)["replaced"]) == ("fast", first)
    assert (slow.manifest()["status"], fast.manifest()["status"]) == ("running", "published")
    publish(Publish(), slow)
    assert latest(output)["replaced"] == "fast"


def test_publishing_and_going_back_in_a_store(store):
    output = f"{store.bucket}/back"
    for run_id in "abc":
        publish(Publish(), finished(output, run_id))
    assert roll_back(output, "a")["run_id"] == "a"
    assert roll_back(output, "a") == latest(output)
    assert store.names("back") == {name for name in store.names("back") if ".lock" not in name}


def test_latest_says_which_run_it_replaced(tmp_path):
    publish(Publish(), finished(tmp_path, "a"))
    assert latest(tmp_path)["replaced"] is None
    again = finished(tmp_path, "b")
    publish(Publish(), again)
    publish(Publish(), again)
    assert latest(tmp_path)["replaced"] == "a"


def test_going_back_asks_only_that_the_run_is_complete(tmp_path):
    for run_id, score in (("a", 0.3), ("b", 0.35), ("c", 0.9)):
        publish(Publish(), finished(tmp_path, run_id, score=score))
    assert roll_back(str(tmp_path), None)["run_id"] == "b", "beyond max_drop, and not refused"
    assert roll_back(str(tmp_path), None)["run_id"] == "a"
    assert latest(tmp_path)["ndcg@10"] == 0.3
    with pytest.raises(ConfigError, match="published before a"):
        roll_back(str(tmp_path), None)
    publish(Publish(), finished(tmp_path, "d", score=0.31))
    assert latest(tmp_path)["run_id"] == "d", "the next run is compared with the one gone back to"


def test_a_named_run_is_gone_back_to_and_stays_when_named_again(tmp_path):
    for run_id in "abc":
        publish(Publish(), finished(tmp_path, run_id))
    first = roll_back(str(tmp_path), "a")
    assert (first["run_id"], first["replaced"]) == ("a", "c")
    assert roll_back(str(tmp_path), "a") == latest(tmp_path) == first
    assert roll_back(str(tmp_path), "c")["run_id"] == "c", "and forward again"


def test_what_readers_must_not_get_is_not_gone_back_to(tmp_path):
    damaged = finished(tmp_path, "a")
    for one in (damaged, finished(tmp_path, "b")):
        publish(Publish(), one)
    finished(tmp_path, "c")
    with pytest.raises(ConfigError, match="never published"):
        roll_back(str(tmp_path), "c")
    with pytest.raises(ConfigError, match="no such run"):
        roll_back(str(tmp_path), "x")
    with storage.lock(damaged.folder), pytest.raises(RetryError, match="another process"):
        roll_back(str(tmp_path), "a")
    storage.delete_folder(damaged.path(schema.RECOMMENDATIONS_DIR))
    with pytest.raises(RefusedError, match="incomplete"):
        roll_back(str(tmp_path), None)
    assert latest(tmp_path)["run_id"] == "b"


def test_the_command_goes_back_and_says_what_it_did(tmp_path):
    for run_id in "ab":
        publish(Publish(), finished(tmp_path / "out", run_id))
    done = invoke("rollback", "--output", "out", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "a is published again, instead of b\n")
    done = invoke("rollback", "--output", "out", home=tmp_path)
    assert done.returncode == 2 and "published before a" in done.stderr
