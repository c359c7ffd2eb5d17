"""How a job begins: a run is begun or resumed with a configuration, by a command or from Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from recsys import settings
from recsys.config import Config
from recsys.progress import Log, Progress
from recsys.run import gate, job, runs
from recsys.run.ending import Stop
from recsys.run.stages import Job
from recsys.spark import memory


def check(asked: Config, names: tuple[str, ...]) -> None:
    """Checks what can be known before anything is done.

    Raises:
        ConfigError: a setting is wrong for this machine, or no run could pass the gate.
    """
    memory.heap(asked.spark.memory, memory.limit())
    if "publish" in names:
        gate.check_attainable(asked)


def begin(
    asked: Config,
    names: tuple[str, ...],
    run_id: str | None,
    progress: Callable[[runs.Run], Progress],
    stop: Stop,
    patience: float,
    warn: Log,
) -> Job:
    """The job of a run that is begun, or resumed, to run the named stages.

    Args:
        asked: the configuration.
        names: out of job.STAGES.
        run_id: name of the run, or None; see runs.open_or_create.
        progress: gives the progress of a run.
        stop, patience: see stages.Job.
        warn: takes what the user must see in any case.

    Raises:
        ConfigError: a setting is wrong for this machine, or the run was made with others.
    """
    check(asked, names)
    found = runs.open_or_create(asked, run_id, warn)
    report = progress(found)
    report(f"run {found.run_id} in {found.folder}")
    return Job(asked, found, report, stop, patience)


def resume(
    stage: str,
    found: runs.Run,
    changes: Iterable[tuple[str, Any]],
    environment: Mapping[str, str],
    progress: Progress,
    stop: Stop,
    patience: float,
    warn: Log,
    origin: str = settings.COMMAND_LINE,
) -> Job:
    """The job of a run that a later stage works on.

    Settings of the stage's own sections may be changed by the environment and, winning over it, by `changes`.

    Args:
        stage: out of job.STAGES.
        found: the run.
        changes: pairs of a dotted field name and a value.
        environment: usually os.environ.
        progress, stop, patience: see stages.Job.
        warn: takes what the user must see in any case.
        origin: where the changes came from, for messages.

    Raises:
        ConfigError: a setting is wrong or belongs to an earlier stage.
    """
    made = found.config()
    asked = settings.change(made, changes, job.SECTIONS[stage], environment, origin)
    if passed_over := settings.ignored(made, job.SECTIONS[stage], environment):
        warn(f"ignored, because run {found.run_id} was made with other values: {', '.join(passed_over)}")
    if stage == "evaluate":  # the only later stage that may start Spark
        memory.heap(asked.spark.memory, memory.limit())
    return Job(asked, found, progress, stop, patience)
