"""A run as a run of MLflow, where MLFLOW_TRACKING_URI is set: settings, metrics, the report."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from recsys import settings, storage
from recsys.contract import schema
from recsys.errors import MissingComponentError
from recsys.monitoring.run_figures import Figures

VARIABLE: Final = "MLFLOW_TRACKING_URI"
EXPERIMENT_VARIABLE: Final = "MLFLOW_EXPERIMENT_NAME"
PATIENCE: Final = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}
"""Unless set: MLflow's own values would let a run wait for minutes for a server that is away."""
FILES: Final = (
    (schema.EVALUATION_DIR, schema.METRICS_FILE),
    (schema.REPORT_DIR, schema.REPORT_FILE),
    (schema.REPORT_DIR, schema.CARD_FILE),
)
"""What is kept beside the figures, as far as it is there."""
_AT_ONCE: Final = 100
_LONGEST: Final = 500


def log(figures: Figures, environment: Mapping[str, str]) -> None:
    """Logs a run to the experiment MLFLOW_EXPERIMENT_NAME, by default one of the job's name; without the variable nothing.

    Raises:
        MissingComponentError: MLflow is not installed.
        Exception: of MLflow.
    """
    place = environment.get(VARIABLE)
    if not place:
        return
    try:
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param
    except ImportError:
        raise MissingComponentError(f"{VARIABLE} is set, but MLflow is not installed: pip install 'recsys[mlflow]'") from None
    with _patience():
        client = MlflowClient(tracking_uri=place)
        name = environment.get(EXPERIMENT_VARIABLE) or figures.name
        known = client.get_experiment_by_name(name)
        experiment = client.create_experiment(name) if known is None else known.experiment_id
        began, ended = int(1000 * figures.began), int(1000 * figures.ended)
        run = client.create_run(experiment, start_time=began, tags=_tags(figures), run_name=figures.run_id).info.run_id
        # Names of metrics have no @.
        metrics = [Metric(key.replace("@", "_at_"), value, ended, 0) for key, value in _metrics(figures).items()]
        leaves = settings.leaves(figures.manifest["config"])
        params = [Param(".".join(at), str(value)[:_LONGEST]) for at, value in leaves.items() if value is not None]
        for start in range(0, max(len(metrics), len(params)), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            client.log_batch(run, metrics[part], params[part])
        _log_files(client, run, figures)
        client.set_terminated(run, "FINISHED" if figures.succeeded else "FAILED", ended)


def _tags(figures: Figures) -> dict[str, str]:
    manifest = figures.manifest
    found = {"run_id": figures.run_id, "output": figures.output, "exit_code": figures.exit_code, "reason": figures.reason}
    found |= {name: manifest.get(name) for name in ("image", "revision", "published_method")}
    found |= {f"version.{name}": version for name, version in manifest["versions"].items()}
    return {f"recsys.{name}": str(value)[:_LONGEST] for name, value in found.items() if value not in (None, "")}


def _metrics(figures: Figures) -> dict[str, float]:
    found = dict(figures.scores())
    found |= {f"{stage}.{key}": value for key in ("seconds", "peak_bytes") for stage, value in figures.numbers(key).items()}
    return {**found, **figures.counts(), "seconds": figures.ended - figures.began}


def _log_files(client: Any, run: str, figures: Figures) -> None:
    with storage.scratch("mlflow") as temporary:
        for folder, name in FILES:
            file = storage.join(figures.folder, folder, name)
            if storage.exists(file):
                local = Path(temporary) / name
                with storage.open_input(file) as stream:
                    local.write_bytes(stream.read())
                client.log_artifact(run, str(local))


@contextmanager
def _patience() -> Iterator[None]:
    """PATIENCE in the environment, which is the only place where MLflow looks for it."""
    added = {name: value for name, value in PATIENCE.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
