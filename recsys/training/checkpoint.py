"""The state of training in one atomically written file without pickle: every variable, and how far training has got."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import numpy as np

from recsys import storage
from recsys.contract.model_files import CHECKPOINT
from recsys.errors import ConfigError


@dataclasses.dataclass
class Standing:
    """How far training has got.

    Attributes:
        phase: "fit" or "refit".
        epoch, step: the next step to take: `step` of `epoch`, both from 0.
        best_epoch, best_score: the epoch with the best validation NDCG@10 so far, and that score; -1 before the first.
        loss_sum: sum of the losses of this epoch's steps so far.
        rows: history.csv so far.
    """

    phase: str = "fit"
    epoch: int = 0
    step: int = 0
    best_epoch: int = -1
    best_score: float = -1.0
    loss_sum: float = 0.0
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def save(folder: str, standing: Standing, variables: list[Any], best: list[np.ndarray]) -> None:
    """Replaces the checkpoint atomically."""
    described = np.frombuffer(json.dumps(dataclasses.asdict(standing)).encode(), np.uint8)
    named = itertools.chain(
        [("standing", described)],
        ((f"variable_{i:04d}", v.numpy()) for i, v in enumerate(variables)),
        ((f"best_{i:04d}", value) for i, value in enumerate(best)),
    )
    storage.write_arrays(storage.join(folder, CHECKPOINT), named)


def load(folder: str, phase: str, variables: list[Any]) -> tuple[Standing, list[np.ndarray]] | None:
    """Restores the variables in place.

    Returns:
        How far training has got, and the best weights so far; None without a checkpoint of the phase.

    Raises:
        ConfigError: the checkpoint belongs to another network.
    """
    uri = storage.join(folder, CHECKPOINT)
    if not storage.exists(uri):
        return None
    other = ConfigError(f"{uri} belongs to another network; run `recsys train --redo`")
    with storage.open_arrays(uri) as arrays:
        standing = Standing(**json.loads(arrays["standing"].tobytes().decode()))
        if standing.phase != phase:  # the previous phase ended before it could remove it
            return None
        names = sorted(name for name in arrays.files if name.startswith("variable_"))
        if len(names) != len(variables):
            raise other
        for name, variable in zip(names, variables, strict=True):
            value = arrays[name]
            if value.shape != tuple(variable.shape):
                raise other
            variable.assign(value)
        best = [arrays[name] for name in sorted(name for name in arrays.files if name.startswith("best_"))]
        return standing, best


def remove(folder: str) -> None:
    """Removes the checkpoint, once the finished model has replaced it."""
    uri = storage.join(folder, CHECKPOINT)
    if storage.exists(uri):
        storage.delete_file(uri)
