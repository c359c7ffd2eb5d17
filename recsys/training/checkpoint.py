"""The state of a training run on disk, whole or absent: every variable, and where training stands. No pickle."""

from __future__ import annotations

import dataclasses
import io
import json
from typing import Any

import numpy as np

from recsys import storage
from recsys.errors import RetryError
from recsys.training.files import CHECKPOINT


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
    arrays: dict[str, Any] = {f"variable_{i:04d}": np.asarray(v.numpy()) for i, v in enumerate(variables)}
    arrays |= {f"best_{i:04d}": value for i, value in enumerate(best)}
    buffer = io.BytesIO()
    arrays["standing"] = np.frombuffer(json.dumps(dataclasses.asdict(standing)).encode(), np.uint8)
    np.savez(buffer, allow_pickle=False, **arrays)
    with storage.atomic_output(storage.join(folder, CHECKPOINT)) as stream:
        stream.write(buffer.getbuffer())


def load(folder: str, variables: list[Any]) -> tuple[Standing, list[np.ndarray]] | None:
    """Restores the variables in place.

    Returns:
        Where training stands and the best weights so far; None where there is no checkpoint.

    Raises:
        RetryError: the checkpoint belongs to a network of another shape.
    """
    uri = storage.join(folder, CHECKPOINT)
    if not storage.exists(uri):
        return None
    system, path = storage.resolve(uri)
    with system.open_input_stream(path) as stream:
        arrays = np.load(io.BytesIO(stream.read()), allow_pickle=False)
    found = [arrays[name] for name in sorted(n for n in arrays.files if n.startswith("variable_"))]
    if [value.shape for value in found] != [tuple(v.shape) for v in variables]:
        raise RetryError(f"{uri} belongs to another network; start a new run or remove the file")
    for variable, value in zip(variables, found, strict=True):
        variable.assign(value)
    best = [arrays[name] for name in sorted(n for n in arrays.files if n.startswith("best_"))]
    return Standing(**json.loads(arrays["standing"].tobytes().decode())), best


def remove(folder: str) -> None:
    """Removes the checkpoint, when the finished model has taken its place."""
    system, path = storage.resolve(storage.join(folder, CHECKPOINT))
    if storage.exists(storage.join(folder, CHECKPOINT)):
        system.delete_file(path)
