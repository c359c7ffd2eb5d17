"""latest.json: which run is published, and which were before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from recsys import storage
from recsys.contract import schema
from recsys.errors import ConfigError, DamagedError
from recsys.progress import Log, silent
from recsys.run.gate import GATE_METRIC, Measured
from recsys.run.runs import DELETED, PUBLISHED, RUNS_DIR, Run, exists, find, now

_KNOWN: Final = 100
"""So many earlier runs latest.json names; older ones can still be returned to by name."""
_EXPECTED: Final[Mapping[str, Callable[[Any], bool]]] = {
    "run_id": lambda value: isinstance(value, str),
    "replaced": lambda value: value is None or isinstance(value, str),
    "published_before": lambda value: isinstance(value, list) and all(isinstance(one, str) for one in value),
    GATE_METRIC: lambda value: value is None or isinstance(value, int | float),
}


def path(output: str) -> str:
    """Where an output's latest.json is."""
    return storage.join(output, schema.LATEST_FILE)


def snapshot(output: str) -> storage.Snapshot:
    """latest.json as it is now, in order to replace it; empty before the first run is published.

    Raises:
        DamagedError: it is no JSON object, or what it says of runs is not of its type.
    """
    found = storage.read_snapshot(path(output))
    for name, expected in _EXPECTED.items():
        if name in found.value and not expected(found.value[name]):
            raise DamagedError(f"{found.uri} is damaged: {name} is not of its type", found.uri)
    return found


def read(output: str) -> dict[str, Any]:
    """The content of latest.json; empty before the first run is published."""
    return snapshot(output).value


def published_run(output: str) -> str | None:
    """Id of the run that latest.json names; None before the first run is published."""
    return read(output).get("run_id")


def followed(output: str, run_id: str | None) -> Run:
    """The named run, or without a name the published one.

    Raises:
        ConfigError: there is no such run, or nothing is published.
        DamagedError: latest.json names a run that is not there.
    """
    named = run_id if run_id is not None else published_run(output)
    if named is None:
        raise ConfigError(f"nothing is published in {output}; run `recsys run --output {output}`, or name a run by its id")
    if run_id is None and not exists(Run(output, named)):
        raise DamagedError(f"{path(output)} names run {named}, which is not in {output}", path(output))
    return find(output, named)


def published_before(latest: Mapping[str, Any]) -> list[str]:
    """Ids of the runs that were published before the current one, the newest first; some may have been deleted since."""
    found = latest.get("published_before", [latest.get("replaced")])
    return [run_id for run_id in found if run_id is not None]


def previous(output: str, warn: Log = silent) -> Run:
    """The run that was published before the current one; those that are deleted by now are passed over.

    Args:
        output: folder or URI of the output.
        warn: receives which runs were passed over because their run.json is damaged.

    Raises:
        ConfigError: there is none.
    """
    latest = read(output)
    for run_id in published_before(latest):
        run = Run(output, run_id)
        try:
            if exists(run) and run.manifest()["status"] != DELETED:
                return run
        except DamagedError as error:
            warn(f"run {run_id} is passed over: {error}")
    present = latest.get("run_id", "now")
    raise ConfigError(f"no run that is still in {output} was published before {present}; name a run by its id")


def was_published(manifest: Mapping[str, Any], latest: Mapping[str, Any]) -> bool:
    """Whether a run is or was published: by its status or, if a process died before it set that, by latest.json."""
    named = (latest.get("run_id"), *published_before(latest))
    return manifest["run_id"] in named or manifest["status"] == PUBLISHED


def move(run: Run, before: storage.Snapshot, found: Measured, back: bool = False) -> dict[str, Any]:
    """Replaces latest.json, unless another process has done so since it was read; then sets the run's status.

    Args:
        run: the run that readers shall follow.
        before: latest.json as it was read.
        found: what was measured of the run.
        back: whether this undoes what was published after the run.

    Returns:
        The new content of latest.json.

    Raises:
        RetryError: another process was faster, or the storage fails.
    """
    old = before.value
    present, known = old.get("run_id"), published_before(old)
    if present == run.run_id:
        replaced, earlier = old.get("replaced"), known
    elif back and run.run_id in known:
        replaced, earlier = present, known[known.index(run.run_id) + 1 :]
    else:
        replaced, earlier = present, [name for name in (present, *known) if name not in (None, run.run_id)]
    latest = {
        "run_id": run.run_id,
        "recommendations": "/".join([RUNS_DIR, run.run_id, schema.RECOMMENDATIONS_DIR]),
        "run": "/".join([RUNS_DIR, run.run_id, schema.RUN_FILE]),
        "published_at": now(),
        "measured": found.usable,
        "split": found.split,
        GATE_METRIC: found.score if found.usable else None,
        "replaced": replaced,
        "published_before": earlier[:_KNOWN],
    }
    storage.replace_json(before, latest)
    run.update({"status": PUBLISHED})
    return latest
