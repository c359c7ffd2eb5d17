"""Old runs: which go once a new one is published, which never go, and what is left when deleting is cut short."""

import dataclasses

import pyarrow.parquet as pq
import pytest

from recsys import storage
from recsys.config import Config, Publish
from recsys.contract import schema
from recsys.errors import ConfigError, RefusedError
from recsys.progress import Progress
from recsys.run import runs
from recsys.run.ending import Stop
from recsys.run.job import Job, execute
from recsys.run.publish import roll_back
from recsys.run.retention import delete_old_runs
from recsys.settings import load
from recsys.storage import object_lock
from tests.run.test_publish import finished, latest, publish
from tests.storage.test_whole_folders import CREATOR, killed


def made(output, day, status="published"):
    """A run of that day; refused and running ones are not published."""
    one = finished(output, f"r{day:02d}")
    one.update({"created_at": f"2026-01-{day:02d}T00:00:00+00:00"})
    if status == "published":
        publish(Publish(), one)
    else:
        one.update({"status": status})
    return one


def left(output):
    return storage.list_folders(storage.join(str(output), "runs"))


def delete(output, keep):
    lines = []
    return delete_old_runs(str(output), keep, lines.append), lines


def test_the_newest_published_runs_stay(tmp_path):
    for day in range(1, 6):
        made(tmp_path, day)
    assert delete(tmp_path, 3) == (["r01", "r02"], ["  old run r01 deleted", "  old run r02 deleted"])
    assert left(tmp_path) == ["r03", "r04", "r05"]
    assert latest(tmp_path)["run_id"] == "r05"


def test_publishing_deletes_and_says_so(tmp_path):
    for day in range(1, 4):
        made(tmp_path, day)
    newest = finished(tmp_path, "r04")
    asked = dataclasses.replace(newest.config(), publish=Publish(keep_runs=2))
    execute(Job(asked, newest, Progress(quiet=True), Stop()), ("publish",))
    assert left(tmp_path) == ["r03", "r04"]
    assert newest.manifest()["stages"]["publish"]["deleted_runs"] == ["r01", "r02"]


def test_what_a_start_has_left_that_was_killed_when_it_had_made_its_run_is_swept(tmp_path):
    newest = finished(tmp_path, "r01")
    killed(tmp_path, CREATOR, str(tmp_path / "runs" / "r02"), "shutil.rmtree")
    assert len(left(tmp_path)) == 3
    execute(Job(newest.config(), newest, Progress(quiet=True), Stop()), ("publish",))
    assert left(tmp_path) == ["r01", "r02"]


def test_a_refused_run_deletes_nothing(tmp_path):
    for day in range(1, 4):
        made(tmp_path, day)
    worse = finished(tmp_path, "r04", score=0.1)
    asked = dataclasses.replace(worse.config(), publish=Publish(keep_runs=1))
    with pytest.raises(RefusedError):
        execute(Job(asked, worse, Progress(quiet=True), Stop()), ("publish",))
    assert left(tmp_path) == ["r01", "r02", "r03", "r04"]


def test_nothing_is_deleted_unless_asked_for(tmp_path):
    for day in range(1, 4):
        made(tmp_path, day)
    assert delete(tmp_path, Publish().keep_runs) == ([], [])
    assert left(tmp_path) == ["r01", "r02", "r03"]
    with pytest.raises(ConfigError, match="keep_runs"):
        load(None, {}, [("publish.keep_runs", -1)])


def test_failed_nights_take_no_place_from_published_runs_and_are_bounded_too(tmp_path):
    for day, status in enumerate(["published", "running", "refused", "refused", "refused", "published"], start=1):
        made(tmp_path, day, status)
    assert delete(tmp_path, 2)[0] == ["r02", "r03"]
    assert left(tmp_path) == ["r01", "r04", "r05", "r06"]


def test_a_newer_run_stays_whatever_its_state(tmp_path):
    made(tmp_path, 1)
    for day, status in ((5, "running"), (6, "refused"), (7, "published")):
        made(tmp_path, day, status)
    made(tmp_path, 3)
    assert delete(tmp_path, 1)[0] == ["r01"]
    assert left(tmp_path) == ["r03", "r05", "r06", "r07"]


@pytest.mark.parametrize("status", ["running", "published"])
def test_a_run_whose_lock_is_held_stays_until_it_is_free(tmp_path, status):
    at_work = made(tmp_path, 1, status)
    before = at_work.manifest()
    for day, other in ((2, "refused"), (3, "published"), (4, "published")):
        made(tmp_path, day, other)
    with storage.lock(at_work.folder):
        deleted, lines = delete(tmp_path, 1)
    assert deleted == []
    assert lines == [
        f"  old run r01 was kept: another process is working on {at_work.folder}; wait for it or choose another --run-id"
    ]
    assert at_work.manifest() == before
    assert storage.is_whole(at_work.path(schema.RECOMMENDATIONS_DIR))
    assert delete(tmp_path, 1)[0] == ["r01"]


def test_readers_of_the_run_published_before_can_finish(tmp_path):
    """They have read latest.json, and come for the files after it has moved and old runs are gone."""
    for day in range(1, 4):
        made(tmp_path, day)
    followed = storage.join(str(tmp_path), latest(tmp_path)["recommendations"])
    made(tmp_path, 4)
    assert delete(tmp_path, 1)[0] == ["r01", "r02"]
    assert pq.read_table(followed).num_rows == 3


def test_readers_of_a_run_that_was_gone_back_to_can_finish(tmp_path):
    for day in range(1, 6):
        made(tmp_path, day)
    roll_back(str(tmp_path), "r02")
    followed = storage.join(str(tmp_path), latest(tmp_path)["recommendations"])
    assert delete(tmp_path, 1)[0] == ["r01"], "those after the run gone back to are newer"
    made(tmp_path, 6)
    assert delete(tmp_path, 1)[0] == ["r03", "r04", "r05"]
    assert pq.read_table(followed).num_rows == 3


@pytest.mark.parametrize("cut", range(4))
def test_a_run_whose_deletion_was_cut_short_is_not_taken_for_whole_and_goes_later(tmp_path, monkeypatch, cut):
    for day in range(1, 4):
        made(tmp_path, day)
    calls = iter(range(10))

    def cut_short(uri, real=storage.delete_folder):
        if next(calls) == cut:
            raise OSError("cut short")
        real(uri)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "delete_folder", cut_short)
        assert delete(tmp_path, 1) == ([], ["  old run r01 was kept: cut short"])
    with pytest.raises((ConfigError, RefusedError)):
        roll_back(str(tmp_path), "r01")
    assert runs.open_or_create(Config(output=str(tmp_path)), None).run_id != "r01"
    assert delete(tmp_path, 1)[0] == ["r01"]
    assert "r01" not in left(tmp_path)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    strange = tmp_path / "runs" / "notes"
    strange.mkdir(parents=True)
    for day in range(1, 4):
        made(tmp_path, day)
    delete(tmp_path, 1)
    assert left(tmp_path) == ["notes", "r02", "r03"]


def test_a_run_whose_run_json_is_broken_stays_and_is_named(tmp_path):
    for day in range(1, 5):
        made(tmp_path, day)
    (tmp_path / "runs" / "r01" / "run.json").write_text("{")
    deleted, lines = delete(tmp_path, 1)
    assert deleted == ["r02"]
    assert "run r01 is passed over" in lines[0]
    assert left(tmp_path) == ["r01", "r03", "r04"]


def test_while_another_process_publishes_nothing_is_deleted(tmp_path):
    for day in range(1, 4):
        made(tmp_path, day)
    with storage.lock(str(tmp_path)):
        deleted, lines = delete(tmp_path, 1)
    assert deleted == [] and "another process" in lines[0]
    assert left(tmp_path) == ["r01", "r02", "r03"]


def test_in_an_object_store_old_runs_go_too_but_none_that_is_held(store, monkeypatch):
    monkeypatch.setattr(object_lock, "RENEW_SECONDS", 0.5)
    output = f"{store.bucket}/old"
    held = made(output, 1, "running")
    made(output, 2, "running")
    for day in range(3, 6):
        made(output, day)
    with storage.lock(held.folder):
        assert delete(output, 1)[0] == ["r03"]
    assert delete(output, 1)[0] == ["r01"]
    assert left(output) == ["r02", "r04", "r05"]
    assert latest(output)["run_id"] == "r05"
