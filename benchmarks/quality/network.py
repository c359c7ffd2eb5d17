"""The network, without transitions and taste, between the best traditional method and the blend.

    python -m benchmarks.quality.network OUTPUT [OUTPUT …]

Prints a row for each finished run, with paired intervals from its per_user.parquet.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq

from benchmarks.quality import job
from benchmarks.quality.job import Run
from recsys.evaluation.compare import PER_USER_FILE
from recsys.measure.intervals import paired_interval

METRIC: Final = "ndcg@10"
NETWORK: Final = "cnn"


def table(runs: Iterable[Run]) -> str:
    """NDCG@10 of the network, of the best traditional method and of the published one, with paired intervals."""
    lines = [
        "| data, split | seed | users | `cnn` | best traditional | `cnn` minus it, 95 % | `blend` | minus `cnn`, 95 % "
        "| training |",
        "|---" * 9 + "|",
    ]
    lines += [_row(run) for run in runs]
    return "\n".join(lines)


def _row(run: Run) -> str:
    best = run.best_traditional(METRIC)
    network, counted, published = (_per_user(run, name) for name in (NETWORK, best, run.method))
    config, seconds = run.manifest["config"], run.manifest["stages"]["train"]["seconds"]
    cells = [
        f"{config['source']['dataset']}, {run.metrics['protocol']['split']}",
        config["seed"],
        f"{len(network):,}",
        f"{network.mean():.4f}",
        f"{best} {counted.mean():.4f}",
        _interval(network, counted),
        f"{published.mean():.4f}",
        _interval(published, network),
        f"{seconds / 60:.1f} min",
    ]
    return "| " + " | ".join(map(str, cells)) + " |"


def _per_user(run: Run, method: str) -> np.ndarray:
    """Float64 [users], in order of user id."""
    path = run.folder / "evaluation" / PER_USER_FILE
    found = pq.read_table(path, columns=["user_id", METRIC], filters=[("method", "=", method)]).sort_by("user_id")
    return found[METRIC].to_numpy().astype(np.float64)


def _interval(first: np.ndarray, second: np.ndarray) -> str:
    found = paired_interval(first, second)
    return f"{found.low:+.4f} … {found.high:+.4f}"


if __name__ == "__main__":
    sys.stdout.write(table(job.published(Path(folder)) for folder in sys.argv[1:]) + "\n")
