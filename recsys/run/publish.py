"""The quality gate, and latest.json: the single write that moves readers of the output to another run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow.parquet as pq

from recsys import storage
from recsys.config import Publish
from recsys.contract import schema
from recsys.errors import ConfigError, RefusedError
from recsys.run.runs import RUNS_DIR, Run, find, newest_first, now

GATE_METRIC = "ndcg@10"
PUBLISHED = "published"
"""Status of a run that latest.json names or has named."""


def publish(gate: Publish, run: Run) -> dict[str, Any]:
    """Points latest.json to the run, if it passes the gate. The run that it is compared with is the one that it replaces.

    Raises:
        RefusedError: the run is not good enough; latest.json stays as it is.
        RetryError: another process is publishing to the same output.
    """
    with storage.lock(run.output, advice="run the same command again"):
        before = storage.read_snapshot(_latest_file(run.output))
        reasons = refusals(gate, run, before.value)
        if reasons:
            run.update({"status": "refused"})
            raise RefusedError(
                f"run {run.run_id} is not published: {'; '.join(reasons)}. The last published run stays in place"
            )
        latest = _move_latest(run, before)
        run.update({"status": PUBLISHED})
        return latest


def roll_back(output: str, run_id: str | None) -> dict[str, Any]:
    """Points latest.json back to a run published before: the named one, or the newest that is older than the current one.

    The gate is not asked again: the run has passed it, and being worse than the run it replaces is no reason to keep that one.
    It must be complete. The next run is compared with the restored one. A named run that is already published stays published.

    Raises:
        ConfigError: there is no such run, or it was never published.
        RefusedError: it is not complete; latest.json stays as it is.
        RetryError: a process is working on that run, or publishing to the output.
    """
    run = find(output, run_id) if run_id is not None else _published_before(output)
    with storage.lock(run.folder), storage.lock(output, advice="run the same command again"):
        if run.manifest()["status"] != PUBLISHED:
            raise ConfigError(
                f"run {run.run_id} was never published; to publish it: recsys publish --output {output} --run-id {run.run_id}"
            )
        reasons = _incomplete(run)
        if reasons:
            raise RefusedError(f"run {run.run_id} cannot be restored: {'; '.join(reasons)}; name another one with --run-id")
        before = storage.read_snapshot(_latest_file(output))
        return before.value if before.value.get("run_id") == run.run_id else _move_latest(run, before)


def show_user(output: str, run_id: str | None, user: str, latest: int) -> str:
    """One user's latest events and recommendations of a run, as text; of the published run if `run_id` is None.

    Raises:
        ConfigError: there is no such run or user, or nothing is published.
    """
    from recsys.recommend.show import describe_user

    named = run_id if run_id is not None else published_run(output)
    if named is None:
        raise ConfigError(f"nothing is published in {output}; run `recsys run --output {output}`, or name a run with --run-id")
    run = find(output, named)
    features, recommendations = run.path(schema.FEATURES_DIR), run.path(schema.RECOMMENDATIONS_DIR)
    for stage, folder in (("features", features), ("recommend", recommendations)):
        if not storage.is_whole(folder):
            raise ConfigError(
                f"run {run.run_id} has nothing to show yet: recsys {stage} --output {output} --run-id {run.run_id}"
            )
    return describe_user(features, recommendations, run.run_id, user, latest)


def read_latest(output: str) -> dict[str, Any]:
    """latest.json; empty before the first run is published."""
    return storage.read_snapshot(_latest_file(output)).value


def published_run(output: str) -> str | None:
    """Id of the run that latest.json names; None before the first run is published."""
    return read_latest(output).get("run_id")


def _latest_file(output: str) -> str:
    return storage.join(output, schema.LATEST_FILE)


def _move_latest(run: Run, before: storage.Snapshot) -> dict[str, Any]:
    """Replaces latest.json, unless another process has done so since it was read."""
    replaced, metrics = before.value, _score(run)
    latest = {
        "run_id": run.run_id,
        "recommendations": "/".join([RUNS_DIR, run.run_id, schema.RECOMMENDATIONS_DIR]),
        "run": "/".join([RUNS_DIR, run.run_id, schema.RUN_FILE]),
        "published_at": now(),
        "split": metrics.get("split"),
        GATE_METRIC: metrics.get("score"),
        "replaced": replaced.get("replaced" if replaced.get("run_id") == run.run_id else "run_id"),
    }
    storage.replace_json(before, latest)
    return latest


def _published_before(output: str) -> Run:
    present = published_run(output)
    older = False
    for run, manifest in newest_first(output):
        if older and manifest["status"] == PUBLISHED:
            return run
        older = older or run.run_id == present
    raise ConfigError(f"no run in {output} was published before {present or 'now'}; name a run with --run-id")


def refusals(gate: Publish, run: Run, before: Mapping[str, Any]) -> list[str]:
    """Why the run must not be published; empty if it may be.

    Args:
        before: latest.json, which the run would replace.
    """
    reasons = _incomplete(run)
    metrics = _score(run)
    score = metrics.get("score")
    if score is None:
        return reasons
    if score < gate.min_ndcg:
        reasons.append(f"{GATE_METRIC} is {score:.4f}, publish.min_ndcg requires {gate.min_ndcg}")
    for name in gate.must_beat:
        baseline = metrics["baselines"].get(name)
        if baseline is not None and score < baseline:
            reasons.append(f"{GATE_METRIC} is {score:.4f}, {name} reaches {baseline:.4f} (publish.must_beat)")
    known = before.get(GATE_METRIC)
    if known is not None and before.get("split") == metrics["split"] and score < known * (1 - gate.max_drop):
        reasons.append(f"{GATE_METRIC} fell from {known:.4f} (run {before['run_id']}) to {score:.4f}, beyond publish.max_drop")
    return reasons


def _incomplete(run: Run) -> list[str]:
    folder = run.path(schema.RECOMMENDATIONS_DIR)
    if not storage.is_whole(folder):
        return ["its recommendations are incomplete"]
    rows = 0
    for path in storage.list_files(folder, ".parquet"):
        system, inner = storage.resolve(path)
        with system.open_input_file(inner) as file:
            rows += pq.ParquetFile(file).metadata.num_rows
    expected = run.manifest()["stages"]["recommend"]["rows"]
    return [] if rows == expected else [f"its recommendations have {rows} rows, {expected} were written"]


def _score(run: Run) -> dict[str, Any]:
    """Split, score of the published method and of the baselines; empty if nothing was held out."""
    path = run.path(schema.EVALUATION_DIR, schema.METRICS_FILE)
    if not storage.exists(path):
        return {}
    metrics = storage.read_json(path)
    if "methods" not in metrics:
        return {}
    scores = {name: method["metrics"][GATE_METRIC] for name, method in metrics["methods"].items()}
    own = scores.pop(metrics["comparison"]["method"])
    return {"split": metrics["protocol"]["split"], "score": own, "baselines": scores}
