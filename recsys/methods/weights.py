"""The weights of recsys.methods.blend, and their file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recsys import storage
from recsys.methods.trends import DATES, HALF_LIVES

WEIGHTS_FILE: Final = "weights.json"
CNN: Final = "cnn"
"""Where the other weights stand in the file."""
POPULARITY: Final = ("recent", "share", *DATES)
"""Fields of Weights, in the order of Trends.popular; those for users without events have cold_ before."""
COLD_POPULARITY: Final = tuple(f"cold_{name}" for name in POPULARITY)


@dataclasses.dataclass(frozen=True)
class Weights:
    """Those of the formula of recsys.methods.blend; the defaults apply without validation events.

    Attributes:
        few, many: numbers of events, at least 1.
        transitions, transitions_many: a of users with `few` events or fewer, and with `many` or more; linear in log n between.
            If few = many, the first one is everybody's.
        taste, taste_many: e, likewise.
        recent, half_life, share, age, idle: b, h, p, f and l.
        cold_recent, cold_half_life, cold_share, cold_age, cold_idle: the same for users without events.
    """

    few: float = 1.0
    many: float = 1.0
    transitions: float = 0.5
    transitions_many: float = 0.5
    taste: float = 0.0
    taste_many: float = 0.0
    recent: float = 0.0
    half_life: float = 90.0
    share: float = 0.0
    age: float = 0.0
    idle: float = 0.0
    cold_recent: float = 1.0
    cold_half_life: float = 90.0
    cold_share: float = 0.0
    cold_age: float = 0.0
    cold_idle: float = 0.0

    def towards_many(self, lengths: NDArray[np.int64]) -> NDArray[np.float32]:
        """Where users with so many events stand between `few`, 0, and `many`, 1: float32 [users]."""
        span = np.log(self.many / self.few)
        passed = np.log(np.maximum(lengths, self.few) / self.few)
        place: NDArray[np.float32] = np.minimum(passed / span if span > 0 else np.zeros(len(lengths)), 1.0).astype(np.float32)
        return place

    def of_counts(self, lengths: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """a(n) and e(n) of users with so many events, float32 [users, 1] each."""
        place = self.towards_many(lengths)[:, None]
        ends = ((self.transitions, self.transitions_many), (self.taste, self.taste_many))
        of_transitions, of_taste = (np.float32(few) + place * np.float32(many - few) for few, many in ends)
        return of_transitions, of_taste


class Chosen(NamedTuple):
    """What is chosen together: the weights of the blend, and of `cnn`, its network with popularity but without the counts."""

    blend: Weights
    cnn: Weights


WITHOUT_COUNTS: Final = Weights(transitions=0.0, transitions_many=0.0)
WITHOUT: Final = dataclasses.replace(WITHOUT_COUNTS, cold_recent=0.0)
"""The network with nothing added."""


def write_weights(uri: str, chosen: Chosen) -> None:
    """Writes them into the folder of a blend."""
    storage.write_json(
        storage.join(uri, WEIGHTS_FILE), {**dataclasses.asdict(chosen.blend), CNN: dataclasses.asdict(chosen.cnn)}
    )


def read_weights(uri: str) -> Chosen:
    """The weights of a saved blend. One of before 2026-11-29 has none of `cnn`, which was the network with nothing added.

    Raises:
        DamagedError: the file is missing, or not what was written.
    """
    return storage.read_record(storage.join(uri, WEIGHTS_FILE), _chosen)


def _chosen(found: Mapping[str, Any]) -> Chosen:
    return Chosen(_weights(found), _weights(found[CNN]) if CNN in found else WITHOUT)


def _weights(found: Mapping[str, Any]) -> Weights:
    alike = {"few": 1.0, "many": 1.0, "transitions_many": found["transitions"], "taste_many": found["taste"]}
    without_dates = dict.fromkeys((*DATES, *(f"cold_{name}" for name in DATES)), 0.0)
    complete = {**alike, **without_dates, **found}  # files of before 2026-11-29 knew neither lengths nor dates
    weights = Weights(**{field.name: float(complete[field.name]) for field in dataclasses.fields(Weights)})
    if not 1 <= weights.few <= weights.many:
        raise ValueError("few and many must be at least 1, and few at most many")
    if not {weights.half_life, weights.cold_half_life} <= set(HALF_LIVES):
        raise ValueError(f"half-lives must be among {HALF_LIVES}")
    return weights
