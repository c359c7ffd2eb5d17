"""The Python API: what the commands do, as functions. `from recsys import …` gives every name of it.

Settings have the names, bounds and precedence that they have on the command line, and the same files come out. The functions
raise the errors of recsys.errors where a command would exit, and print nothing: `progress` takes the lines that a command would
print, and may be `print`. What a command prints even with --quiet is a warning of Python's. Whatever ends a call, what had
finished is kept: called again, it goes on from there, training from its last checkpoint. Make one call at a time in a process,
since TMPDIR and TensorFlow are set for all of it.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from recsys import settings
from recsys.config import Config
from recsys.errors import (
    ConfigError,
    DamagedError,
    DataError,
    MissingComponentError,
    RecsysError,
    RefusedError,
    RetryError,
)
from recsys.progress import Log, Progress, silent
from recsys.redaction import printable
from recsys.results import Run
from recsys.run import ending, job, latest, opening, runs
from recsys.run.stages import Job
from recsys.shortcuts import SHORTCUTS

__all__ = [
    "Config",
    "ConfigError",
    "DamagedError",
    "DataError",
    "MissingComponentError",
    "RecsysError",
    "RefusedError",
    "RetryError",
    "Run",
    "build_features",
    "configure",
    "evaluate_model",
    "open_run",
    "publish_run",
    "recommend_items",
    "report_run",
    "run_job",
    "train_model",
]

ORIGIN: Final = "Python"
"""Where settings came from, in messages."""
Place = str | os.PathLike[str]


def configure(
    file: Place | None = None,
    /,
    *,
    output: Place | None = None,
    dataset: str | None = None,
    dataset_path: Place | None = None,
    split: str | None = None,
    k: int | None = None,
    epochs: int | None = None,
    warm_start: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    precision: str | None = None,
    xla: str | None = None,
    spark_master: str | None = None,
    set: Mapping[str, Any] | None = None,
) -> Config:
    """A configuration: defaults < file < environment (RECSYS__SECTION__FIELD) < these arguments.

    Args:
        file: a TOML file, as for --config.
        output, dataset, dataset_path, split, k, epochs, warm_start, seed, device, precision, xla, spark_master: as the options
            of `recsys run`.
        set: any settings by their dotted names, as for --set.

    Raises:
        ConfigError: a setting is unknown or wrong, or the file cannot be read; names all of them.

    >>> config = configure(k=5, set={"source.synthetic.users": 60})
    >>> config.recommend.k, config.source.synthetic.users
    (5, 60)
    >>> configure(epochs=0)
    Traceback (most recent call last):
    recsys.errors.ConfigError: 'training.epochs' must be a whole number, at least 1 and at most 10,000, not 0 (Python)
    """
    given = locals()
    options = [*((field, given[name]) for name, field in SHORTCUTS.items()), *(set or {}).items()]
    paths = [(field, os.fspath(value) if isinstance(value, os.PathLike) else value) for field, value in options]
    return settings.resolve(None if file is None else os.fspath(file), os.environ, paths, ORIGIN).config


def build_features(config: Config, *, run_id: str | None = None, progress: Log | None = None) -> Run:
    """Begins a run: cleans, indexes, splits and encodes the events with Spark, in a process of its own.

    Args, errors: see `run_job`.

    >>> config = configure()
    >>> run = build_features(config, run_id="first")
    >>> run.features.train_events + run.features.valid_events + run.features.test_events == run.features.events
    True
    """
    return _begin(config, ("features",), run_id, progress)


def train_model(run: Run, *, redo: bool = False, set: Mapping[str, Any] | None = None, progress: Log | None = None) -> Run:
    """Trains the network on a run's features and fits the blend that is published.

    Args:
        run: its features are built.
        redo: train again although it is done, and discard what depends on it. A run that was published never changes.
        set: settings of the stage, by their dotted names: of the sections model and training.
        progress: takes lines of progress, such as `print`.

    Returns:
        The same run.

    Raises:
        ConfigError: an earlier stage has not finished, or a setting is wrong or belongs to one.
        RecsysError: training failed; see also `run_job`.

    >>> run = train_model(run)
    >>> bool(run.history["loss"].notna().all())
    True
    """
    return _resume("train", run, redo, set, progress)


def evaluate_model(run: Run, *, redo: bool = False, set: Mapping[str, Any] | None = None, progress: Log | None = None) -> Run:
    """Measures the blend, its network and the traditional methods on the test events.

    Args, errors: see `train_model`; settings of the section evaluation.

    >>> run = evaluate_model(run)
    >>> run.metrics.index[0]
    'blend'
    """
    return _resume("evaluate", run, redo, set, progress)


def recommend_items(run: Run, *, redo: bool = False, set: Mapping[str, Any] | None = None, progress: Log | None = None) -> Run:
    """Writes the top K items of every user as Parquet.

    Args, errors: see `train_model`; settings of the section recommend.

    >>> run = recommend_items(run)
    >>> len(run.recommendations(user_id=1))
    10
    """
    return _resume("recommend", run, redo, set, progress)


def report_run(run: Run, *, redo: bool = False, set: Mapping[str, Any] | None = None, progress: Log | None = None) -> Run:
    """Writes report.html and MODEL_CARD.md from what the run has so far, into the folder `report` of the run's.

    Args, errors: see `train_model`; there is no setting of this stage. `redo` also makes that of a published run anew.

    >>> run = report_run(run)
    >>> run.stages[-1]
    'report'
    """
    return _resume("report", run, redo, set, progress)


def publish_run(run: Run, *, redo: bool = False, set: Mapping[str, Any] | None = None, progress: Log | None = None) -> Run:
    """Points latest.json to the run if it passes the quality gate, then deletes old runs (publish.keep_runs).

    Args, errors: see `train_model`; settings of the section publish. And:

    Raises:
        RefusedError: the run is not good enough, was not measured, or is damaged; the last published run stays in place.

    >>> publish_run(run) == open_run()
    True
    """
    return _resume("publish", run, redo, set, progress)


def run_job(config: Config, *, run_id: str | None = None, progress: Log | None = None) -> Run:
    """Runs everything: features, train, evaluate, recommend, report, publish; the same as `recsys run`.

    An unfinished run with the same settings is resumed: finished stages are skipped.

    Args:
        config: from `configure`.
        run_id: name of the run. By default the newest if it is unfinished and has the same settings, else a new one.
        progress: takes lines of progress, such as `print`.

    Raises:
        ConfigError: a setting is wrong for this machine, or the named run was made with others.
        DataError: the events cannot be used.
        MissingComponentError: Java, TensorFlow or a required GPU is missing.
        RefusedError: the run did not pass the quality gate (the section publish) and is not published; all else is done.
        RetryError: the storage, the disk or another process is in the way for now.

    >>> run = run_job(config, run_id="first")
    >>> run.stages
    ('features', 'train', 'evaluate', 'recommend', 'report', 'publish')
    """
    return _begin(config, job.STAGES, run_id, progress)


def open_run(output: Place | None = None, run_id: str | None = None) -> Run:
    """A run that is there already.

    Args:
        output: folder or URI of the output; by default RECSYS__OUTPUT or `out`, as for the commands.
        run_id: name of the run, finished or not; by default the published one.

    Raises:
        ConfigError: there is no such run, or nothing is published.
        DamagedError: latest.json names a run that is not there.

    >>> open_run().run_id
    'first'
    >>> open_run(run_id="second")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    recsys.errors.ConfigError: run second: no such run in ...; it has: first
    """
    with _actionable():
        found = latest.followed(settings.output(os.environ, None if output is None else os.fspath(output)), run_id)
    return Run(found.output, found.run_id)


class _Told(Progress):
    """Progress that hands each line to a function."""

    def __init__(self, log: Log) -> None:
        super().__init__(quiet=True)
        self._log = log

    def __call__(self, text: str) -> None:
        self._log(printable(text))


def _begin(config: Config, names: tuple[str, ...], run_id: str | None, progress: Log | None) -> Run:
    with _actionable():
        begun = opening.begin(config, names, run_id, lambda _: _Told(progress or silent), ending.Stop(), 0.0, _warn)
        return _executed(begun, names, False)


def _resume(stage: str, run: Run, redo: bool, changes: Mapping[str, Any] | None, progress: Log | None) -> Run:
    with _actionable():
        found = runs.find(run.output, run.run_id)
        told, changed = _Told(progress or silent), (changes or {}).items()
        resumed = opening.resume(stage, found, changed, os.environ, told, ending.Stop(), 0.0, _warn, ORIGIN)
        return _executed(resumed, (stage,), redo)


def _executed(begun: Job, names: tuple[str, ...], redo: bool) -> Run:
    job.execute(begun, names, redo)
    return Run(begun.run.output, begun.run.run_id)


@contextmanager
def _actionable() -> Iterator[None]:
    """What libraries raise for a full disk, memory that ran out and the like becomes the error that a command ends with."""
    try:
        yield
    except Exception as error:
        known = ending.known(error)
        if known is None or known is error:
            raise
        raise known from error


def _warn(line: str) -> None:
    warnings.warn(printable(line), stacklevel=2)
