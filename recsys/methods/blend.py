"""`blend`, the published method: the network's scores combined with what counting captures better.

    log softmax(network) + a(n) · log(transitions + ε) + e(n) · log(taste + ε) + popular
    popular = b · log(recent, half-life h) - p · log(share) + f · log(1 + age) + l · log(1 + idle)

for users with n events; for those without, the network and a popularity with weights of its own. *Transitions* is what follows
what, *taste* is EASE, *recent* an item's share of the latest events, *share* its share of all events, *age* and *idle* the days
since its first and its last one. The tied output layer has low rank; the full-rank transition and EASE matrices add what it
cannot represent. The network sees no dates; popularity does. What is counted from a long history is more certain than from a
short one, so a and e depend on its length.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from recsys import storage
from recsys.contract.histories import Histories
from recsys.measure import ranking
from recsys.measure.protocol import Top
from recsys.methods import compiled, counting
from recsys.methods.base import Method
from recsys.methods.ease import Ease
from recsys.methods.tiles import Tiles
from recsys.methods.transitions import Transitions, divide

TRANSITIONS: Final = {"window": 10, "decay": 0.7, "balance": 0.0}
TASTE: Final = {"penalty": 300.0, "max_columns": 5_000}
"""Points of Transitions and Ease. EASE uses only the most popular items: it grows with the square of their number."""
PRIOR_EVENTS: Final = 20.0
"""Pseudo-events that pull the recent shares towards the overall ones."""
MAX_EVENTS: Final = 5_000_000
"""Transitions and EASE are fitted on a sample of users with at most this many events, to stay within a few gigabytes."""
HALF_LIVES: Final = (3.0, 7.0, 14.0, 30.0, 90.0, 365.0)
"""Days."""

WEIGHTS_FILE: Final = "weights.json"
TRANSITIONS_FILE, TASTE_FILE, SHARES_FILE = "transitions.npz", "taste.npz", "shares.npz"
DATES: Final = ("age", "idle")
"""Arrays of SHARES_FILE and fields of Counts."""
POPULARITY: Final = ("recent", "share", *DATES)
"""Fields of Weights, in the order of Counts.popular; those for users without events have cold_ before."""
COLD_POPULARITY: Final = tuple(f"cold_{name}" for name in POPULARITY)


@dataclasses.dataclass(frozen=True)
class Weights:
    """Those of the formula above; the defaults apply without validation events.

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


@dataclasses.dataclass(frozen=True)
class Counts:
    """The fitted counts.

    Attributes:
        transitions: rows sum to 1.
        taste: EASE.
        share: log of each item's share of all events, float32 [items + 1].
        recent: log of each item's recent share by half-life, each float32 [items + 1].
        age, idle: log(1 + days) since each item's first and last event, float32 [items + 1]; see counting.days_since.
    """

    transitions: Transitions
    taste: Ease
    share: NDArray[np.float32]
    recent: Mapping[float, NDArray[np.float32]]
    age: NDArray[np.float32]
    idle: NDArray[np.float32]

    def popular(self, half_life: float) -> NDArray[np.float32]:
        """What is weighed alike for all users: log recent, -log share, log(1 + age), log(1 + idle), float32 [4, items + 1]."""
        return np.stack([self.recent[half_life], -self.share, self.age, self.idle])


class Logits(Method, Protocol):
    """A method that the blend can combine with the counts."""

    @property
    def tiles(self) -> Tiles:
        """How its logits are divided."""

    def logits(self, context: Histories) -> Iterator[tuple[slice, Histories, Iterator[Any]]]:
        """Each of tiles.blocks(context) with its logits: a tensor float32 [rows, width] for each tile of items.

        The first column of all, and those that fill up the last tile, are -inf. Take all tiles of a block before the next one.
        """


class Blend:
    """The network combined with the counts.

    Args:
        network: scores with the network alone.
        counts: see `count`.
        weights: see blending.tune.
    """

    name: ClassVar[str] = "blend"

    def __init__(self, network: Logits, counts: Counts, weights: Weights) -> None:
        self.network, self.counts, self.weights = network, counts, weights
        transitions = weights.transitions, weights.transitions_many
        self._tiled = Tiled(counts, network.tiles, any(transitions), any((weights.taste, weights.taste_many)))
        self._biases = biases(counts, weights, network.tiles)

    def block_users(self, n_items: int) -> int:
        """See measure.protocol.Scorer."""
        return self.network.block_users(n_items)

    def top(self, context: Histories, k: int) -> Top:
        """See measure.protocol.Scorer. The scores are those of the module's formula."""
        return compiled.best(compiled.blended, self._blocks(context), self.network.tiles, context, k)

    def scores_of(self, context: Histories, items: NDArray[np.int32]) -> NDArray[np.float32]:
        """The scores that `top` gives, of the given items, seen or not, for each user: float32 [users, items].

        Args:
            context: see `top`.
            items: int32 [items], indices from 1.

        Raises:
            RecsysError: a score is NaN or +inf.
        """
        return compiled.of_items(compiled.blended, self._blocks(context), self.network.tiles, items, len(context))

    def _blocks(self, context: Histories) -> Iterator[tuple[slice, Iterator[compiled.Summands]]]:
        for users, some, logits in self.network.logits(context):
            parts = zip(logits, self._tiled.scores(some), self._biases, strict=True)
            cold, weights = some.lengths == 0, self.weights.of_counts(some.lengths)
            yield users, ((scores, *counted, cold, *same, *weights) for scores, counted, same in parts)

    def save(self, uri: str) -> None:
        """Writes counts and weights into the folder; the network is saved separately."""
        save(uri, self.counts, self.weights)

    @classmethod
    def load(cls, uri: str, network: Logits) -> Self:
        """Reads what `save` wrote.

        Args:
            uri: the folder.
            network: the network for which the weights were chosen.
        """
        with storage.open_arrays(storage.join(uri, SHARES_FILE)) as arrays:
            share = arrays["share"]
            recent = {half_life: arrays[f"recent_{half_life:g}"] for half_life in HALF_LIVES}
            dates = [arrays[name] if name in arrays else np.zeros_like(share) for name in DATES]  # not there before 2026-11-29
        transitions = Transitions.load(storage.join(uri, TRANSITIONS_FILE))
        counts = Counts(transitions, Ease.load(storage.join(uri, TASTE_FILE)), share, recent, *dates)
        return cls(network, counts, read_weights(uri))


def save(uri: str, counts: Counts, weights: Weights) -> None:
    """Writes everything a Blend needs besides its network into the folder, the weights last."""
    counts.transitions.save(storage.join(uri, TRANSITIONS_FILE))
    counts.taste.save(storage.join(uri, TASTE_FILE))
    recent: list[tuple[str, Any]] = [(f"recent_{half_life:g}", share) for half_life, share in counts.recent.items()]
    dates = [(name, getattr(counts, name)) for name in DATES]
    storage.write_arrays(storage.join(uri, SHARES_FILE), [("share", counts.share), *recent, *dates])
    storage.write_json(storage.join(uri, WEIGHTS_FILE), dataclasses.asdict(weights))


def read_weights(uri: str) -> Weights:
    """The weights of a saved blend.

    Raises:
        DamagedError: the file is missing, or not what was written.
    """
    return storage.read_record(storage.join(uri, WEIGHTS_FILE), _weights)


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


def count(events: Histories, n_items: int, seed: int) -> Counts:
    """Counts over events: the training part to choose weights, all before the test to evaluate, all events to publish."""
    sampled = counting.sample_users(events, MAX_EVENTS, seed)
    age, idle = counting.days_since(events, n_items)
    return Counts(
        transitions=Transitions.fit_one(sampled, n_items, TRANSITIONS),
        taste=Ease.fit_one(sampled, n_items, TASTE),
        share=np.log(_shares(events, n_items)),
        recent={half_life: recent_share(events, n_items, half_life) for half_life in HALF_LIVES},
        age=np.log1p(age),
        idle=np.log1p(idle),
    )


def recent_share(events: Histories, n_items: int, half_life: float) -> NDArray[np.float32]:
    """Log of each item's share of the events, each weighing 2^(-age / half-life), smoothed by PRIOR_EVENTS.

    Age is counted from the last event, in days. Returns float32 [items + 1].
    """
    recent = counting.recent_events(events, n_items, half_life)
    prior = PRIOR_EVENTS * _shares(events, n_items)
    logs: NDArray[np.float32] = np.log((recent + prior) / (recent.sum() + PRIOR_EVENTS)).astype(np.float32)
    return logs


class Tiled:
    """The counts that differ from user to user, in tiles; a kind whose weight is zero need not be counted.

    Args:
        counts: what is divided.
        tiles: how.
        transitions, taste: whether they count.
    """

    def __init__(self, counts: Counts, tiles: Tiles, transitions: bool = True, taste: bool = True) -> None:
        self._counts, self._tiles = counts, tiles
        self._transitions = divide(counts.transitions.rows, tiles.width) if transitions else None
        columns = counts.taste.columns if taste else np.zeros(0, np.int64)
        self._ends = np.searchsorted(columns, [*tiles.firsts, tiles.items + 1])

    def scores(self, context: Histories) -> Iterator[tuple[Any, Any]]:
        """Shares of transitions and of taste, the arguments of compiled.logs, for each tile."""
        nothing = np.zeros((len(context), 0), np.float32)
        transitions: Iterator[Any] = itertools.repeat(nothing)
        if self._transitions:
            transitions = self._counts.transitions.tiles(context, self._transitions)
        columns = self._counts.taste.columns
        liked = self._liked(context) if self._ends[-1] else nothing
        for first, start, end in zip(self._tiles.firsts, self._ends, self._ends[1:], strict=False):
            taste = nothing
            if end > start:
                taste = np.zeros((len(context), columns[end - 1] - first + 1), np.float32)
                taste[:, columns[start:end] - first] = liked[:, start:end]
            yield next(transitions), taste

    def _liked(self, context: Histories) -> NDArray[np.float32]:
        """Shares of the taste, float32 [users, columns]."""
        liked = self._counts.taste.score_columns(context)
        np.maximum(liked, 0.0, out=liked)
        total = liked.sum(axis=1, keepdims=True)
        ranking.check_finite(total.max(initial=0.0))
        liked /= np.maximum(total, 1e-9)
        return liked


def biases(counts: Counts, weights: Weights, tiles: Tiles) -> list[tuple[Any, Any]]:
    """warm_bias and cold_bias of compiled.weighted for each tile."""
    warm, cold = whole_biases(counts, weights)
    return list(zip(tiles.divided(warm, 0.0), tiles.divided(cold, 0.0), strict=True))


def whole_biases(counts: Counts, weights: Weights) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the blend adds for every user with events, and for every user without, float32 [items + 1] each."""
    kinds = (POPULARITY, weights.half_life), (COLD_POPULARITY, weights.cold_half_life)
    warm, cold = (
        np.array([getattr(weights, name) for name in names], np.float32) @ counts.popular(days) for names, days in kinds
    )
    return warm, cold


def _shares(events: Histories, n_items: int) -> NDArray[np.float32]:
    """Each item's share of the events, after adding half an event to each; float32 [items + 1]."""
    counted = np.bincount(events.items, minlength=n_items + 1) + 0.5
    shares: NDArray[np.float32] = (counted / counted.sum()).astype(np.float32)
    return shares
