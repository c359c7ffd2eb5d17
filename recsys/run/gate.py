"""The quality gate: why a run must not be published."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from recsys import storage
from recsys.config import Config
from recsys.contract import schema
from recsys.errors import ConfigError
from recsys.methods.translated import PUBLISHED
from recsys.run.runs import WARM_START, Run

GATE_METRIC = "ndcg@10"
NEWEST = " of the newest events"
"""What is said of a split of the events after an earlier run: no other night has the same."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What the evaluation says of a run.

    Attributes:
        split: how the test events were held out; None if the run was not evaluated.
        score: GATE_METRIC of the published method; None if it was not measured.
        baselines: GATE_METRIC of the other methods by name.
        missing: why nothing was measured, and what to do; empty if something was.
        beside: how much better the run is than the published one was on the same events: `difference`, `low` and `high` of the
            interval, `significant`; None if that was not measured, since the run was not asked to go on from it.
    """

    split: str | None = None
    score: float | None = None
    baselines: Mapping[str, float] = dataclasses.field(default_factory=dict)
    missing: str = ""
    beside: Mapping[str, float] | None = None

    @property
    def usable(self) -> bool:
        """Whether there is a score, and it is a number."""
        return self.score is not None and math.isfinite(self.score)


def check_attainable(config: Config) -> None:
    """Refuses, before a run begins, settings by which the gate would have to refuse it at the end.

    Raises:
        ConfigError: publish.must_beat names a method that is not evaluated.
    """
    left = [name for name in config.publish.must_beat if name not in config.evaluation.baselines]
    if left and config.split.method != "none":
        raise ConfigError(
            f"publish.must_beat names {', '.join(left)}, but evaluation.baselines does not, so the run could not be "
            "published; add it to evaluation.baselines, or remove it from publish.must_beat"
        )


def measured(run: Run) -> Measured:
    """What was measured of a run, by a complete evaluation."""
    folder = run.path(schema.EVALUATION_DIR)
    again = f"recsys evaluate --output {run.output} --run-id {run.run_id}"
    if "evaluate" not in run.manifest()["stages"]:
        return Measured(missing=f"it was not evaluated; to do so: {again}")
    if not storage.is_whole(folder):
        return Measured(missing=f"its evaluation in {folder} is not complete any more; to repeat it: {again}")
    return storage.read_record(storage.join(folder, schema.METRICS_FILE), _read)


def _read(metrics: Mapping[str, Any]) -> Measured:
    split = metrics["protocol"]["split"] + (NEWEST if metrics["protocol"].get("since") is not None else "")
    if "methods" not in metrics:
        return Measured(split, missing=f"{metrics['note']}; start a run with another split")
    scores = {name: method["metrics"][GATE_METRIC] for name, method in metrics["methods"].items()}
    score, beside = scores.pop(metrics["comparison"]["method"]), metrics["comparison"].get("minus", {}).get(PUBLISHED)
    return Measured(split, score, scores, beside=beside and beside[GATE_METRIC])


def refusals(config: Config, run: Run, found: Measured, before: Mapping[str, Any]) -> list[str]:
    """Why the run must not be published; empty if it may be.

    Args:
        config: `config.publish` is the gate. A run that holds nothing out has nothing to measure, and is not asked to.
        run: which run.
        found: what was measured of it.
        before: latest.json, which the run would replace.
    """
    gate = config.publish
    if found.score is None:
        allowed = gate.allow_unmeasured or config.split.method == "none"
        return [] if allowed else [f"{found.missing}; or publish it unmeasured with --set publish.allow_unmeasured=true"]
    score = found.score
    if not math.isfinite(score):
        return [f"{GATE_METRIC} is {score}: the network or the evaluation is broken; start a new run"]
    reasons = []
    if score < gate.min_ndcg:
        reasons.append(f"{GATE_METRIC} is {score:.4f}, publish.min_ndcg requires {gate.min_ndcg}")
    for name in gate.must_beat:
        baseline = found.baselines.get(name)
        if baseline is None:
            reasons.append(
                f"{name} was not evaluated, but publish.must_beat names it; to do so: recsys evaluate --redo "
                f"--set evaluation.baselines={','.join(gate.must_beat)} --output {run.output} --run-id {run.run_id}"
            )
        elif not score >= baseline:
            reasons.append(f"{GATE_METRIC} is {score:.4f}, {name} reaches {baseline:.4f} (publish.must_beat)")
    known = before.get(GATE_METRIC)
    goes_on_from = (run.manifest().get(WARM_START) or {}).get("run_id")
    if found.beside is not None and goes_on_from == before.get("run_id"):
        same = found.baselines[PUBLISHED]
        if found.beside["significant"] and found.beside["difference"] < 0 and score < same * (1 - gate.max_drop):
            reasons.append(
                f"{GATE_METRIC} is {score:.4f}, that of the published run {same:.4f} on the same events "
                f"(difference {found.beside['low']:.4f} to {found.beside['high']:.4f}), beyond publish.max_drop"
            )
    elif (
        known is not None
        and NEWEST not in str(found.split)
        and before.get("split") == found.split
        and score < known * (1 - gate.max_drop)
    ):
        reasons.append(f"{GATE_METRIC} fell from {known:.4f} (run {before['run_id']}) to {score:.4f}, beyond publish.max_drop")
    return reasons
