"""How long the SavedModels of a published run take to answer a request for one user: the network alone, and the blend.

    python -m benchmarks.speed.serving out --requests 2000

Requests come one after another in this process, on two threads, each with the whole history and the features of a user drawn at
random, for the 100 best items. Loading is not in it, nor are the first 50, for which TensorFlow traces and allocates. A server
adds its own time for the network and for decoding.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
import tensorflow as tf

from benchmarks.quality import job
from benchmarks.speed import measure
from recsys import settings
from recsys.config import Config
from recsys.contract import histories
from recsys.contract.features_info import read_info
from recsys.contract.histories import Histories
from recsys.methods.cnn import read_encoder
from recsys.model.encoding import Bags
from recsys.progress import silent
from recsys.run.export import export
from recsys.run.runs import Run

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
    rows = np.random.default_rng(0).integers(len(known), size=WARM_UP + requests)
    click.echo(f"`python -m benchmarks.speed.serving {output} --requests {requests}`; {measure.described()}; ", nl=False)
    click.echo(f"{info.items:,} items.\n\n| | MB | loading, s | p50, ms | p99, ms |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        blend = Path(folder) / "blend"
        export(settings.from_dict(Config, run.manifest["config"]), Run(str(output), run.folder.name), str(blend), silent)
        for name, place in (("network", run.folder / "model" / "saved_model"), ("blend", blend)):
            started = time.perf_counter()
            serve = tf.saved_model.load(str(place)).signatures["serving_default"]
            seconds = time.perf_counter() - started
            size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file()) / 1e6
            p50, p99 = np.percentile([_milliseconds(serve, known, bags, row) for row in rows][WARM_UP:], (50, 99))
            click.echo(f"| {name} | {size:,.1f} | {seconds:.1f} | {p50:.2f} | {p99:.2f} |")


def _milliseconds(serve: Any, known: Histories, bags: Bags, row: int) -> float:
    """Of one request, with the answer read."""
    one, user = known.rows(np.array([row])), known.user_index[row : row + 1]
    asked: dict[str, Any] = {"items": one.items[None], "ratings": one.ratings[None], "timestamps": one.timestamps[None]}
    asked |= {"user_codes": bags.codes[user], "user_numbers": bags.numbers[user]}
    started = time.perf_counter()
    serve(**{key: tf.constant(value) for key, value in asked.items()})["item_index"].numpy()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    main()
