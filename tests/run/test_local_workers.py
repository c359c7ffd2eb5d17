"""Training in several processes of one machine, here without GPUs: the same weights as with TF_CONFIG, one end for all."""

from __future__ import annotations

import dataclasses
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from recsys.config import Training
from recsys.errors import RecsysError
from recsys.progress import Progress
from recsys.run import local_workers
from recsys.run.ending import Stop
from recsys.run.stages import Job
from recsys.training import hardware
from tests.command import environment
from tests.support import chains, write_features
from tests.training.test_train import ITEMS, weights
from tests.training.test_workers import begun, exact, finish, start

LOCAL = """
import sys
from recsys.cli import main
from recsys.run import local_workers
from recsys.training import hardware

hardware.cards = lambda training, environment: ["", ""]
local_workers.LEAST_POSITIONS = 64
main(args=sys.argv[1:])
"""
"""The command line on a machine that seems to have two GPUs, which no process sees."""


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    return write_features(tmp_path_factory.mktemp("features"), chains(users=200), ITEMS)


def launch(home):
    """Starts `recsys train` of that run."""
    words = [sys.executable, "-c", LOCAL, "train", "--output", str(home), "--run-id", "r"]
    variables = environment(home)
    variables.pop("TF_CONFIG", None)
    return subprocess.Popen(words, env=variables, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def in_training(home):
    """Starts a long training; returns its process and those of its two workers, once both are at work."""
    process, said = launch(home), ""
    while "fit epoch 2/" not in said:
        said = process.stderr.readline()
        assert said, "the command has ended"
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    return process, sorted(workers, key=lambda worker: worker.environ()["TF_CONFIG"][-10:])


def end(process, workers):
    """The exit code and what was said; no worker is left."""
    said = process.communicate(timeout=120)[1]
    assert not psutil.wait_procs(workers, timeout=10)[1]
    return process.returncode, said


@pytest.mark.slow
def test_two_processes_learn_what_workers_of_tf_config_learn(features, tmp_path):
    made = begun(tmp_path, features, exact())
    process = launch(tmp_path)
    said = process.communicate(timeout=600)[1]
    assert process.returncode == 0, said
    assert "uses 2 of 2 GPUs, with a process for each" in said and said.count("fit epoch 1/2") == 1
    facts = made.manifest()["stages"]["train"]
    assert facts["workers"] == 2 and facts["workers_peak_bytes"] > 1 << 26 and facts["blend"]
    finish(start(tmp_path, features, tmp_path / "model"))
    for one, other in zip(weights(made.path("model")), weights(tmp_path / "model"), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@pytest.mark.parametrize("index", [pytest.param(0, marks=pytest.mark.release), 1])
def test_if_one_is_killed_the_command_ends_with_75_and_none_is_left(features, tmp_path, index):
    begun(tmp_path, features, exact(500))
    process, workers = in_training(tmp_path)
    workers[index].kill()
    code, said = end(process, workers)
    assert code == 75 and "was killed, most likely out of memory" in said


@pytest.mark.slow
def test_asked_to_end_all_save_a_checkpoint_and_end(features, tmp_path):
    made = begun(tmp_path, features, exact(500))
    process, workers = in_training(tmp_path)
    process.send_signal(signal.SIGTERM)
    code, said = end(process, workers)
    assert code == 75 and "stopped as asked: checkpoint saved" in said
    assert list(Path(made.path("model", "checkpoints")).glob("*.npy"))


@pytest.mark.slow
def test_none_outlives_the_command(features, tmp_path):
    begun(tmp_path, features, exact(500))
    process, workers = in_training(tmp_path)
    process.kill()
    assert end(process, workers)[0] == -signal.SIGKILL


@pytest.mark.slow
def test_the_error_of_another_than_the_chief_is_shown_and_the_chief_does_not_wait_for_it(features, tmp_path, monkeypatch):
    monkeypatch.setattr(local_workers, "GRACE_SECONDS", 0.5)
    job = Job(exact(), begun(tmp_path, features, exact()), Progress(quiet=True), Stop())
    before = psutil.Process().children()
    with pytest.raises(RecsysError, match="nonsense"):
        local_workers.together(job, [{}, {"KERAS_BACKEND": "nonsense"}])
    assert psutil.Process().children() == before


@pytest.mark.parametrize(
    ("cards", "tokens", "count"),
    [(8, 32_768, 8), (8, 16_384, 4), (2, 16_384, 2), (8, 4_096, 0), (8, None, 0), (1, 32_768, 0), (0, 32_768, 0)],
)
def test_as_many_are_started_as_a_step_is_large_enough_for(features, tmp_path, monkeypatch, cards, tokens, count):
    config = dataclasses.replace(exact(), training=Training(batch_tokens=tokens))
    job = Job(config, begun(tmp_path, features, config), Progress(quiet=True), Stop())
    started = []
    monkeypatch.setattr(hardware, "cards", lambda training, environment: [str(10 + number) for number in range(cards)])
    monkeypatch.setattr(local_workers, "together", lambda job, environments: started.extend(environments) or {})
    monkeypatch.setitem(local_workers.RUNNERS, "train", lambda job: {"alone": True})
    facts = local_workers.runner(job, "train")(job)
    assert started == [{"CUDA_VISIBLE_DEVICES": str(10 + number)} for number in range(count)]
    assert (facts == {"alone": True}) is (count == 0)
