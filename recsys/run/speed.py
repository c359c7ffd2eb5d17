"""How fast this machine trains and scores: the report of `recsys bench`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recsys import storage
from recsys.config import Config
from recsys.progress import Log
from recsys.run import runs
from recsys.training.hardware import Hardware, choose


def measure(configs: Sequence[Config], items: int, events: int, repeats: int, log: Log) -> dict[str, Any]:
    """Times every configuration on the same made-up features.

    Args:
        configs: at least one, all for the same device.
        items, events: size of the features.
        repeats: calls that are timed; each takes about a second, or less where the batches of a call do.
        log: reports progress.

    Returns:
        What was found, JSON types only; docs/scale.md explains each field.

    Raises:
        MissingComponentError: a GPU was requested and there is none, or TensorFlow is not installed.
    """
    chosen = [choose(config.training) for config in configs]  # all of them before anything else uses TensorFlow
    from recsys.bench import made, record
    from recsys.training.phase import Setting

    rates, found = record.Rates(), []
    with storage.scratch("bench") as folder:
        info = made.write_features(folder, items, events)
        for config, hardware in zip(configs, chosen, strict=True):
            found.append(record.measured(Setting(config, folder, info, hardware), repeats, rates, log))
    sizes = {"items": items, "events": events}
    return {**_head(chosen[0]), **sizes, "matmul_operations_per_second": dict(rates), "runs": found}


def _head(hardware: Hardware) -> dict[str, Any]:
    import tensorflow as tf

    return {
        "date": runs.now(),
        "device": hardware.device,
        "is_gpu": hardware.device == "gpu",
        "names": list(hardware.names),
        "deterministic": hardware.deterministic,
        "warning": hardware.warning,
        "versions": {**runs.versions(), "cuda": tf.sysconfig.get_build_info().get("cuda_version")},
    }
