"""Quality and cost of each family of algorithms, on a finished run.

    python -m benchmarks.quality.algorithms out/published/seed-0

Prints for every method its test metrics, the seconds to fit it once with the chosen parameters, and the milliseconds to rank
all items for one user whose history is in memory (median over 200 users, one at a time).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import tensorflow as tf

from benchmarks.quality import job
from benchmarks.quality.job import Run
from recsys import settings
from recsys.config import Baseline, Config
from recsys.contract import histories
from recsys.contract.features_info import FeaturesInfo, read_info
from recsys.contract.histories import Histories
from recsys.methods import traditional
from recsys.methods.cnn import read_encoder

USERS = 200


@click.command()
@click.argument("output", type=click.Path(exists=True, path_type=Path))
def main(output: Path) -> None:
    """Measures the methods of the run published in OUTPUT."""
    run = job.published(output)
    config, features = settings.from_dict(Config, run.manifest["config"]), str(run.folder / "features")
    info = read_info(features)
    events = histories.read_learnable(features, info.min_user_events)
    known = events.head(events.valid_length)
    rows = np.random.default_rng(config.seed).permutation(len(known))[:USERS]
    trained = run.manifest["stages"]["train"]["seconds"]
    lines = [run.measured + ".", "", "| method | HR@10 | NDCG@10 | fitting, s | one user, ms |", "|---|---|---|---|---|"]
    lines.append(_row(run, "cnn", trained, _median_ms(_served(run, features, info, known), rows)))
    for name in config.evaluation.baselines:
        seconds, score = _fitted(run, name, known, info.items, config)
        lines.append(_row(run, name, seconds, _median_ms(score, rows)))
    click.echo("\n".join(lines))


def _row(run: Run, name: str, seconds: float, milliseconds: float) -> str:
    values = f"{run.value(name, 'hit_rate@10'):.4f} | {run.value(name, 'ndcg@10'):.4f}"
    return f"| {name} | {values} | {seconds:.1f} | {milliseconds:.1f} |"


def _served(run: Run, features: str, info: FeaturesInfo, known: Histories) -> Callable[[int], Any]:
    """Calls the SavedModel's signature for the user in a row."""
    serve = tf.saved_model.load(str(run.folder / "model" / "saved_model")).signatures["serving_default"]
    bags = read_encoder(features, info.published).users

    def score(row: int) -> Any:
        one, user = known.rows(np.array([row])), known.user_index[row : row + 1]
        return serve(
            items=one.items[None],
            ratings=one.ratings[None],
            timestamps=one.timestamps[None],
            user_codes=bags.codes[user],
            user_numbers=bags.numbers[user],
        )

    return score


def _fitted(run: Run, name: Baseline, known: Histories, items: int, config: Config) -> tuple[float, Callable[[int], Any]]:
    """Seconds of one fit with the chosen parameters, and a function that ranks items for the user in a row."""
    facts = run.metrics["methods"][name]
    started = time.perf_counter()
    (method,) = traditional.find(name).fit(known, items, [facts["parameters"]], config)
    seconds = time.perf_counter() - started
    return seconds, lambda row: np.argpartition(method.score(known.rows(np.array([row])))[0], -100)


def _median_ms(score: Callable[[int], Any], rows: np.ndarray) -> float:
    score(int(rows[0]))
    times = []
    for row in rows:
        started = time.perf_counter()
        score(int(row))
        times.append(time.perf_counter() - started)
    return 1000 * float(np.median(times))


if __name__ == "__main__":
    main()
