"""Who fits and who loads: training fits the blend once and saves it, everybody else takes it as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recsys.config import Config, Evaluation, Model, Publish, Recommend, Training
from recsys.methods import blending, ease, transitions
from recsys.progress import Progress
from recsys.recommend.shards import Shard
from recsys.run import runs, stages
from recsys.run.ending import Stop
from recsys.run.stages import Job
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
