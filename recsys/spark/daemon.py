"""Starts the process from which Spark's Python workers are forked, with what they need imported once for all of them."""

from __future__ import annotations

import gc
import importlib
from typing import Final

from pyspark.daemon import manager

NEEDED: Final = (
    "numpy",
    "pandas",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.parquet",
    "pyspark.worker",
    "recsys.features.encodings",
    "recsys.features.rejected",
    "recsys.features.sequences",
)

if __name__ == "__main__":
    for name in NEEDED:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a worker collects garbage after each task, and would look through all that is imported: 50 ms
    manager()
