"""Two runs side by side: `recsys compare`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from recsys import settings
from recsys.contract import schema
from recsys.contract.features_info import read_info
from recsys.errors import ConfigError
from recsys.progress import Log, silent
from recsys.run import gate, latest
from recsys.run.earlier import LATEST
from recsys.run.job import STAGES, is_done
from recsys.run.runs import DELETED, Run, exists, find

PREVIOUS: Final = "previous"
_NEEDED: Final = ("features", "recommend")
_SIZES: Final = ("users", "items", "events", "train_events", "valid_events", "test_events")


def compare(output: str, first: str, second: str, warn: Log = silent) -> dict[str, Any]:
    """What differs between two runs of an output, as JSON types.

    Args:
        output: folder or URI of the output.
        first, second: ids of runs, LATEST for the published one, PREVIOUS for the one published before.
        warn: receives which runs were passed over because their run.json is damaged.

    Returns:
        docs/looking.md explains the keys. Of two values the first is the first run's.

    Raises:
        ConfigError: there is no such run, it has not finished, or both are the same.
    """
    from recsys.recommend import overlap

    runs = [_found(output, name, warn) for name in (first, second)]
    if runs[0] == runs[1]:
        raise ConfigError(f"both are run {runs[0].run_id}; name two runs")
    infos = [read_info(run.path(schema.FEATURES_DIR)) for run in runs]
    lists = [run.path(schema.RECOMMENDATIONS_DIR) for run in runs]
    manifests = [run.manifest() for run in runs]
    return {
        "runs": [run.run_id for run in runs],
        "settings": _different(*(_settings(run) for run in runs)),
        "made_with": _different(*(_made_with(manifest) for manifest in manifests)),
        "data": {name: [getattr(info, name) for info in infos] for name in _SIZES},
        "evaluation": _evaluation(runs),
        "lists": overlap.compare(*lists),
        "stages": {
            name: _cost(name, manifests) for name in STAGES if any(name in manifest["stages"] for manifest in manifests)
        },
    }


def _found(output: str, name: str, warn: Log) -> Run:
    """The run of that name, if it has finished."""
    if name in (LATEST, PREVIOUS) and not exists(Run(output, name)):
        run = latest.followed(output, None) if name == LATEST else latest.previous(output, warn)
    else:
        run = find(output, name)
    if run.manifest()["status"] == DELETED:
        raise ConfigError(f"run {run.run_id} is being deleted (publish.keep_runs); name another one")
    missing = [stage for stage in _NEEDED if not is_done(run, stage)]
    if missing:
        raise ConfigError(
            f"run {run.run_id} has not finished '{missing[0]}': to do so, run the command that began it again, with "
            f"--run-id {run.run_id}"
        )
    return run


def _settings(run: Run) -> dict[str, Any]:
    found = settings.leaves(settings.to_record(run.config()))
    return {".".join(place): list(value) if isinstance(value, tuple) else value for place, value in found.items()}


def _made_with(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """What else a result may depend on."""
    hardware = manifest["stages"].get("train", {}).get("hardware", {})
    return {
        **{name: manifest.get(name) for name in ("revision", "image")},
        **manifest.get("versions", {}),
        "cores": manifest.get("host", {}).get("cores"),
        "device": ", ".join(hardware.get("names", [])) or None,
        "warm_start": (manifest.get("warm_start") or {}).get("from"),
    }


def _different(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, list[Any]]:
    names = dict.fromkeys([*first, *second])
    return {name: [first.get(name), second.get(name)] for name in names if first.get(name) != second.get(name)}


def _evaluation(runs: list[Run]) -> dict[str, Any]:
    """See paired_runs.compare; with "missing" alone, in words, where a run was not measured."""
    from recsys.evaluation import paired_runs

    missing = [f"run {run.run_id}: {found}" for run in runs if (found := gate.measured(run).missing)]
    if missing:
        return {"missing": "; ".join(missing)}
    both = [paired_runs.read(run.path(schema.FEATURES_DIR), run.path(schema.EVALUATION_DIR)) for run in runs]
    splits, methods = [gate.measured(run).split for run in runs], [one.published for one in both]
    return {"splits": splits, "methods_published": methods, **paired_runs.compare(both[0], both[1])}


def _cost(stage: str, manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """Seconds, and the peak of the memory in bytes, Spark's process included, None where the stage has not run."""
    facts = [manifest["stages"].get(stage, {}) for manifest in manifests]
    peaks = [max(fact.get("peak_bytes", 0), fact.get("spark_peak_bytes", 0)) or None for fact in facts]
    return {"seconds": [fact.get("seconds") for fact in facts], "peak_bytes": peaks}
