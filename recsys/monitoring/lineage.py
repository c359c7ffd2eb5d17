"""What a run has read and written, as events of OpenLineage (https://openlineage.io/spec/2-0-2/OpenLineage.json)."""

from __future__ import annotations

import itertools
import json
import os
import re
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from recsys import __version__, storage
from recsys.contract import schema
from recsys.monitoring.run_figures import Figures

PRODUCER: Final = f"urn:recsys:{__version__}"
NAMESPACE_VARIABLE: Final = "OPENLINEAGE_NAMESPACE"
PARENT_VARIABLE: Final = "OPENLINEAGE_PARENT_ID"
"""NAMESPACE/NAME/RUN-ID, as Airflow's macro lineage_parent_id gives it."""
_SPEC: Final = "https://openlineage.io/spec"
_PARENT: Final = re.compile(r"([^/]+)/(.+)/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)


def started(figures: Figures, environment: Mapping[str, str]) -> dict[str, Any]:
    """The event at the beginning of a command."""
    return _event("START", figures.began, figures, environment)


def ended(figures: Figures, environment: Mapping[str, str]) -> dict[str, Any]:
    """The event at its end: COMPLETE with the recommendations, or FAIL with the reason."""
    kind = "COMPLETE" if figures.succeeded else "FAIL"
    event = _event(kind, figures.ended, figures, environment)
    if figures.succeeded:
        event["outputs"] = [_recommendations(figures)]
    else:
        words = {"message": figures.reason, "programmingLanguage": "Python"}
        event["run"]["facets"]["errorMessage"] = _facet("1-0-1/ErrorMessageRunFacet", **words)
    event["inputs"] = _inputs(figures)
    return event


def add(figures: Figures, event: Mapping[str, Any]) -> None:
    """Adds an event to those in the run's folder, a JSON array; an earlier attempt at the same run may have left some.

    Raises:
        RecsysError: the file cannot be read or written.
    """
    place, events = storage.join(figures.folder, schema.LINEAGE_FILE), []
    if storage.exists(place):
        with storage.undamaged(place), storage.open_input(place) as stream:
            events = json.loads(stream.read())
    with storage.atomic_output(place) as stream:
        stream.write(json.dumps([*events, event], indent=2).encode())


def _event(kind: str, moment: float, figures: Figures, environment: Mapping[str, str]) -> dict[str, Any]:
    engine = _facet("1-1-1/ProcessingEngineRunFacet", version=__version__, name="recsys", openlineageAdapterVersion=__version__)
    facets = {"processing_engine": engine}
    if parent := _PARENT.fullmatch(environment.get(PARENT_VARIABLE, "")):
        namespace, name, run_id = parent.groups()
        words = {"run": {"runId": run_id}, "job": {"namespace": namespace, "name": name}}
        facets["parent"] = _facet("1-2-0/ParentRunFacet", **words)
    attempt = uuid.uuid5(uuid.NAMESPACE_URL, f"{figures.folder}#{figures.began}")
    job_type = _facet("2-0-4/JobTypeJobFacet", processingType="BATCH", integration="RECSYS", jobType="JOB")
    return {
        "eventType": kind,
        "eventTime": datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds"),
        "run": {"runId": str(attempt), "facets": facets},
        "job": {
            "namespace": environment.get(NAMESPACE_VARIABLE) or "default",
            "name": figures.name,
            "facets": {"jobType": job_type},
        },
        "inputs": [],
        "outputs": [],
        "producer": PRODUCER,
        "schemaURL": f"{_SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
    }


def _facet(kind: str, /, **words: Any) -> dict[str, Any]:
    schema_url = f"{_SPEC}/facets/{kind}.json#/$defs/{kind.partition('/')[2]}"
    return {"_producer": PRODUCER, "_schemaURL": schema_url, **words}


def _inputs(figures: Figures) -> list[dict[str, Any]]:
    """A dataset for each table that was read: its file, or the folder of its files."""
    tables: dict[str, list[Mapping[str, Any]]] = {}
    for entry in figures.manifest.get("inputs", ()):
        tables.setdefault(entry["table"], []).append(entry)
    found = []
    for files in tables.values():
        place = files[0]["path"] if len(files) == 1 else _folder([entry["path"] for entry in files])
        sizes = {"size": sum(entry["bytes"] or 0 for entry in files), "fileCount": len(files)}
        statistics = _facet("1-0-0/InputStatisticsInputDatasetFacet", **sizes)
        found.append({**_dataset(place), "inputFacets": {"inputStatistics": statistics}})
    return found


def _folder(paths: Sequence[str]) -> str:
    """The deepest folder that holds all of them; of URIs too. Of paths from the root it is "/" if nothing else is shared."""
    shared = itertools.takewhile(lambda names: len(set(names)) == 1, zip(*(path.split("/") for path in paths), strict=False))
    return "/".join(names[0] for names in shared) or ("/" if paths[0].startswith("/") else "")


def _recommendations(figures: Figures) -> dict[str, Any]:
    facts = figures.stage("recommend")
    size = sum(written["bytes"] for written in facts["written"])
    words = {"rowCount": facts["rows"], "size": size, "fileCount": facts["files"]}
    statistics = _facet("1-0-2/OutputStatisticsOutputDatasetFacet", **words)
    return {**_dataset(figures.recommendations), "outputFacets": {"outputStatistics": statistics}}


def _dataset(place: str) -> dict[str, str]:
    """Namespace and name of a path or URI (https://openlineage.io/docs/spec/naming)."""
    scheme, there, rest = place.partition("://")
    if not there:
        return {"namespace": "file", "name": os.path.abspath(place)}
    authority, _, name = rest.partition("/")
    return {"namespace": f"{scheme}://{authority}", "name": name or "/"}
