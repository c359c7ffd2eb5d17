"""Publishing, and returning to an earlier run."""

from __future__ import annotations

from typing import Any

from recsys import storage
from recsys.config import Config
from recsys.contract import schema
from recsys.errors import ConfigError, RefusedError
from recsys.progress import Log, silent
from recsys.recommend import content
from recsys.run import latest as latest_json
from recsys.run.gate import measured, refusals
from recsys.run.runs import DELETED, Run, find

ADVICE = "run the same command again"


def publish(config: Config, run: Run, patience: float = 0.0) -> dict[str, Any]:
    """Points latest.json to the run, if it passes the gate. The run that it is compared with is the one that it replaces.

    A run that is or was published, and is refused now, keeps its status and all of run.json.

    Args:
        config: the configuration of the run; `config.publish` is the gate.
        run: a run whose recommendations are finished.
        patience: seconds to wait for another process that is publishing to the same output.

    Returns:
        The new content of latest.json.

    Raises:
        RefusedError: the run is not good enough, was not measured, or is damaged; latest.json stays as it is.
        RetryError: another process is publishing to the same output.
    """
    faults, found = _faults(run), measured(run)
    with storage.lock(run.output, patience=patience, advice=ADVICE):
        before = latest_json.snapshot(run.output)
        lasting = latest_json.was_published(run.manifest(), before.value)
        if faults:
            redo = f"recsys recommend --redo --output {run.output} --run-id {run.run_id}"
            faults.append("start a new run" if lasting else f"to write them again: {redo}")
        reasons = faults + refusals(config, run, found, before.value)
        if not (reasons and lasting):
            run.change_config(config, ("publish",))
        if reasons and not lasting:
            run.update({"status": "refused"})
        if reasons:
            said = "is not published again" if lasting else "is not published"
            raise RefusedError(f"run {run.run_id} {said}: {'; '.join(reasons)}. The last published run stays in place")
        return latest_json.move(run, before, found)


def roll_back(output: str, run_id: str | None, warn: Log = silent) -> dict[str, Any]:
    """Points latest.json back to a run published before: the named one, or the one before the current run.

    Which run that is says latest.json, not a clock; runs that are deleted by now are passed over. The gate is not asked again:
    the run has passed it, and being worse than the run it replaces is no reason to keep that one. It must be complete and
    undamaged. The next run is compared with the restored one. A named run that is already published stays published.

    Args:
        output: folder or URI of the output.
        run_id: the run, or None.
        warn: receives which runs were passed over because their run.json is damaged.

    Raises:
        ConfigError: there is no such run, or it was never published.
        RefusedError: it is incomplete or damaged; latest.json stays as it is.
        RetryError: a process is working on that run, or publishing to the output.
    """
    run = find(output, run_id, warn) if run_id is not None else latest_json.previous(output, warn)
    with storage.lock(run.folder):
        manifest, faults, found = run.manifest(), _faults(run), measured(run)
        if manifest["status"] == DELETED:
            raise ConfigError(f"run {run.run_id} is being deleted (publish.keep_runs); name another one with --run-id")
        with storage.lock(output, advice=ADVICE):
            before = latest_json.snapshot(output)
            if not latest_json.was_published(manifest, before.value):
                raise ConfigError(
                    f"run {run.run_id} was never published; to publish it: "
                    f"recsys publish --output {output} --run-id {run.run_id}"
                )
            if faults:
                raise RefusedError(f"run {run.run_id} cannot be restored: {'; '.join(faults)}. Name another one with --run-id")
            if before.value.get("run_id") == run.run_id:
                return before.value
            return latest_json.move(run, before, found, back=True)


def _faults(run: Run) -> list[str]:
    """Why readers must not get the run's recommendations; empty if they may."""
    written = run.manifest()["stages"].get("recommend", {}).get("written", [])
    return content.faults(run.path(schema.RECOMMENDATIONS_DIR), written)
