"""The stages in order: each reads only the run's folder, is skipped when finished, and redone or resumed when half-finished."""

from __future__ import annotations

import dataclasses
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from recsys import settings, storage
from recsys.config import Config
from recsys.contract import schema
from recsys.contract.features_info import read_info
from recsys.errors import ConfigError
from recsys.progress import Progress
from recsys.run import waiting
from recsys.run.ending import Stop
from recsys.run.runs import Run
from recsys.training.cluster import VARIABLE, Member, member

if TYPE_CHECKING:
    from recsys.recommend.shards import Shard

STAGES = ("features", "train", "evaluate", "recommend", "publish")
NEEDS: dict[str, tuple[str, ...]] = {
    "features": (),
    "train": ("features",),
    "evaluate": ("train",),
    "recommend": ("train",),
    "publish": ("recommend",),
}
"""The stage whose results each stage reads. Publishing also reads the evaluation, where there is one."""
WAITED_FOR = {**NEEDS, "publish": ("evaluate", "recommend")}
"""What `wait` waits for: the quality gate must not be passed because the evaluation is slow."""
FOLDERS = {
    "features": schema.FEATURES_DIR,
    "train": schema.MODEL_DIR,
    "evaluate": schema.EVALUATION_DIR,
    "recommend": schema.RECOMMENDATIONS_DIR,
}
MERGE_SECONDS = 60.0
"""Longer than another process takes to see that it is not the one that merges the shards."""


@dataclasses.dataclass(frozen=True)
class Job:
    """A run at work.

    Attributes:
        config: the configuration of the run.
        run: its folder.
        progress: for people.
        stop: whether the process has been asked to end.
    """

    config: Config
    run: Run
    progress: Progress
    stop: Stop


def execute(job: Job, stages: tuple[str, ...], redo: bool = False) -> None:
    """Runs the given stages, in their order.

    A single stage shares the run with others that are at work on it, each in a process of its own; all others have it alone.

    Args:
        job: the run.
        stages: names out of STAGES.
        redo: does finished stages again, and forgets those that follow from them.

    Raises:
        ConfigError: an earlier stage has not finished, a finished one was asked for with other settings but not to be redone,
            the published run was to be changed, or several workers were to do something other than to train.
        RecsysError: whatever the stage could not do; the run's folder then holds what was finished before.
    """
    worker = member(os.environ) if "train" in stages else Member()
    if worker.count > 1 and (redo or stages != ("train",)):
        raise ConfigError(f"{VARIABLE} names {worker.count} workers: they take part in `recsys train` alone, without --redo")
    with storage.lock(job.run.folder, shared=len(stages) == 1 and not redo):
        if job.config.training.device == "gpu" and {"features", "train"} <= set(stages):
            _find_gpu(job)
        for stage in stages:
            with storage.lock(job.run.folder, stage if worker.chief else f"{stage}-{worker.index}"):
                _execute(job, stage, redo, worker)


def _execute(job: Job, stage: str, redo: bool, worker: Member) -> None:
    _check_ready(job.run, stage)
    if redo:
        _forget(job.run, stage)
    same = job.run.config() == job.config
    if _is_done(job.run, stage):
        if not same:
            raise ConfigError(f"run {job.run.run_id}: '{stage}' is done with other settings; add --redo to do it again")
        job.progress(f"{stage}: done before")
        return
    if not same:
        job.run.update({"config": settings.to_dict(job.config)})
    job.progress(f"{stage}:")
    facts = _measured(lambda: _RUNNERS[stage](job))
    if worker.chief:
        job.run.record_stage(stage, facts)


def wait(run: Run, stage: str, patience: float, progress: Progress) -> None:
    """Returns when the run is there and the stages before this one have finished, in whatever process.

    Raises:
        RetryError: they have not after `patience` seconds.
    """

    def missing() -> str:
        if not storage.exists(run.path(schema.RUN_FILE)):
            return f"run {run.run_id} in {run.output}"
        return ", ".join(f"'{before}' of run {run.run_id}" for before in WAITED_FOR[stage] if not _is_done(run, before))

    waiting.wait(missing, patience, progress)


def execute_shard(job: Job, shard: Shard, patience: float = 0.0) -> None:
    """Scores one shard of the users; whoever finds all shards whole then merges them, which finishes the stage `recommend`.

    Shards are scored by processes of their own, at once or one after another, and each of them only once.

    Args:
        job: the run, with the configuration that it was made with.
        shard: which one.
        patience: seconds that shard 0 waits for the others, so that its end is the end of the stage; 0: it does not.

    Raises:
        ConfigError: training has not finished.
        RetryError: another process is scoring this shard, or everybody; or other shards are not whole after `patience`.
    """
    from recsys.recommend import shards

    run = job.run

    def missing() -> str:
        left = shards.missing(run, shard.count)
        return "" if _is_done(run, "recommend") else ", ".join(f"shard {index} of {shard.count}" for index in left)

    with storage.lock(run.folder, shared=True):
        _check_ready(run, "recommend")
        with storage.lock(run.folder, "recommend", shared=True), storage.lock(run.folder, f"recommend-{shard}"):
            if _is_done(run, "recommend") or shard.is_whole(run):
                job.progress(f"recommend, shard {shard}: done before")
            else:
                job.progress(f"recommend, shard {shard}:")
                storage.write_json(shard.facts_file(run), _measured(lambda: _recommend(job, shard)))
        if patience and shard.index == 0:
            waiting.wait(missing, patience, job.progress)
        if left := missing():
            job.progress(f"  not whole yet: {left}; the last one merges them")
            return
        with storage.lock(run.folder, "recommend", patience=MERGE_SECONDS):
            if not _is_done(run, "recommend"):
                users = read_info(run.path(schema.FEATURES_DIR)).users
                run.record_stage("recommend", shards.merge(run, shard.count, users))
                storage.delete_folder(run.path(schema.SHARDS_DIR))
                job.progress(f"recommend: {shard.count} shards merged")


def _find_gpu(job: Job) -> None:
    """A GPU that was demanded and is not there ends the job now, not when the features are made."""
    from recsys.spark import child

    child.call("recsys.training.hardware:probe", settings.to_dict(job.config.training), job.progress)


def _features(job: Job) -> dict[str, Any]:
    from recsys.sources import open_source
    from recsys.spark import child

    with _scratch(job.run.path("source")) as scratch:
        source = open_source(job.config, scratch, job.progress)
        job.run.update({"inputs": [dict(entry) for entry in source.inputs]})
        arguments = {
            "config": settings.to_dict(job.config),
            "tables": dataclasses.asdict(source),
            "features": job.run.path(schema.FEATURES_DIR),
        }
        outcome = child.call("recsys.features.pipeline:run", arguments, job.progress)
    info = read_info(job.run.path(schema.FEATURES_DIR))
    job.run.update({"rejected": info.rejected})
    job.progress(
        f"  {info.events:,} events of {info.users:,} users with {info.items:,} items; "
        f"training {info.train_events:,}, validation {info.valid_events:,}, test {info.test_events:,}"
    )
    for table, reasons in info.rejected.items():
        for reason, count in reasons.items():
            job.progress(f"  set aside from {table}: {reason} {count:,} (see {schema.FEATURES_DIR}/{schema.REJECTED_DIR})")
    counts = {name: getattr(info, name) for name in ("users", "items", "events", "train_events", "valid_events", "test_events")}
    return {"spark_peak_bytes": outcome.peak_bytes, "spark_bytes_left": outcome.bytes_left, **counts}


@contextmanager
def _scratch(folder: str) -> Iterator[str]:
    """The folder, on this machine, where it stays when the block fails; or, for an object store, one in TMPDIR."""
    if storage.is_local(folder):
        yield folder
        storage.delete_folder(folder)
        return
    with tempfile.TemporaryDirectory(prefix="recsys-source-") as temporary:
        yield temporary


def _train(job: Job) -> dict[str, Any]:
    from recsys.training.train import train

    with job.stop.softly():
        features, folder = job.run.path(schema.FEATURES_DIR), job.run.path(schema.MODEL_DIR)
        return train(job.config, features, folder, job.progress, job.stop, member(os.environ))


def _evaluate(job: Job) -> dict[str, Any]:
    from recsys.evaluation.compare import evaluate_run
    from recsys.evaluation.terminal import format_table
    from recsys.methods.cnn import evaluated_scorers

    features, folder = job.run.path(schema.FEATURES_DIR), job.run.path(schema.EVALUATION_DIR)
    held_out = read_info(features).split.method != "none"
    scorers = evaluated_scorers(job.config, features, job.run.path(schema.MODEL_DIR)) if held_out else []
    metrics = evaluate_run(job.config, features, folder, scorers, job.progress)
    if "methods" in metrics:
        job.progress(format_table(metrics))
        job.run.update({"metrics": {name: method["metrics"] for name, method in metrics["methods"].items()}})
    return {}


def _recommend(job: Job, shard: Shard | None = None) -> dict[str, Any]:
    from recsys.methods.cnn import published_scorer
    from recsys.recommend.lists import recommend

    features = job.run.path(schema.FEATURES_DIR)
    scorer = published_scorer(job.config, features, job.run.path(schema.MODEL_DIR))
    if shard is not None:
        return recommend(job.config, features, shard.folder(job.run), job.run.run_id, scorer, job.progress, shard)
    folder = job.run.path(schema.RECOMMENDATIONS_DIR)
    return recommend(job.config, features, folder, job.run.run_id, scorer, job.progress)


def _publish(job: Job) -> dict[str, Any]:
    from recsys.run.publish import publish
    from recsys.run.retention import delete_old_runs

    latest = publish(job.config.publish, job.run)
    job.progress(f"  published: {storage.join(job.run.output, schema.LATEST_FILE)} → {latest['recommendations']}")
    deleted = delete_old_runs(job.run.output, job.config.publish.keep_runs, job.progress)
    return {"published_at": latest["published_at"], "deleted_runs": deleted}


_RUNNERS: dict[str, Callable[[Job], dict[str, Any]]] = {
    "features": _features,
    "train": _train,
    "evaluate": _evaluate,
    "recommend": _recommend,
    "publish": _publish,
}


def _is_done(run: Run, stage: str) -> bool:
    """A stage is finished when its folder is whole and the manifest says so; publishing, when the manifest says so."""
    recorded = stage in run.manifest()["stages"]
    return recorded and (stage not in FOLDERS or storage.is_whole(run.path(FOLDERS[stage])))


def _check_ready(run: Run, stage: str) -> None:
    for before in NEEDS[stage]:
        if not _is_done(run, before):
            raise ConfigError(f"run {run.run_id}: '{stage}' needs '{before}' first: recsys {before} --output {run.output}")


def _forget(run: Run, stage: str) -> None:
    """Forgets a stage and those that follow from it, but never what readers of the output are reading."""
    from recsys.run.publish import published_run

    forgotten = [stage, "publish"]
    for name in STAGES:
        if set(NEEDS[name]) & set(forgotten):
            forgotten.append(name)
    if "recommend" in forgotten and published_run(run.output) == run.run_id:
        raise ConfigError(f"run {run.run_id} is published, and readers follow it: begin a new run instead of changing this one")
    stages = {name: facts for name, facts in run.manifest()["stages"].items() if name not in forgotten}
    run.update({"stages": stages, "status": "running"})
    for name in forgotten:
        if name in FOLDERS:
            storage.delete_folder(run.path(FOLDERS[name]))
    if "recommend" in forgotten:
        storage.delete_folder(run.path(schema.SHARDS_DIR))


def _measured(work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What the work found, with its seconds and the greatest resident memory of this process so far, in bytes."""
    started = time.monotonic()
    facts = work()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"seconds": round(time.monotonic() - started, 2), "peak_bytes": peak, **facts}
