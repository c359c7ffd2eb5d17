"""The train stage on all GPUs of a machine: a process for each, which train together as those that TF_CONFIG names."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, Final

from recsys import settings
from recsys.config import Config
from recsys.contract import schema
from recsys.contract.features_info import read_info
from recsys.errors import RecsysError, RetryError, TerminatedError
from recsys.progress import Log, Progress, silent
from recsys.run import earlier
from recsys.run.ending import Stop
from recsys.run.runs import Run
from recsys.run.stages import RUNNERS, Job
from recsys.spark import child
from recsys.training.cluster import VARIABLE

LEAST_POSITIONS: Final = 4_096
"""Of a step, for each process: with fewer, a GPU waits for the others more than it computes. A guess, not measured."""
POLL_SECONDS: Final = 0.2
AGAIN_SECONDS: Final = 5.0
"""Between two SIGTERM to a process: the first is lost if it is connecting (run.stages.train)."""
GRACE_SECONDS: Final = 30.0
"""After one process has failed, until the others, which notice it themselves, are killed."""


def runner(job: Job, name: str) -> Callable[[Job], dict[str, Any]]:
    """What runs a stage: for train, as many processes as there are GPUs that a step is large enough for, otherwise this one."""
    if name != "train":
        return RUNNERS[name]
    from recsys.training.hardware import VISIBLE, cards
    from recsys.training.plan import batch_shape

    found = cards(job.config.training, os.environ)
    if len(found) > 1 and earlier.base_of(job.run) is not None:
        job.progress(f"  uses one of {len(found)} GPUs: what a warm start has to learn is too little for more")
        found = found[:1]
    rows, length = batch_shape(job.config.training, read_info(job.run.path(schema.FEATURES_DIR)).train_events)
    count = min(len(found), rows, rows * length // LEAST_POSITIONS)
    if len(found) > 1:
        job.progress(
            f"  uses {max(1, count)} of {len(found)} GPUs, with a process for each: a step has {rows * length:,} positions in "
            f"{rows} rows, and each process needs {LEAST_POSITIONS:,} and a row (training.batch_tokens)"
        )
    if count < 2:
        return RUNNERS[name]
    return functools.partial(together, environments=[{VISIBLE: card} for card in found[:count]])


def together(job: Job, environments: Sequence[dict[str, str]]) -> dict[str, Any]:
    """Trains in one new process for each environment, the chief first; none of them outlives this call or this process.

    Args:
        job: its `stop` is passed on, and the chief's progress and every error are shown.
        environments: variables to set for each process.

    Returns:
        The chief's facts, and the peak memory of all processes.

    Raises:
        RecsysError: the first that a process failed with, what comes later being its consequence; before it an error with a
            cause of its own, such as a wrong setting.
        RetryError: a process is gone, or this one was asked to stop; the same command resumes.
    """
    workers, living, failures = _addresses(len(environments)), dict[int, int](), list[Exception]()

    def run(index: int) -> child.Outcome | None:
        task = {"cluster": {"worker": workers}, "task": {"type": "worker", "index": index}}
        arguments = {"config": settings.to_dict(job.config), "output": job.run.output, "run_id": job.run.run_id}
        variables = {**environments[index], VARIABLE: json.dumps(task)}

        def started(pid: int) -> None:
            living[index] = pid

        try:
            heard = silent if index else job.progress
            return child.call("recsys.run.local_workers:work", arguments, heard, variables, started)
        except Exception as error:
            failures.append(error)
            return None
        finally:
            living.pop(index, None)

    with job.stop.softly():
        with ThreadPoolExecutor(len(environments)) as pool:
            calls = [pool.submit(run, index) for index in range(len(environments))]
            try:
                _watch(calls, living, failures, job.stop)
            finally:
                _end(living, signal.SIGKILL)
        for failure in sorted(failures, key=lambda error: type(error) in (RetryError, RecsysError)):  # stable
            raise failure
    ended = [outcome for call in calls if (outcome := call.result()) is not None]
    return {**ended[0].result, "workers_peak_bytes": sum(outcome.peak_bytes for outcome in ended)}


def work(arguments: dict[str, Any], log: Log) -> dict[str, Any]:
    """One of the processes: the train stage, for recsys.spark.child.call, with TF_CONFIG in the environment.

    Args:
        arguments: `config` from settings.to_dict, `output` and `run_id`.
        log: takes lines of progress.

    Raises:
        RetryError: the process was asked to stop.
    """
    stop = Stop()
    stop.install()
    run = Run(arguments["output"], arguments["run_id"])
    try:
        return RUNNERS["train"](Job(settings.from_dict(Config, arguments["config"]), run, _Relayed(log), stop))
    except TerminatedError as ended:
        raise RetryError(str(ended)) from None


class _Relayed(Progress):
    """Progress whose lines go to another process."""

    def __init__(self, log: Log) -> None:
        super().__init__(quiet=True)
        self._log = log

    def __call__(self, text: str) -> None:
        """Sends one line."""
        self._log(text)


def _watch(calls: Sequence[Future[Any]], living: dict[int, int], failures: list[Exception], stop: Stop) -> None:
    """Until all have ended: passes SIGTERM on, and kills those that do not notice that another has failed."""
    told = failed = 0.0
    while wait(calls, timeout=POLL_SECONDS).not_done:
        now = time.monotonic()
        if stop() and now - told > AGAIN_SECONDS:
            told = now
            _end(living, signal.SIGTERM)
        if failures:
            failed = failed or now
            if now - failed > GRACE_SECONDS:
                _end(living, signal.SIGKILL)


def _end(living: dict[int, int], how: signal.Signals) -> None:
    """Sends a signal to the processes and all that they have started: each leads a group of its own."""
    for pid in list(living.values()):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, how)


def _addresses(count: int) -> list[str]:
    """As many addresses on this machine's loopback with ports that are free."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
