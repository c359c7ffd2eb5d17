"""The figures of a run for Prometheus: a file for node exporter's textfile collector, or a push to a Pushgateway."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit, urlunsplit

from prometheus_client import CollectorRegistry, Gauge, pushadd_to_gateway, write_to_textfile
from prometheus_client.exposition import basic_auth_handler, default_handler
from prometheus_client.parser import text_string_to_metric_families

from recsys.monitoring.run_figures import Figures

LAST_SUCCESS: Final = "recsys_last_success_timestamp_seconds"
TIMEOUT_SECONDS: Final = 10.0


def write(path: str, figures: Figures) -> None:
    """Replaces the file in one step; of a run that has failed, the time of the last success stays as it was.

    Raises:
        OSError: the file cannot be written.
    """
    registry = _registry(figures)
    before = None if figures.succeeded else _last_success(path, figures.name)
    if before is not None:
        _add_last_success(registry, figures.name, before)
    write_to_textfile(path, registry)


def push(url: str, figures: Figures) -> None:
    """Replaces the figures of the job at the gateway, by name: what a failed run does not have stays as it was.

    Args:
        url: of the gateway; user and password in it are sent as basic authentication.
        figures: the grouping key is their name, as `job`.

    Raises:
        OSError: the gateway cannot be reached, or refuses them.
    """
    parts = urlsplit(url)
    handler = default_handler
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
        handler = functools.partial(basic_auth_handler, username=user, password=password)
        url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    pushadd_to_gateway(url, figures.name, _registry(figures), timeout=TIMEOUT_SECONDS, handler=handler)


def _registry(figures: Figures) -> CollectorRegistry:
    registry = CollectorRegistry()

    def add(name: str, text: str, values: Iterable[tuple[Mapping[str, str], float]]) -> None:
        found = list(values)
        if found:
            gauge = Gauge(name, text, ["name", *found[0][0]], registry=registry)
            for labels, value in found:
                gauge.labels(name=figures.name, **labels).set(value)

    def by(label: str, values: Mapping[str, float]) -> Iterable[tuple[Mapping[str, str], float]]:
        return (({label: key}, value) for key, value in values.items())

    add("recsys_last_run_exit_code", "Exit code of the last recsys run.", [({}, figures.exit_code)])
    add("recsys_last_run_timestamp_seconds", "When the last recsys run ended.", [({}, figures.ended)])
    add("recsys_run_duration_seconds", "How long the last recsys run took.", [({}, figures.ended - figures.began)])
    add("recsys_stage_duration_seconds", "How long a stage of the run took.", by("stage", figures.numbers("seconds")))
    add("recsys_stage_peak_bytes", "Peak resident memory of the process by stage.", by("stage", figures.numbers("peak_bytes")))
    spark = by("stage", figures.numbers("spark_peak_bytes"))
    add("recsys_spark_peak_bytes", "Peak resident memory of Spark's processes together.", spark)
    for key, number in figures.counts().items():
        add(f"recsys_{key}", f"Number of {key} in the features of the run.", [({}, number)])
    rejected = [
        ({"table": table, "reason": reason}, float(number))
        for table, reasons in figures.rejected().items()
        for reason, number in reasons.items()
    ]
    add("recsys_rejected_rows", "Rows set aside, by table and reason.", rejected)
    add("recsys_score", "Metrics of the published method on the test events.", by("metric", figures.scores()))
    if figures.succeeded:
        _add_last_success(registry, figures.name, figures.ended)
    return registry


def _add_last_success(registry: CollectorRegistry, name: str, moment: float) -> None:
    Gauge(LAST_SUCCESS, "When a recsys run last succeeded.", ["name"], registry=registry).labels(name=name).set(moment)


def _last_success(path: str, name: str) -> float | None:
    """What the file says already."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    except (OSError, ValueError):  # none yet, or not one of ours
        return None
    return next((one.value for one in samples if one.name == LAST_SUCCESS and one.labels == {"name": name}), None)
