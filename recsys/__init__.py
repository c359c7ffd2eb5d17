"""recsys: events in, the best next items for every user out, as Parquet.

The names below are the Python API (recsys.api, docs/python.md). They are loaded when they are asked for: importing the package
alone loads neither Spark nor TensorFlow nor pandas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recsys.api import (
        Config,
        ConfigError,
        DamagedError,
        DataError,
        MissingComponentError,
        RecsysError,
        RefusedError,
        RetryError,
        Run,
        build_features,
        configure,
        evaluate_model,
        open_run,
        publish_run,
        recommend_items,
        report_run,
        run_job,
        train_model,
    )

__version__ = "0.1.0"
__all__ = [
    "Config",
    "ConfigError",
    "DamagedError",
    "DataError",
    "MissingComponentError",
    "RecsysError",
    "RefusedError",
    "RetryError",
    "Run",
    "__version__",
    "build_features",
    "configure",
    "evaluate_model",
    "open_run",
    "publish_run",
    "recommend_items",
    "report_run",
    "run_job",
    "train_model",
]


if not TYPE_CHECKING:  # else a type checker would take any name for one of the package

    def __getattr__(name: str) -> Any:
        if name not in __all__:
            raise AttributeError(f"module 'recsys' has no attribute {name!r}")
        from recsys import api

        return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
