"""The settings that have an option of their own: --epochs on the command line, `epochs` in Python, for training.epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

SHORTCUTS: Final[Mapping[str, str]] = {
    "output": "output",
    "dataset": "source.dataset",
    "dataset_path": "source.path",
    "split": "split.method",
    "k": "recommend.k",
    "epochs": "training.epochs",
    "warm_start": "refresh.warm_start",
    "seed": "seed",
    "device": "training.device",
    "precision": "training.precision",
    "xla": "training.xla",
    "spark_master": "spark.master",
}
"""The field of each. On the command line a `-` stands for the `_`."""
