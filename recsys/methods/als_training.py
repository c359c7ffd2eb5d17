"""The Spark side of ALS: trains MLlib's factors for every point of a grid in one session. Runs in its own process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from recsys import settings
from recsys.config import Config, Spark

if TYPE_CHECKING:
    from pyspark.ml.recommendation import ALSModel
    from pyspark.sql import DataFrame

    from recsys.spark.child import Parent

ITERATIONS: Final = 10
MANY_EVENTS: Final = 50_000
"""So many are worth that Java optimises what it runs; fewer are done before. Tried by hand on two cores,
2026-11-28, all of ALS took 15 s without and 18 s with it for 5,000 events, 24 and 23 for 40,000, 65 and 44 for 195,000."""
USER, ITEM, RATING = "user", "item", "rating"


def train(arguments: Mapping[str, Any], parent: Parent) -> list[str]:
    """Trains and writes the item factors, for `spark.child.call`.

    Args:
        arguments: `spark`, the section from settings.to_dict; `seed`; `folder` to write to; `files` of events (int32 user,
            int32 item, float32 rating), one or two; `events`, how many the last one holds; `grid`, a list of
            [rank, regularisation, alpha].
        parent: takes progress lines. With two files it is asked, with the folders of the points that were trained on the
            first, which of them to train on the second.

    Returns:
        For each point trained on the last file, the Parquet folder with its item factors: id int32, features list<float32>.
    """
    from recsys.spark.failures import translated
    from recsys.spark.session import local_cores, spark_session

    config = Config(seed=arguments["seed"], spark=settings.from_dict(Spark, arguments["spark"]))
    blocks, grid = local_cores(config.spark.master), arguments["grid"]
    folders: list[str] = []
    computes = arguments["events"] >= MANY_EVENTS
    with spark_session(config, "recsys als", computes=computes) as spark, translated("als"):
        for number, file in enumerate(arguments["files"]):
            if number:
                grid = [grid[parent.ask(folders)]]
            events = spark.read.parquet(file).coalesce(blocks).cache()
            folders = [f"{arguments['folder']}/factors-{number}-{point}" for point in range(len(grid))]
            for folder, point in zip(folders, grid, strict=True):
                model = _fit(events, point, blocks, config.seed)
                model.itemFactors.coalesce(1).write.parquet(folder)
                if arguments.get("user_factors"):
                    model.userFactors.coalesce(1).write.parquet(f"{folder}-users")
                rank, regularisation, alpha = point
                parent(f"  als: rank {rank}, regularisation {regularisation}, alpha {alpha} trained")
            events.unpersist()
    return folders


def _fit(events: DataFrame, point: Sequence[float], blocks: int, seed: int) -> ALSModel:
    from pyspark.ml.recommendation import ALS

    rank, regularisation, alpha = point
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
        seed=seed,
    )
    return method.fit(events)
