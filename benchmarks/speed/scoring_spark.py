"""Spark's ALS: fits factors of width 64 on the histories of a run, ranks all items for every user, writes Parquet.

`recommendForAllUsers` knows no filter: items that were seen are among what it returns.
"""

import sys
import time

from pyspark.ml.recommendation import ALS
from pyspark.sql import functions as F

from recsys.config import Config
from recsys.spark.session import spark_session

run, k, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
with spark_session(Config(), "benchmark", computes=True) as spark:
    histories = spark.read.parquet(f"{run}/features/histories")
    events = histories.select("user_index", F.explode("items").alias("item_index"), F.lit(1.0).alias("rating")).cache()
    columns = {"userCol": "user_index", "itemCol": "item_index", "ratingCol": "rating"}
    model = ALS(rank=64, maxIter=2, implicitPrefs=True, seed=0, **columns).fit(events)

    started = time.monotonic()
    found = model.recommendForAllUsers(k).select("user_index", F.posexplode("recommendations").alias("rank", "found"))
    found.select("user_index", "found.item_index", "rank", "found.rating").write.mode("overwrite").parquet(folder)
    seconds = time.monotonic() - started
print(seconds)
