"""Tells other tools of a run, once, when `recsys run` ends; what cannot be told is a warning and no failure of the run."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from recsys.errors import EXIT_DONE, DamagedError
from recsys.monitoring import lineage, mlflow_log, xcom
from recsys.monitoring.run_figures import Figures
from recsys.redaction import printable
from recsys.run import latest
from recsys.run.ending import exit_code
from recsys.run.stages import Job


@contextmanager
def told(job: Job, environment: os._Environ[str] = os.environ, xcom_folder: str = xcom.FOLDER) -> Iterator[None]:
    """Tells of the command that works in the block, whether it succeeds or not; see docs/monitoring.md.

    The lineage stands in the run's folder, which never changes once the run was published: it is left out if it was before.

    Args:
        job: the whole job, which holds its run.
        environment: where the variables of OpenLineage and MLflow are looked for.
        xcom_folder: Airflow's, if it is there.
    """
    began = time.time()
    fixed = _is_fixed(job)
    if not fixed:
        first = _figures(job, began, EXIT_DONE, "")
        _try(job, "the lineage", lambda: lineage.add(first, lineage.started(first, environment)))

    def tell(code: int, reason: str) -> None:
        figures = _figures(job, began, code, reason)
        if not fixed:
            _try(job, "the lineage", lambda: lineage.add(figures, lineage.ended(figures, environment)))
        _tell_prometheus(job, figures)
        _try(job, "Airflow", lambda: xcom.write(figures, xcom_folder))
        _try(job, "MLflow", lambda: mlflow_log.log(figures, environment))

    try:
        yield
    except BaseException as error:
        job.stop.ignore()
        code, reason = exit_code(error), printable(str(error) or type(error).__name__)
        _try(job, "other tools", lambda: tell(code, reason))
        raise
    job.stop.ignore()
    _try(job, "other tools", lambda: tell(EXIT_DONE, ""))


def _is_fixed(job: Job) -> bool:
    """Whether the run was published before, or may have been."""
    try:
        return latest.was_published(job.run.manifest(), latest.read(job.run.output))
    except DamagedError:  # the stages will say so
        return True


def _figures(job: Job, began: float, code: int, reason: str) -> Figures:
    run, name = job.run, job.config.monitoring.name
    return Figures(name, run.output, run.folder, run.manifest(), began, time.time(), code, reason)


def _tell_prometheus(job: Job, figures: Figures) -> None:
    file, gateway = job.config.monitoring.textfile, job.config.monitoring.pushgateway
    if file is None and gateway is None:
        return
    from recsys.monitoring import prometheus

    if file is not None:
        _try(job, "Prometheus", lambda: prometheus.write(file, figures))
    if gateway is not None:
        _try(job, "the Pushgateway", lambda: prometheus.push(gateway, figures))


def _try(job: Job, whom: str, tell: Callable[[], None]) -> None:
    try:
        tell()
    except Exception as error:
        job.progress(f"  warning: the run could not be told to {whom}: {type(error).__name__}: {error}")
