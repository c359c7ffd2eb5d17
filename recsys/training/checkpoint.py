"""The state of a training run on disk, whole or absent: every variable, and where training stands. No pickle."""

from __future__ import annotations

import dataclasses
import itertools
import json
from typing import Any

import numpy as np

from recsys import storage
from recsys.contract.model_files import CHECKPOINT
from recsys.errors import RetryError


@dataclasses.dataclass
class Standing:
    """Where training stands.

    Attributes:
        phase: "fit" or "refit".
        epoch, step: the next step to take: `step` of `epoch`, both from 0.
        best_epoch, best_score: epoch with the best validation NDCG@10 so far; -1 before the first.
        loss_sum: sum of the losses of the steps already taken in this epoch.
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
    """Writes the checkpoint in one step, in place of the one before."""
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
        Where training stands and the best weights so far; None where there is no checkpoint of the phase.

    Raises:
        RetryError: the checkpoint belongs to a network of another shape.
    """
    uri = storage.join(folder, CHECKPOINT)
    if not storage.exists(uri):
        return None
    other = RetryError(f"{uri} belongs to another network; start a new run or remove the file")
    with storage.open_arrays(uri) as arrays:
        standing = Standing(**json.loads(arrays["standing"].tobytes().decode()))
        if standing.phase != phase:  # the phase before has ended, and had no time to remove it
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
    """Removes the checkpoint, when the finished model has taken its place."""
    uri = storage.join(folder, CHECKPOINT)
    if storage.exists(uri):
        storage.delete_file(uri)
