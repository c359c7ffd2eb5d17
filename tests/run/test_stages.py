"""What the stages do with a run: who fits and who loads, and what becomes of work that was begun with other settings."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import os
import signal
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow.parquet as pq
import pytest

from recsys import storage
from recsys.config import Config, Evaluation, Model, Publish, Recommend, Training
from recsys.contract.features_info import SplitInfo, read_info, write_info
from recsys.contract.histories import Histories
from recsys.errors import ConfigError, RetryError, TerminatedError
from recsys.measure.protocol import MatrixScorer
from recsys.methods import blending, ease, transitions
from recsys.progress import Progress
from recsys.recommend.shards import Shard
from recsys.run import job as jobs
from recsys.run import runs, stages
from recsys.run.ending import Stop
from recsys.run.showing import show_user
from recsys.run.stages import Job
from recsys.training import hardware, steps
from recsys.training.phase import Setting
from recsys.training.train import train
from tests.methods.matrices import FromMatrix
from tests.support import chains, write_features

ITEMS = 40


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A run whose features are made."""
    config = Config(
        output=str(tmp_path_factory.mktemp("out")),
        model=Model(width=16, dilations=(1, 2)),
        training=Training(epochs=2, refit_epochs=1, batch_tokens=256, row_length=64, xla="off"),
        evaluation=Evaluation(baselines=(), bootstrap=20),
        recommend=Recommend(k=5, block_users=8),
        publish=Publish(must_beat=()),
    )
    run = runs.create(config, "r")
    write_features(run.path("features"), chains(users=60), ITEMS)
    return Job(config, run, Progress(quiet=True), Stop())


@pytest.fixture(scope="module")
def trained(job: Job) -> tuple[Job, list[str]]:
    """The job after training, and the fits that this took."""
    fits: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        count = blending.count
        patch.setattr(blending, "count", lambda *given: fits.append("count") or count(*given))
        stages.train(job)
    return job, fits


@pytest.fixture
def no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is fitted now fails."""

    def refuse(*given: object) -> None:
        raise AssertionError("fitted again")

    for place, name in ((blending, "count"), (blending, "tune"), (ease, "_solve"), (transitions, "matrix")):
        monkeypatch.setattr(place, name, refuse)


def test_training_counts_to_choose_to_evaluate_and_to_publish(trained: tuple[Job, list[str]]) -> None:
    assert trained[1] == ["count"] * 3


@pytest.mark.usefixtures("no_fit")
def test_evaluation_loads_the_blend_and_says_which_method_is_published(trained: tuple[Job, list[str]]) -> None:
    job, _ = trained
    stages.evaluate(job)
    metrics = json.loads(Path(job.run.path("evaluation", "metrics.json")).read_text())
    assert list(metrics["methods"]) == ["blend", "cnn"]
    assert metrics["comparison"]["method"] == job.run.manifest()["published_method"] == "blend"


@pytest.mark.usefixtures("no_fit")
def test_recommendations_and_shards_load_the_blend(trained: tuple[Job, list[str]]) -> None:
    job, _ = trained
    assert stages.recommend(job)["rows"] == 61 * 5
    whole = pq.read_table(job.run.path("recommendations"))
    parts = []
    for shard in (Shard(0, 2), Shard(1, 2)):
        stages.recommend(job, shard)
        parts += pq.read_table(shard.folder(job.run.path("shards"))).to_pylist()
    assert parts == whole.to_pylist()


@pytest.mark.usefixtures("no_fit")
def test_a_training_that_was_interrupted_after_its_last_file_fits_nothing_again(trained: tuple[Job, list[str]]) -> None:
    job, _ = trained
    before = job.run.manifest()
    Path(job.run.path("model", "_SUCCESS")).unlink()
    facts = stages.train(job)
    assert facts["blend"]["transitions"] >= 0
    assert Path(job.run.path("model", "_SUCCESS")).exists()
    assert job.run.manifest() == before


def test_a_run_that_required_a_gpu_for_training_is_scored_without_one(trained: tuple[Job, list[str]]) -> None:
    job, _ = trained
    config = dataclasses.replace(job.config, training=dataclasses.replace(job.config.training, device="gpu"))
    assert stages.recommend(dataclasses.replace(job, config=config), Shard(0, 8))["rows"] > 0


class Swallowing(FromMatrix, MatrixScorer):
    """Scores as a library would that is ended by SIGTERM in the middle, and goes on with what it has."""

    def cnn(self, uri: str) -> Swallowing:
        return self

    def score(self, context: Histories) -> np.ndarray:
        with contextlib.suppress(BaseException):
            os.kill(os.getpid(), signal.SIGTERM)
        return np.zeros((len(context), self.tiles.items + 1), np.float32)


def test_what_a_library_makes_of_sigterm_is_no_result(trained: tuple[Job, list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    job, _ = trained
    monkeypatch.setattr(stages, "load_blend", lambda *given: Swallowing(ITEMS))
    before = signal.getsignal(signal.SIGTERM)
    try:
        for stage, folder in ((stages.evaluate, "evaluation"), (stages.recommend, "recommendations")):
            storage.delete_folder(job.run.path(folder))
            stop = Stop()
            stop.install()
            with pytest.raises(TerminatedError):
                stage(dataclasses.replace(job, stop=stop))
            assert not storage.is_whole(job.run.path(folder))
        Path(job.run.path("model", "_SUCCESS")).unlink()
        storage.delete_folder(job.run.path("model", "blend"))
        monkeypatch.setattr(stages, "network_of", lambda *given: Swallowing(ITEMS))
        stop = Stop()
        stop.install()
        with pytest.raises(TerminatedError):
            stages.train(dataclasses.replace(job, stop=stop))
        assert not storage.exists(job.run.path("model", "blend"))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not storage.is_whole(job.run.path("model"))


def begun(job: Job, tmp_path: Path) -> Job:
    """Another run with the same features, recorded as made."""
    config = dataclasses.replace(job.config, output=str(tmp_path))
    run = runs.create(config, "r")
    write_features(run.path("features"), chains(users=60), ITEMS)
    run.record_stage("features", {})
    return dataclasses.replace(job, config=config, run=run)


@pytest.mark.slow
def test_what_was_begun_with_other_settings_is_not_continued(job: Job, tmp_path: Path) -> None:
    """A training that was interrupted after its networks, then asked for with another network."""
    first = begun(job, tmp_path)
    stages.train(first)
    Path(first.run.path("model", "_SUCCESS")).unlink()
    config = dataclasses.replace(first.config, model=Model(width=8, dilations=(1, 2)))
    said = io.StringIO()
    jobs.execute(dataclasses.replace(first, config=config, progress=Progress(said)), ("train",))
    assert "train: begins anew" in said.getvalue() and "other settings" in said.getvalue()
    assert first.run.manifest()["stages"]["train"]["network"]["width"] == 8
    assert first.run.config() == config


@pytest.mark.slow
def test_killed_in_training_and_started_with_another_rate_it_takes_that_rate_from_the_first_epoch_on(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the folder was not cleared, as when the settings were changed by other means than this command."""
    monkeypatch.setattr(steps, "CALL_SECONDS", 0.0)  # one step a call
    first = begun(job, tmp_path)
    polled = iter(range(1000))
    with pytest.raises(RetryError, match="checkpoint saved at epoch 2"):
        train(setting(first), first.run.path("model"), Progress(quiet=True), lambda: next(polled) > 2)
    said = io.StringIO()
    other = dataclasses.replace(first.config, training=dataclasses.replace(first.config.training, learning_rate=1e-5))
    second = dataclasses.replace(first, config=other, progress=Progress(said))
    train(setting(second), first.run.path("model"), second.progress, lambda: False)
    assert "training.learning_rate 0.002, now 1e-05" in said.getvalue() and "begins anew" in said.getvalue()
    with open(first.run.path("model", "history.csv"), encoding="utf-8") as file:
        assert {row["learning_rate"] for row in csv.DictReader(file) if row["phase"] == "fit"} == {"1e-05"}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["leave-one-out", "none"])
def test_ended_in_the_export_it_only_exports(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Literal["leave-one-out", "none"]
) -> None:
    """Also without the workers that it has trained with: they have ended, and no Job starts them again."""
    first = begun(job, tmp_path)
    features = first.run.path("features")
    write_info(features, dataclasses.replace(read_info(features), split=SplitInfo(method)))
    with monkeypatch.context() as patch:
        patch.setattr("recsys.training.train.save_for_serving", lambda *given: os.kill(os.getpid(), signal.SIGTERM))
        before = signal.getsignal(signal.SIGTERM)
        Stop().install()
        with pytest.raises(TerminatedError):
            train(setting(first), first.run.path("model"), Progress(quiet=True), lambda: False)
        signal.signal(signal.SIGTERM, before)
    assert not Path(first.run.path("model", "model.json")).exists()

    def refuse(*given: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr("recsys.training.learner.make_steps", refuse)
    cluster = {"worker": ["127.0.0.1:9", "127.0.0.1:10"]}
    for index in (1, 0):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}}))
        said = io.StringIO()
        jobs.execute(dataclasses.replace(first, progress=Progress(said)), ("train",))
        assert ("up to the chief" in said.getvalue()) is (index == 1)
    assert list(first.run.manifest()["stages"]) == ["features", "train"]
    assert not Path(first.run.path("model", "checkpoints")).exists()


def setting(job: Job) -> Setting:
    features = job.run.path("features")
    return Setting(job.config, features, read_info(features), hardware.choose(job.config.training))


def test_stages_at_work_at_once_change_their_own_settings_alone(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both commands have read run.json before the other wrote its settings there."""
    first = begun(job, tmp_path)
    storage.mark_success(first.run.path("model"))
    first.run.record_stage("train", {})
    for stage in ("evaluate", "recommend"):
        monkeypatch.setitem(stages.RUNNERS, stage, lambda job: {})  # type: ignore[misc]
    one = dataclasses.replace(first.config, evaluation=dataclasses.replace(first.config.evaluation, bootstrap=30))
    other = dataclasses.replace(first.config, recommend=dataclasses.replace(first.config.recommend, k=7))
    jobs.execute(dataclasses.replace(first, config=one), ("evaluate",))
    jobs.execute(dataclasses.replace(first, config=other), ("recommend",))
    assert (first.run.config().evaluation.bootstrap, first.run.config().recommend.k) == (30, 7)


def test_what_was_made_of_another_training_does_not_outlive_it(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is gone, and is trained anew: neither its lists nor its evaluation are those of the new one."""
    first = begun(job, tmp_path)
    for stage, folder in (("train", "model"), ("evaluate", "evaluation"), ("recommend", "recommendations")):
        storage.mark_success(first.run.path(folder))
        first.run.record_stage(stage, {})
    storage.delete_folder(first.run.path("model"))
    monkeypatch.setitem(stages.RUNNERS, "train", lambda job: {})  # type: ignore[misc]
    jobs.execute(first, ("train",))
    assert set(first.run.manifest()["stages"]) == {"features", "train"}
    assert not storage.exists(first.run.path("recommendations")) and not storage.exists(first.run.path("evaluation"))


def test_showing_a_run_that_has_nothing_yet_says_what_to_do(job: Job, tmp_path: Path) -> None:
    first = begun(job, tmp_path)
    with pytest.raises(ConfigError, match="nothing to show yet: recsys recommend --output"):
        show_user(first.config.output, "r", "u0001", 5)
