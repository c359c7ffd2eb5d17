"""Starts the process from which Spark's Python workers are forked, with what they need imported once for all of them."""

from __future__ import annotations

import importlib
from typing import Final

from pyspark.daemon import manager

NEEDED: Final = ("numpy", "pandas", "pyarrow.compute", "pyarrow.csv", "pyarrow.parquet", "recsys.sources.pieces")

if __name__ == "__main__":
    for name in NEEDED:
        importlib.import_module(name)
    manager()
