"""Runs the stages in order: each reads only the run's folder, is skipped if finished, resumed or redone if half-finished."""

from __future__ import annotations

import logging
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final

from recsys import storage
from recsys.contract import schema
from recsys.contract.features_info import read_info
from recsys.errors import ConfigError, RetryError, shortened
from recsys.progress import Progress
from recsys.redaction import printable
from recsys.run import latest, local_workers, stages, telling, waiting
from recsys.run.runs import FOLDERS, Run, exists
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
    "report": ("train",),
    "publish": ("recommend",),
}
"""The stage whose results each stage needs."""
WAITED_FOR: Final = {**NEEDS, "report": ("evaluate", "recommend"), "publish": ("evaluate", "recommend")}
"""What each stage reads if it is there, and `wait` waits for: a slow evaluation must not bypass the quality gate."""
SECTIONS: Final[dict[str, tuple[str, ...]]] = {
    "train": ("model", "training"),
    "evaluate": ("evaluation",),
    "recommend": ("recommend",),
    "report": (),
    "publish": ("publish",),
}
"""The sections that each later stage reads, and so the settings that it may change."""
MERGE_SECONDS: Final = 60.0
"""Longer than another process takes to notice that it is not the one to merge the shards."""


def execute(job: Job, names: tuple[str, ...], redo: bool = False) -> None:
    """Runs the given stages, in their order.

    A single stage shares the run with other stages running in other processes; several stages, and `redo`, need exclusive
    access.

    Args:
        job: the run.
        names: out of STAGES; at the end of all of them other tools are told (recsys.run.telling).
        redo: repeats finished stages, and discards those that depend on them; never of a run that is or was published.

    Raises:
        ConfigError: an earlier stage has not finished; a finished one was requested with other settings and without redo; the
            published run would change; or several workers would do something other than train.
        RecsysError: the stage failed; the run's folder keeps what had finished before.
    """
    worker = worker_of(names, redo)
    whole = telling.told(job) if names == STAGES else nullcontext()
    with _tidy(job.run), _locked(job, shared=len(names) == 1 and not redo), whole:
        if job.config.training.device == "gpu" and {"features", "train"} <= set(names):
            stages.probe_gpu(job)
        for number, name in enumerate(names, start=1):
            part = name if worker.chief else f"{name}-{worker.index}"
            with job.progress.stage(name, number, len(names)), _locked(job, part):
                if not _prepare(job, name, redo, worker.chief):
                    continue
                with _measured() as facts:
                    facts.update(_work(job, name, alone=len(names) == 1))
                if number == len(names):
                    job.stop.check()
                    job.stop.ignore()
                if worker.chief:
                    job.run.record_stage(name, facts)
                job.progress.update("finished", 1.0)
            job.stop.check()


def _work(job: Job, name: str, alone: bool) -> dict[str, Any]:
    """Does a stage's work.

    A report among other stages that cannot be made is told of and recorded, and the job goes on: a drawing must not keep the
    lists from their readers. What a damaged file means for them is for `publish` to say. Storage that fails ends the job here
    as anywhere.
    """
    try:
        return local_workers.runner(job, name)(job)
    except (ConfigError, RetryError):
        raise
    except Exception as error:
        job.stop.check()
        if name != "report" or alone or storage.known(error) is not None:
            raise
        logging.getLogger(__name__).info("no report", exc_info=True)
        warning = f"no report was made: {shortened(f'{type(error).__name__}: {error}')}"
        job.progress(f"  warning: {warning}; to try again: recsys report --output {job.run.output} --run-id {job.run.run_id}")
        return {"warning": printable(warning)}


def execute_shard(job: Job, shard: Shard) -> None:
    """Scores one shard of the users; the process that finds all shards complete merges them and finishes `recommend`.

    Shards are scored in separate processes, concurrently or one after another, each only once.

    Args:
        job: the run, with the configuration it was created with. For its `patience` shard 0 also waits for the others, so that
            it ends when the stage ends; 0: it does not wait.
        shard: which one.

    Raises:
        ConfigError: training has not finished.
        RetryError: another process is scoring this shard, or all users; or other shards are incomplete after `job.patience`.
    """
    from recsys.recommend import shards

    run, folder = job.run, job.run.path(schema.SHARDS_DIR)

    def missing() -> str:
        left = shards.missing(folder, shard.count)
        return "" if is_done(run, "recommend") else ", ".join(f"shard {index} of {shard.count}" for index in left)

    with job.progress.stage("recommend"), _tidy(run), _locked(job, shared=True):
        _check_ready(run, "recommend")
        with _locked(job, "recommend", shared=True), _locked(job, f"recommend-{shard}"):
            if is_done(run, "recommend") or shard.is_whole(folder):
                job.progress(f"recommend, shard {shard}: already done")
            else:
                check_changeable(run, "recommend")
                job.progress(f"recommend, shard {shard}:")
                with _measured() as facts:
                    facts.update(stages.recommend(job, shard))
                storage.write_json(shard.facts_file(folder), facts)
        job.stop.check()
        if job.patience and shard.index == 0:
            waiting.wait(missing, job.patience, job.progress)
        if left := missing():
            job.progress(f"  still missing: {left}; the last one to finish merges them all")
            return
        with storage.lock(run.folder, "recommend", patience=MERGE_SECONDS):
            if not is_done(run, "recommend"):
                users = read_info(run.path(schema.FEATURES_DIR)).users
                merged = shards.merge(folder, run.path(schema.RECOMMENDATIONS_DIR), shard.count, users)
                run.record_stage("recommend", merged)
                storage.delete_folder(folder)
                job.progress(f"recommend: {shard.count} shards merged")


def wait(run: Run, stage: str, patience: float, progress: Progress) -> None:
    """Waits until the run exists and the stages before this one have finished, in any process.

    Raises:
        RetryError: they have not finished after `patience` seconds.
    """

    def missing() -> str:
        if not exists(run):
            return f"run {run.run_id} in {run.output}"
        return ", ".join(f"'{before}' of run {run.run_id}" for before in WAITED_FOR[stage] if not is_done(run, before))

    waiting.wait(missing, patience, progress)


def worker_of(names: tuple[str, ...], redo: bool = False) -> Member:
    """Which of the workers that train together this process is.

    Raises:
        ConfigError: there are several, and they would do something else than train.
    """
    worker = member(os.environ) if "train" in names else Member()
    if worker.count > 1 and (redo or names != ("train",)):
        raise ConfigError(f"{VARIABLE} names {worker.count} workers, which can only run `recsys train`, without --redo")
    return worker


@contextmanager
def _locked(job: Job, part: str = "", shared: bool = False) -> Iterator[None]:
    """Holds the run, or a part of it; waits for another process as long as the job's patience lasts, and says so."""
    with ExitStack() as held:
        try:
            held.enter_context(storage.lock(job.run.folder, part, shared))
        except RetryError as busy:
            if not job.patience:
                raise
            job.progress(f"waiting up to {job.patience:g} seconds: {busy}")
            held.enter_context(storage.lock(job.run.folder, part, shared, job.patience))
        yield


def is_done(run: Run, stage: str) -> bool:
    """Whether the manifest records the stage as finished and its folder is complete; publishing has no folder."""
    recorded = stage in run.manifest()["stages"]
    return recorded and (stage not in FOLDERS or storage.is_whole(run.path(FOLDERS[stage])))


@contextmanager
def _tidy(run: Run) -> Iterator[None]:
    """Removes what killed processes have left of this run and in TMPDIR; those still at work keep theirs.

    In the block all temporary files, those of libraries too, lie in one folder, which the next start finds if this process is
    killed.
    """
    storage.sweep_temporary()
    storage.sweep(run.folder)
    storage.sweep(run.output, recursive=False)
    if storage.is_local(run.folder):
        storage.sweep_temporary(os.path.dirname(storage.resolve(run.folder)[1]))  # of a start that was creating its run
    before = tempfile.tempdir, os.environ.get("TMPDIR")
    with storage.scratch("run") as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        try:
            yield
        finally:
            tempfile.tempdir, variable = before
            os.environ.pop("TMPDIR")
            if variable is not None:
                os.environ["TMPDIR"] = variable


def _prepare(job: Job, stage: str, redo: bool, chief: bool) -> bool:
    """Whether the stage has work to do; if so, stores its settings and discards what depends on its old result."""
    run = job.run
    _check_ready(run, stage)
    made = run.config()
    same = all(getattr(made, section) == getattr(job.config, section) for section in SECTIONS.get(stage, ()))
    if is_done(run, stage) and not redo:
        if not same:
            raise ConfigError(f"run {run.run_id}: '{stage}' is done with other settings; add --redo to repeat it")
        job.progress(f"{stage}: already done")
        return False
    if stage == "report":
        _discard(run, stage)
    elif stage != "publish":  # which itself records what it decides
        check_changeable(run, stage)
        if chief:
            # What an interrupted attempt has left is continued, unless it was made with other settings.
            if not same and storage.exists(run.path(FOLDERS[stage])):
                job.progress(f"{stage}: begins anew, what an interrupted attempt left was made with other settings")
            _forget(run, ([] if same and not redo else [stage]) + _dependents(stage))
            run.change_config(job.config, SECTIONS.get(stage, ()))
    job.progress(f"{stage}:")
    return True


def _check_ready(run: Run, stage: str) -> None:
    for before in NEEDS[stage]:
        if not is_done(run, before):
            raise ConfigError(f"run {run.run_id}: '{stage}' needs '{before}' first: recsys {before} --output {run.output}")


def check_changeable(run: Run, stage: str) -> None:
    """Refuses to change a run that readers follow, or that `rollback` may return to.

    Raises:
        ConfigError: it is such a run.
    """
    if latest.was_published(run.manifest(), latest.read(run.output)):
        raise ConfigError(
            f"run {run.run_id} is published or has been, and must not change: '{stage}' would write it anew; "
            f"start a new run instead: recsys run --output {run.output}, without --run-id or with another one"
        )


def _dependents(stage: str) -> list[str]:
    """The stages that read what this one writes, directly or not."""
    found = [stage]
    for name in STAGES:
        if {*NEEDS[name], *WAITED_FOR[name]} & set(found):
            found.append(name)
    return found[1:]


def _forget(run: Run, names: list[str]) -> None:
    """Discards stages, recorded or half-finished."""
    if set(names) & run.manifest()["stages"].keys():
        run.forget_stages(names)
    for name in names:
        _discard(run, name)


def _discard(run: Run, stage: str) -> None:
    """Deletes what a stage has written, complete or not."""
    if stage in FOLDERS:
        storage.delete_folder(run.path(FOLDERS[stage]))
    if stage == "recommend":
        storage.delete_folder(run.path(schema.SHARDS_DIR))


@contextmanager
def _measured() -> Iterator[dict[str, Any]]:
    """Facts of the block, with its seconds and the peak resident memory of this process so far, in bytes."""
    started = time.monotonic()
    facts: dict[str, Any] = {"seconds": 0.0, "peak_bytes": 0}
    yield facts
    facts["seconds"] = round(time.monotonic() - started, 2)
    facts["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
