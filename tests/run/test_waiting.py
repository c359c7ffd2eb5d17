"""A stage waits for those before it, which other processes do, and gives up with the code for trying again."""

import threading
import time

import pytest

from recsys import storage
from recsys.config import Config
from recsys.errors import RetryError
from recsys.run import job, runs, waiting
from tests.command import invoke


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(waiting, "POLL_SECONDS", 0.02)


def finish(made, stage):
    made.record_stage(stage, {"rows": 1})
    storage.mark_success(made.path(job.FOLDERS[stage]))


def test_it_goes_on_as_soon_as_what_it_needs_is_whole(tmp_path):
    expected, said = runs.Run(str(tmp_path), "r"), []
    waiter = threading.Thread(target=job.wait, args=(expected, "train", 60, said.append))
    waiter.start()
    made = runs.create(Config(output=str(tmp_path)), "r")
    made.record_stage("features", {})
    waiter.join(0.3)
    assert waiter.is_alive(), "the stage is recorded, but its folder is not whole"
    storage.mark_success(made.path("features"))
    waiter.join(60)
    assert not waiter.is_alive()
    assert said[-1] == "waiting for 'features' of run r"


def test_publishing_waits_for_the_evaluation_too(tmp_path):
    made = runs.create(Config(output=str(tmp_path)), "r")
    finish(made, "recommend")
    with pytest.raises(RetryError, match="'evaluate' of run r: still missing after 0 seconds"):
        job.wait(made, "publish", 0, lambda line: None)
    finish(made, "evaluate")
    job.wait(made, "publish", 0, lambda line: None)


def test_what_does_not_come_ends_with_try_again(tmp_path):
    started = time.monotonic()
    done = invoke("train", "--wait", 1, "--run-id", "r", "--output", "out", home=tmp_path)
    assert done.returncode == 75 and time.monotonic() - started > 1
    assert "run r in out: still missing after 1 seconds" in done.stderr
    runs.create(Config(output=str(tmp_path / "out")), "r")
    done = invoke("recommend", "--shard", "0/3", "--wait", 0, "--run-id", "r", "--output", "out", home=tmp_path)
    assert done.returncode == 75 and "'train' of run r" in done.stderr


def test_waiting_needs_the_name_of_the_run(tmp_path):
    done = invoke("train", "--wait", 1, "--output", "out", home=tmp_path)
    assert done.returncode == 2 and "--wait needs --run-id" in done.stderr
