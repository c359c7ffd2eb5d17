"""How long the SavedModel of a published run takes to answer a request for one user.

    python -m benchmarks.speed.serving out --requests 2000

Requests come one after another in this process, on two threads, each with the whole history and the features of a user drawn at
random, for the 100 best items. Loading is not in it, nor are the first 50, for which TensorFlow traces and allocates. A server
adds its own time for the network and for decoding.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import tensorflow as tf

from benchmarks.quality import job
from benchmarks.speed import measure
from recsys.contract import histories
from recsys.contract.features_info import read_info
from recsys.methods.cnn import read_encoder

THREADS = 2
WARM_UP = 50


@click.command()
@click.argument("output", type=click.Path(exists=True, path_type=Path))
@click.option("--requests", type=click.IntRange(100), default=2000, show_default=True)
def main(output: Path, requests: int) -> None:
    """Times the run published in OUTPUT."""
    tf.config.threading.set_intra_op_parallelism_threads(THREADS)
    tf.config.threading.set_inter_op_parallelism_threads(THREADS)
    run = job.published(output)
    features = str(run.folder / "features")
    info, known = read_info(features), histories.read(features)
    bags = read_encoder(features, info.published).users
    started = time.perf_counter()
    loaded = tf.saved_model.load(str(run.folder / "model" / "saved_model"))
    click.echo(f"`python -m benchmarks.speed.serving {output} --requests {requests}`; {measure.described()}; ", nl=False)
    click.echo(f"{info.items:,} items, loaded in {time.perf_counter() - started:.1f} s.\n")
    click.echo("| signature | p50, ms | p99, ms |\n|---|---|---|")
    rows = np.random.default_rng(0).integers(len(known), size=WARM_UP + requests)
    for name, serve in sorted(loaded.signatures.items()):
        times = []
        for row in rows:
            one, user = known.rows(np.array([row])), known.user_index[row : row + 1]
            asked: dict[str, Any] = {"items": one.items[None], "ratings": one.ratings[None], "timestamps": one.timestamps[None]}
            asked |= {"user_codes": bags.codes[user], "user_numbers": bags.numbers[user]}
            started = time.perf_counter()
            serve(**{key: tf.constant(value) for key, value in asked.items()})["item_index"].numpy()
            times.append(1000 * (time.perf_counter() - started))
        p50, p99 = np.percentile(times[WARM_UP:], (50, 99))
        click.echo(f"| `{name}` | {p50:.2f} | {p99:.2f} |")


if __name__ == "__main__":
    main()
