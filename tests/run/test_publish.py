"""The quality gate: what it requires, that a refused run moves nothing, and that no publisher overwrites another."""

import contextlib
import dataclasses

import pyarrow as pa
import pytest

from recsys import storage
from recsys.config import Config, Publish, Split
from recsys.contract import schema
from recsys.errors import ConfigError, RefusedError, RetryError
from recsys.recommend.writer import Writer
from recsys.run import publish as publishing
from recsys.run import runs
from recsys.run.gate import refusals
from recsys.run.publish import roll_back
from tests.command import invoke


def publish(gate, run):
    """Publishes a run by a gate, with the other settings it was made with."""
    return publishing.publish(dataclasses.replace(run.config(), publish=gate), run)


def recommended(made):
    """Three rows as the recommend stage writes them."""
    columns = {"user_id": [1] * 3, "item_id": [7, 8, 9], "rank": pa.array([1, 2, 3], pa.int32()), "score": [0.5] * 3}
    table = pa.table(columns)
    with Writer(made.path(schema.RECOMMENDATIONS_DIR), table.schema, 10) as writer:
        writer.write(table.to_batches()[0])
    storage.mark_success(made.path(schema.RECOMMENDATIONS_DIR))
    made.record_stage("recommend", {"rows": 3, "written": writer.written})


def evaluated(made, metrics):
    storage.write_json(made.path(schema.EVALUATION_DIR, schema.METRICS_FILE), metrics)
    storage.mark_success(made.path(schema.EVALUATION_DIR))
    made.record_stage("evaluate", {})


def finished(output, run_id, score=0.3, popularity=0.2, split="global-time"):
    """A run ready to be published; without a score, nothing was measured, since nothing was held out."""
    made = runs.create(Config(output=str(output), split=Split(method="none" if score is None else split)), run_id)
    recommended(made)
    if score is None:
        evaluated(made, {"protocol": {"split": "none"}, "note": "nothing was measured: the split 'none' holds no events out"})
    else:
        methods = {"blend": score, "cnn": score - 0.01, "popularity": popularity}
        metrics = {
            "protocol": {"split": split},
            "comparison": {"method": "blend"},
            "methods": {n: {"metrics": {"ndcg@10": v}} for n, v in methods.items()},
        }
        evaluated(made, metrics)
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
    ],
)
def test_a_worse_run_is_refused_and_the_good_one_stays(tmp_path, gate, changes, message):
    publish(Publish(), finished(tmp_path, "a"))
    worse = finished(tmp_path, "b", **changes)
    with pytest.raises(RefusedError, match=message):
        publish(gate, worse)
    assert latest(tmp_path)["run_id"] == "a"
    assert worse.manifest()["status"] == "refused"


@pytest.mark.parametrize("wrong", [{"run_id": 5}, {"published_before": "ab"}, {"published_before": [1]}, {"ndcg@10": "0.3"}])
@pytest.mark.parametrize("command", ["publish", "rollback"])
def test_a_latest_json_that_says_nonsense_is_damaged(tmp_path, command, wrong):
    for run_id in "ab":
        publish(Publish(), finished(tmp_path / "out", run_id))
    finished(tmp_path / "out", "c")
    damaged = {**latest(tmp_path / "out"), **wrong}
    storage.write_json(str(tmp_path / "out" / schema.LATEST_FILE), damaged)
    done = invoke(command, "--output", "out", home=tmp_path)
    assert done.returncode == 65
    assert f"out/latest.json is damaged: {next(iter(wrong))} " in done.stderr and "recsys rollback --output out" in done.stderr
    assert latest(tmp_path / "out") == damaged


def test_another_split_is_not_compared(tmp_path):
    publish(Publish(), finished(tmp_path, "a", score=0.6))
    publish(Publish(), finished(tmp_path, "b", score=0.3, split="leave-one-out"))
    assert latest(tmp_path)["run_id"] == "b"


def test_a_run_that_held_nothing_out_needs_only_to_be_complete(tmp_path):
    publish(Publish(), finished(tmp_path, "a", score=None))
    assert (latest(tmp_path)["ndcg@10"], latest(tmp_path)["measured"]) == (None, False)
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


def test_going_back_follows_what_was_published_and_not_clocks(tmp_path):
    """Clocks of two machines: the run published second says that it is the oldest, and a stranger is from the future."""
    for run_id, year in (("a", 2031), ("b", 1999), ("c", 2026)):
        made = finished(tmp_path, run_id)
        made.update({"created_at": f"{year}-01-01T00:00:00+00:00"})
        publish(Publish(), made)
    finished(tmp_path, "never").update({"created_at": "2040-01-01T00:00:00+00:00"})
    assert latest(tmp_path)["published_before"] == ["b", "a"]
    assert roll_back(str(tmp_path), None)["run_id"] == "b"
    assert roll_back(str(tmp_path), None)["run_id"] == "a"
    with pytest.raises(ConfigError, match="published before a"):
        roll_back(str(tmp_path), None)
    assert roll_back(str(tmp_path), "c")["published_before"] == ["a"], "it came after the run that was gone back to"


def test_a_run_published_again_comes_after_the_one_it_replaces(tmp_path):
    runs_ = {run_id: finished(tmp_path, run_id) for run_id in "abc"}
    for made in runs_.values():
        publish(Publish(), made)
    publish(Publish(), runs_["a"])
    assert latest(tmp_path)["published_before"] == ["c", "b"]
    assert roll_back(str(tmp_path), None)["run_id"] == "c"


def test_a_run_whose_status_a_killed_publisher_did_not_set_counts_as_published(tmp_path):
    for run_id in "ab":
        made = finished(tmp_path, run_id)
        publish(Publish(), made)
        made.update({"status": "running"})
    assert roll_back(str(tmp_path), None)["run_id"] == "a"


EARLY = '{"run_id": "b", "status": "published", "created_at": 5, "config": {}, "stages": {}}'
ODD = '{"run_id": "b", "status": "published", "created_at": "2026", "config": {}, "stages": {"recommend": 3}}'


@pytest.mark.parametrize("content", ['{"run_id": "b", "sta', "[]", "{}", "", EARLY, ODD])
def test_a_broken_run_json_blocks_neither_new_runs_nor_going_back(tmp_path, content):
    for run_id in "abc":
        run = finished(tmp_path / "out", run_id)
        publish(Publish(), run)
        run.record_stage("publish", {})
    (tmp_path / "out" / "runs" / "b" / "run.json").write_text(content)
    done = invoke("rollback", "--output", "out", home=tmp_path)
    assert (done.returncode, done.stdout) == (0, "a is published again, instead of c\n")
    assert "run b is passed over: " in done.stderr and "runs/b/run.json is damaged" in done.stderr
    said = []
    assert runs.open_or_create(Config(output=str(tmp_path / "out")), None, said.append).run_id not in "abc"
    assert len(said) == 1 and said[0].startswith("run b is passed over")
    assert "run b is passed over" in invoke("publish", "--output", "out", home=tmp_path).stderr
