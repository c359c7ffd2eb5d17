"""The evaluation stage: every method on the test events → metrics.json and per_user.parquet."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys import storage
from recsys.config import Config
from recsys.contract import histories, schema
from recsys.contract.features_info import FeaturesInfo, read_info
from recsys.contract.histories import Histories
from recsys.evaluation import groups, summary
from recsys.measure import protocol
from recsys.measure.protocol import Result, Scorer
from recsys.measure.targets import Targets, decisive_from, find_targets, training_counts
from recsys.methods import traditional, tuning
from recsys.progress import Progress

PER_USER_FILE: Final = "per_user.parquet"


def evaluate_run(config: Config, features: str, folder: str, scorers: Sequence[Scorer], progress: Progress) -> dict[str, Any]:
    """Measures the given methods and the baselines of `evaluation.baselines` on the test events.

    Every baseline is tuned on validation and then fitted on training and validation events. Users with fewer events than
    `features.min_user_events` are neither learned from nor evaluated. Empties the evaluation folder, then writes
    metrics.json and per_user.parquet.

    Args:
        config: the sections evaluation and spark, and the seed.
        features: the features folder.
        folder: the evaluation folder.
        scorers: the published method first; its differences from all others get confidence intervals.
        progress: gets a line for each method, and how many of them are done.

    Returns:
        The content of metrics.json, see summary.summarise; without "methods" if nothing was measured.

    Raises:
        RecsysError: a method returned scores that are not finite.
    """
    storage.delete_folder(folder)
    storage.create_folder(folder)
    info = read_info(features)
    everything = histories.read_learnable(features, info.min_user_events)
    targets = find_targets(everything, "test", config.evaluation.max_users, config.seed)
    if not len(targets.rows):
        metrics = _nothing_measured(info)
    elif not (scorers or config.evaluation.baselines):
        metrics = _nothing_measured(info, "there is no method to measure")
    else:
        metrics = _measure(config, features, folder, everything, targets, info, scorers, progress)
    storage.write_json(storage.join(folder, schema.METRICS_FILE), metrics)
    return metrics


def _measure(
    config: Config,
    features: str,
    folder: str,
    everything: Histories,
    targets: Targets,
    info: FeaturesInfo,
    scorers: Sequence[Scorer],
    progress: Progress,
) -> dict[str, Any]:
    results: list[Result] = []
    facts: dict[str, dict[str, Any]] = {}
    for scorer, fact in _methods(config, everything, info, scorers, progress):
        result = protocol.evaluate(scorer, everything, targets, info.items)
        fact["seconds"]["evaluate"] = round(result.seconds, 3)
        progress(f"  {result.name}: NDCG@10 {result.per_user['ndcg@10'].mean():.4f} in {sum(fact['seconds'].values()):.1f} s")
        results.append(result)
        facts[result.name] = fact
    user_ids = histories.read_table(features, schema.USERS_DIR, [schema.USER_INDEX, schema.USER_ID])
    _write_per_user(storage.join(folder, PER_USER_FILE), results, user_ids)
    counts, _ = training_counts(everything, info.items)
    divided = groups.of_users(features, info.published, targets.user_index)
    return summary.summarise(config, info, results, facts, counts, everything.train_length[targets.rows], divided)


def _methods(
    config: Config, everything: Histories, info: FeaturesInfo, scorers: Sequence[Scorer], progress: Progress
) -> Iterator[tuple[Scorer, dict[str, Any]]]:
    """The given methods, then the baselines, one at a time so that only one is in memory; each with its facts."""
    total = len(scorers) + len(config.evaluation.baselines)
    for number, scorer in enumerate(scorers):
        progress.update(f"measuring {scorer.name}", number / total)
        yield scorer, {"seconds": {}}
    for number, name in enumerate(config.evaluation.baselines, start=len(scorers)):
        progress.update(f"fitting and measuring {name}", number / total)
        tuned = tuning.tune(traditional.find(name), everything, info.items, config, progress, decisive_from(info.split))
        seconds = {"fit": round(tuned.seconds, 3)}
        yield tuned.method, {"parameters": dict(tuned.parameters), "trials": tuned.trials, "seconds": seconds}


def _nothing_measured(info: FeaturesInfo, why: str | None = None) -> dict[str, Any]:
    method = info.split.method
    if why is None and info.split.holds_out:
        why = f"the split '{method}' left no test events"
    why = why or f"the split '{method}' holds no events out"
    protocol = {"split": method, "part": None, "users": 0, "items": info.items}
    return {"protocol": protocol, "note": f"nothing was measured: {why}"}


def _write_per_user(uri: str, results: Sequence[Result], users: pa.Table) -> None:
    """One row per method and user: method, user_index, user_id, context_events and every metric; one row group per method."""
    indices = users.column(schema.USER_INDEX).to_numpy()
    with storage.atomic_output(uri) as stream:
        writer: pq.ParquetWriter | None = None
        for result in results:
            targets = result.targets
            names = pa.array([result.name] * len(targets.rows), pa.string())
            table = pa.table(
                {
                    "method": names.dictionary_encode(),
                    schema.USER_INDEX: pa.array(targets.user_index, pa.int32()),
                    schema.USER_ID: users.column(schema.USER_ID).take(np.searchsorted(indices, targets.user_index)),
                    "context_events": pa.array(targets.context_lengths, pa.int32()),
                    **{name: pa.array(values, pa.float32()) for name, values in result.per_user.items()},
                }
            )
            writer = writer or pq.ParquetWriter(stream, table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()
