"""A stage waits for those before it, which other processes do, and gives up with the code for trying again."""

import io
import threading
import time

import pytest

from recsys import storage
from recsys.config import Config
from recsys.errors import RefusedError, RetryError
from recsys.progress import Progress
from recsys.run import job, runs, waiting
from recsys.run.ending import Stop
from recsys.run.stages import RUNNERS
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


@pytest.mark.parametrize("command", ["run", "features", "train"])
@pytest.mark.parametrize("seconds", ["nan", "-1", "soon"])
def test_only_a_number_of_seconds_can_be_waited_for(tmp_path, command, seconds):
    done = invoke(command, "--wait", seconds, "--run-id", "r", "--output", "out", home=tmp_path)
    assert done.returncode == 2 and "--wait" in done.stderr


def patient(made, said):
    """A job that waits for a minute, with the features done."""
    finish(made, "features")
    return job.Job(made.config(), made, Progress(said), Stop(), 60.0)


def test_a_job_waits_for_whoever_holds_its_run_and_says_so(tmp_path):
    made, said = runs.create(Config(output=str(tmp_path)), "r"), io.StringIO()
    waiter = threading.Thread(target=job.execute, args=(patient(made, said), ("features",)))
    with storage.lock(made.folder):
        waiter.start()
        waiter.join(0.3)
        assert waiter.is_alive()
    waiter.join(60)
    assert not waiter.is_alive()
    first, last = said.getvalue().splitlines()
    assert first.startswith(f"waiting up to 60 seconds: another process is working on {made.folder}")
    assert last == "features: already done"


def test_publishing_waits_for_whoever_is_publishing(tmp_path):
    made, refused = runs.create(Config(output=str(tmp_path)), "r"), []

    def publish():
        with pytest.raises(RefusedError) as caught:
            RUNNERS["publish"](patient(made, io.StringIO()))
        refused.append(str(caught.value))

    waiter = threading.Thread(target=publish)
    with storage.lock(str(tmp_path)):
        waiter.start()
        waiter.join(0.3)
        assert waiter.is_alive()
    waiter.join(60)
    assert "recommendations is incomplete" in refused[-1]


def test_a_whole_run_waits_too_and_gives_up_with_try_again(tmp_path):
    made = runs.create(Config(output=str(tmp_path / "out")), "r")
    with storage.lock(made.folder):
        done = invoke("run", "--wait", 0.2, "--run-id", "r", "--output", tmp_path / "out", home=tmp_path)
    assert done.returncode == 75 and "waiting up to 0.2 seconds: another process is working on" in done.stderr
