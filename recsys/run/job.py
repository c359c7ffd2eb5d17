"""The stages in order: each reads only the run's folder, is skipped when finished, and resumed or redone when half-finished."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from recsys import settings, storage
from recsys.contract import schema
from recsys.contract.features_info import read_info
from recsys.errors import ConfigError
from recsys.progress import Progress
from recsys.run import stages, waiting
from recsys.run.runs import Run
from recsys.run.stages import RUNNERS, Job
from recsys.training.cluster import VARIABLE, Member, member

if TYPE_CHECKING:
    from recsys.recommend.shards import Shard

STAGES: Final = tuple(RUNNERS)
NEEDS: Final[dict[str, tuple[str, ...]]] = {
    "features": (),
    "train": ("features",),
    "evaluate": ("train",),
    "recommend": ("train",),
    "publish": ("recommend",),
}
"""The stage whose results each stage reads. Publishing also reads the evaluation, where there is one."""
WAITED_FOR: Final = {**NEEDS, "publish": ("evaluate", "recommend")}
"""What `wait` waits for: a slow evaluation must not bypass the quality gate."""
FOLDERS: Final = {
    "features": schema.FEATURES_DIR,
    "train": schema.MODEL_DIR,
    "evaluate": schema.EVALUATION_DIR,
    "recommend": schema.RECOMMENDATIONS_DIR,
}
MERGE_SECONDS: Final = 60.0
"""Longer than another process takes to see that it is not the one that merges the shards."""


def execute(job: Job, names: tuple[str, ...], redo: bool = False) -> None:
    """Runs the given stages, in their order.

    A single stage shares the run with others that are at work on it, each in a process of its own; several stages, and `redo`,
    have it alone.

    Args:
        job: the run.
        names: out of STAGES.
        redo: runs finished stages again, and forgets those that follow from them.

    Raises:
        ConfigError: an earlier stage has not finished; a finished one was requested with other settings but without redo; the
            published run was to be changed; or several workers were to do something other than train.
        RecsysError: whatever the stage could not do; the run's folder then holds what was finished before.
    """
    worker = member(os.environ) if "train" in names else Member()
    if worker.count > 1 and (redo or names != ("train",)):
        raise ConfigError(f"{VARIABLE} names {worker.count} workers, which can only run `recsys train`, without --redo")
    with storage.lock(job.run.folder, shared=len(names) == 1 and not redo):
        if job.config.training.device == "gpu" and {"features", "train"} <= set(names):
            stages.probe_gpu(job)
        for name in names:
            with storage.lock(job.run.folder, name if worker.chief else f"{name}-{worker.index}"):
                if not _prepare(job, name, redo):
                    continue
                with _measured() as facts:
                    facts.update(RUNNERS[name](job))
                if worker.chief:
                    job.run.record_stage(name, facts)


def execute_shard(job: Job, shard: Shard, patience: float = 0.0) -> None:
    """Scores one shard of the users; whoever finds all shards complete then merges them, which finishes the stage `recommend`.

    Shards are scored by processes of their own, at once or one after another, and each of them only once.

    Args:
        job: the run, with the configuration that it was made with.
        shard: which one.
        patience: seconds that shard 0 waits for the others, so that its end is the end of the stage; 0: it does not wait.

    Raises:
        ConfigError: training has not finished.
        RetryError: another process is scoring this shard, or everybody; or other shards are not complete after `patience`.
    """
    from recsys.recommend import shards

    run, folder = job.run, job.run.path(schema.SHARDS_DIR)

    def missing() -> str:
        left = shards.missing(folder, shard.count)
        return "" if is_done(run, "recommend") else ", ".join(f"shard {index} of {shard.count}" for index in left)

    with storage.lock(run.folder, shared=True):
        _check_ready(run, "recommend")
        with storage.lock(run.folder, "recommend", shared=True), storage.lock(run.folder, f"recommend-{shard}"):
            if is_done(run, "recommend") or shard.is_whole(folder):
                job.progress(f"recommend, shard {shard}: already done")
            else:
                job.progress(f"recommend, shard {shard}:")
                with _measured() as facts:
                    facts.update(stages.recommend(job, shard))
                storage.write_json(shard.facts_file(folder), facts)
        if patience and shard.index == 0:
            waiting.wait(missing, patience, job.progress)
        if left := missing():
            job.progress(f"  still missing: {left}; the last one to finish merges all")
            return
        with storage.lock(run.folder, "recommend", patience=MERGE_SECONDS):
            if not is_done(run, "recommend"):
                users = read_info(run.path(schema.FEATURES_DIR)).users
                merged = shards.merge(folder, run.path(schema.RECOMMENDATIONS_DIR), shard.count, users)
                run.record_stage("recommend", merged)
                storage.delete_folder(folder)
                job.progress(f"recommend: {shard.count} shards merged")


def wait(run: Run, stage: str, patience: float, progress: Progress) -> None:
    """Returns when the run exists and the stages before this one have finished, in whatever process.

    Raises:
        RetryError: they have not after `patience` seconds.
    """

    def missing() -> str:
        if not storage.exists(run.path(schema.RUN_FILE)):
            return f"run {run.run_id} in {run.output}"
        return ", ".join(f"'{before}' of run {run.run_id}" for before in WAITED_FOR[stage] if not is_done(run, before))

    waiting.wait(missing, patience, progress)


def is_done(run: Run, stage: str) -> bool:
    """Whether the manifest says that a stage has finished, and its folder is whole; publishing has no folder."""
    recorded = stage in run.manifest()["stages"]
    return recorded and (stage not in FOLDERS or storage.is_whole(run.path(FOLDERS[stage])))


def _prepare(job: Job, stage: str, redo: bool) -> bool:
    """Whether the stage has work to do. The run then holds its settings, and nothing that follows from an earlier result."""
    _check_ready(job.run, stage)
    if redo:
        _forget(job.run, stage)
    same = job.run.config() == job.config
    if is_done(job.run, stage):
        if not same:
            raise ConfigError(f"run {job.run.run_id}: '{stage}' is done with other settings; add --redo to do it again")
        job.progress(f"{stage}: already done")
        return False
    if not same:
        job.run.update({"config": settings.to_dict(job.config)})
    job.progress(f"{stage}:")
    return True


def _check_ready(run: Run, stage: str) -> None:
    for before in NEEDS[stage]:
        if not is_done(run, before):
            raise ConfigError(f"run {run.run_id}: '{stage}' needs '{before}' first: recsys {before} --output {run.output}")


def _forget(run: Run, stage: str) -> None:
    """Forgets a stage and those that follow from it, but never what readers of the output are reading."""
    from recsys.run.publish import published_run

    forgotten = [stage, "publish"]
    for name in STAGES:
        if set(NEEDS[name]) & set(forgotten):
            forgotten.append(name)
    if "recommend" in forgotten and published_run(run.output) == run.run_id:
        raise ConfigError(f"run {run.run_id} is published and must not change; start a new run instead")
    kept = {name: facts for name, facts in run.manifest()["stages"].items() if name not in forgotten}
    run.update({"stages": kept, "status": "running"})
    for name in forgotten:
        if name in FOLDERS:
            storage.delete_folder(run.path(FOLDERS[name]))
    if "recommend" in forgotten:
        storage.delete_folder(run.path(schema.SHARDS_DIR))


@contextmanager
def _measured() -> Iterator[dict[str, Any]]:
    """Facts of the block, with its seconds and the greatest resident memory of this process so far, in bytes."""
    started = time.monotonic()
    facts: dict[str, Any] = {"seconds": 0.0, "peak_bytes": 0}
    yield facts
    facts["seconds"] = round(time.monotonic() - started, 2)
    facts["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
