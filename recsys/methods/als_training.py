"""The Spark side of ALS: trains MLlib's factors for every point of a grid in one session. Runs in its own process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from recsys import settings
from recsys.config import Config, Spark
from recsys.progress import Log

EVENTS_FILE: Final = "events.parquet"
ITERATIONS: Final = 10
MANY_EVENTS: Final = 200_000
"""So many are worth that Java optimises what it runs; fewer are done before."""
USER, ITEM, RATING = "user", "item", "rating"


def train(arguments: Mapping[str, Any], log: Log) -> list[str]:
    """Trains and writes the item factors, for `spark.child.call`.

    Args:
        arguments: `spark`, the section from settings.to_dict; `seed`; `folder` with `EVENTS_FILE` (int32 user,
            int32 item, float32 rating); `events`, how many it holds; `grid`, a list of [rank, regularisation, alpha].
        log: takes progress lines.

    Returns:
        For each point of the grid, the Parquet folder with its item factors: id int32, features list<float32>.
    """
    from pyspark.ml.recommendation import ALS

    from recsys.spark.failures import translated
    from recsys.spark.session import local_cores, spark_session

    config = Config(seed=arguments["seed"], spark=settings.from_dict(Spark, arguments["spark"]))
    blocks = local_cores(config.spark.master)
    folders = []
    computes = arguments["events"] >= MANY_EVENTS
    with spark_session(config, "recsys als", computes=computes) as spark, translated("als"):
        events = spark.read.parquet(f"{arguments['folder']}/{EVENTS_FILE}").coalesce(blocks).cache()
        for number, (rank, regularisation, alpha) in enumerate(arguments["grid"]):
            method = ALS(
                userCol=USER,
                itemCol=ITEM,
                ratingCol=RATING,
                rank=int(rank),
                maxIter=ITERATIONS,
                regParam=regularisation,
                alpha=alpha,
                implicitPrefs=True,
                numUserBlocks=blocks,
                numItemBlocks=blocks,
                checkpointInterval=-1,
                seed=config.seed,
            )
            model = method.fit(events)
            folders.append(f"{arguments['folder']}/factors-{number}")
            model.itemFactors.coalesce(1).write.parquet(folders[-1])
            if arguments.get("user_factors"):
                model.userFactors.coalesce(1).write.parquet(f"{folders[-1]}-users")
            log(f"  als: rank {rank}, regularisation {regularisation}, alpha {alpha} trained")
    return folders
