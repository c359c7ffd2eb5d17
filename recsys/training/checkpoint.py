"""Checkpoints: all that a restart of training needs, without pickle; the last two are kept.

Each is a file of its own, whole or absent, with a checksum: arrays in the .npy format one after the other, the first of them a
header in JSON. It holds what the training was made with, so that no other one continues it.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from recsys import storage
from recsys.contract.model_files import CHECKPOINTS
from recsys.errors import DamagedError
from recsys.progress import Log

KEPT: Final = 2
_SUFFIX: Final = ".npy"


@dataclasses.dataclass
class Standing:
    """How far training has got.

    Attributes:
        phase: see plan.Plan.
        epoch, step: the next step to take: `step` of `epoch`, both from 0.
        done: whether the phase has ended.
        best_epoch, best_score: the epoch with the best validation NDCG@10 so far, and that score; -1 before the first.
        loss_sum: sum of the losses of this epoch's steps so far.
        rate_share, loss_blocks: see recovery.remedied.
        step_ms: milliseconds of a step with XLA "on" and "off"; empty if that is not measured.
        rows: history.csv so far.
    """

    phase: str = "fit"
    epoch: int = 0
    step: int = 0
    done: bool = False
    best_epoch: int = -1
    best_score: float = -1.0
    loss_sum: float = 0.0
    rate_share: float = 1.0
    loss_blocks: int = 1
    step_ms: dict[str, float] = dataclasses.field(default_factory=dict)
    rows: list[dict[str, Any]] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class State:
    """The content of a checkpoint.

    Attributes:
        standing: how far training has got.
        variables: of the network and the optimizer, in their order.
        best: the best weights so far; empty before the end of the first epoch.
    """

    standing: Standing
    variables: Sequence[np.ndarray]
    best: Sequence[np.ndarray]


class Checkpoints:
    """The checkpoints in a model folder.

    Args:
        folder: the model folder.
        made_with: settings and features that the weights depend on, JSON types only; see identity.made_with.
        log: takes what is passed over, and why.
    """

    def __init__(self, folder: str, made_with: Mapping[str, Any], log: Log) -> None:
        self._folder, self._log = storage.join(folder, CHECKPOINTS), log
        self._made_with = _flat(json.loads(json.dumps(made_with)))
        self._number = 0

    def save(self, state: State) -> None:
        """Writes the next checkpoint; then keeps it, the one before, and no other."""
        self._number += 1
        header = {
            "made_with": self._made_with,
            "standing": dataclasses.asdict(state.standing),
            "variables": len(state.variables),
            "best": len(state.best),
        }
        described = np.frombuffer(json.dumps(header).encode(), np.uint8)
        with storage.checked_output(self._uri(self._number)) as file:
            for array in itertools.chain([described], state.variables, state.best):
                np.lib.format.write_array(file, np.asarray(array), allow_pickle=False)
        kept = {self._uri(self._number - back) for back in range(KEPT)}
        for uri in self._newest_first():
            if uri not in kept:
                storage.delete_file(uri)

    def load(self, phase: str, shapes: Sequence[tuple[int, ...]]) -> State | None:
        """The newest good checkpoint of a phase; None if there is none. Says which ones it passes over.

        Args:
            phase: see plan.Plan.
            shapes: of the variables to restore.
        """
        passed = False
        for uri in self._newest_first():
            state = self._read(uri)
            if state is not None and state.standing.phase != phase:  # the previous phase ended before it could remove it
                continue
            if state is not None and [array.shape for array in state.variables] == list(shapes):
                self._number = _number(uri)
                return state
            if state is not None:
                self._log(f"  warning: {uri} belongs to a network of another size or precision; it is passed over")
            passed = True
        if passed:
            self._log(f"  warning: there is no other checkpoint; the {phase} begins anew")
        return None

    def standing(self) -> Standing | None:
        """How far training has got, in whatever phase; None without a good checkpoint."""
        states = (self._read(uri) for uri in self._newest_first())
        return next((state.standing for state in states if state is not None), None)

    def remove(self) -> None:
        """Removes all checkpoints, once finished files have replaced them."""
        storage.delete_folder(self._folder)

    def _read(self, uri: str) -> State | None:
        """The content of a file; None, said so, if it is damaged or was made with something else."""
        try:
            with storage.open_checked(uri) as file:
                return self._state(uri, file)
        except DamagedError as error:
            self._log(f"  warning: {error}; it is passed over")
            return None

    def _state(self, uri: str, file: Any) -> State | None:
        try:
            header = json.loads(_array(file).tobytes())
            if changed := _differences(header["made_with"], self._made_with):
                self._log(f"  {uri} was made with other settings or features ({changed}); it is passed over")
                return None
            standing = Standing(**header["standing"])
            variables, best = ([_array(file) for _ in range(header[part])] for part in ("variables", "best"))
            return State(standing, variables, best)
        except (TypeError, KeyError):
            self._log(f"  warning: {uri} was written by another version of recsys; it is passed over")
            return None

    def _newest_first(self) -> list[str]:
        files = [uri for uri in storage.list_files(self._folder, _SUFFIX) if _stem(uri).isdecimal()]
        return sorted(files, key=_number, reverse=True)

    def _uri(self, number: int) -> str:
        return storage.join(self._folder, f"{number:08d}{_SUFFIX}")


def _array(file: Any) -> np.ndarray:
    found: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return found


def _stem(uri: str) -> str:
    return uri.rpartition("/")[2].removesuffix(_SUFFIX)


def _number(uri: str) -> int:
    return int(_stem(uri))


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"training": {"epochs": 3}} as {"training.epochs": 3}."""
    found: dict[str, Any] = {}
    for name, inner in value.items():
        found |= _flat(inner, f"{prefix}{name}.") if isinstance(inner, dict) else {f"{prefix}{name}": inner}
    return found


def _differences(found: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """`training.learning_rate 0.002, now 1e-05`; empty if nothing differs."""
    names = [name for name in {**now, **found} if found.get(name) != now.get(name)]
    return "; ".join(f"{name} {found.get(name)}, now {now.get(name)}" for name in names)
