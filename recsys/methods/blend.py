"""`blend`, the published method: the network's scores combined with what counting captures better.

    log softmax(network) + a(n) · log(transitions + ε) + e(n) · log(taste + ε) + popular
    popular = b · log(recent, half-life h) - p · log(share) + f · log(1 + age) + l · log(1 + idle)

for users with n events; for those without, the network and a popularity with weights of its own. *Transitions* is what follows
what, *taste* is EASE, *recent* an item's share of the latest events, *share* its share of all events, *age* and *idle* the days
since its first and its last one; as of which moment, see recsys.methods.trends. The tied output layer has low rank; the
full-rank transition and EASE matrices add what it cannot represent. What is counted from a long history is more certain than
from a short one, so a and e depend on its length.

`cnn` in tables is the network with popularity alone, whose weights are chosen likewise: a blend without transitions and taste.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from recsys import storage
from recsys.contract.histories import Histories
from recsys.measure import ranking
from recsys.measure.protocol import Top
from recsys.methods import compiled, counting, trends
from recsys.methods.base import Method
from recsys.methods.ease import Ease
from recsys.methods.tiles import Tiles
from recsys.methods.transitions import Transitions, divide
from recsys.methods.trends import DATES, Trends
from recsys.methods.weights import COLD_POPULARITY, POPULARITY, Chosen, Weights, read_weights, write_weights
from recsys.model import tf

TRANSITIONS: Final = {"window": 10, "decay": 0.7, "balance": 0.0}
TASTE: Final = {"penalty": 300.0, "max_columns": 5_000}
"""Points of Transitions and Ease. EASE uses only the most popular items: it grows with the square of their number."""
MAX_EVENTS: Final = 5_000_000
"""Transitions and EASE are fitted on a sample of users with at most this many events, to stay within a few gigabytes."""

BLEND: Final = "blend"
TRANSITIONS_FILE, TASTE_FILE, SHARES_FILE = "transitions.npz", "taste.npz", "shares.npz"
RECENT: Final = "recent_"


@dataclasses.dataclass(frozen=True)
class Counts:
    """The fitted counts.

    Attributes:
        transitions: rows sum to 1.
        taste: EASE.
        trends: how popular the items were, and when.
    """

    transitions: Transitions
    taste: Ease
    trends: Trends


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
        name: in tables.
    """

    def __init__(self, network: Logits, counts: Counts, weights: Weights, name: str = BLEND) -> None:
        self.network, self.counts, self.weights, self.name = network, counts, weights, name
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
            cold, weights, when = some.lengths == 0, self.weights.of_counts(some.lengths), self.counts.trends.when(some)
            yield users, ((scores, *counted, cold, when, *same, *weights) for scores, counted, same in parts)

    @classmethod
    def load(cls, uri: str, network: Logits) -> Self:
        """Reads what `save` wrote.

        Args:
            uri: the folder.
            network: the network for which the weights were chosen.
        """
        transitions, taste = Transitions.load(storage.join(uri, TRANSITIONS_FILE)), Ease.load(storage.join(uri, TASTE_FILE))
        chosen = read_weights(uri)
        counts = Counts(transitions, taste, _read_trends(storage.join(uri, SHARES_FILE), chosen))
        return cls(network, counts, chosen.blend)

    def cnn(self, uri: str) -> Blend:
        """The network of a loaded blend with popularity alone, as tables show it.

        Args:
            uri: the folder that the blend was loaded from.
        """
        return Blend(self.network, self.counts, read_weights(uri).cnn, self.network.name)


def save(uri: str, counts: Counts, chosen: Chosen) -> None:
    """Writes everything a Blend needs besides its network into the folder, the weights last.

    Args:
        uri: the folder.
        counts: of the trends, only the half-lives of the weights are kept.
        chosen: the weights.
    """
    counts.transitions.save(storage.join(uri, TRANSITIONS_FILE))
    counts.taste.save(storage.join(uri, TASTE_FILE))
    recent = [(f"{RECENT}{days:g}", counts.trends.recent[days]) for days in _half_lives(chosen)]
    others = [(name, getattr(counts.trends, name)) for name in ("moments", "share", *DATES)]
    storage.write_arrays(storage.join(uri, SHARES_FILE), [*others, *recent])
    write_weights(uri, chosen)


def _half_lives(chosen: Chosen) -> list[float]:
    return sorted({days for of in chosen for days in (of.half_life, of.cold_half_life)})


def _read_trends(uri: str, chosen: Chosen) -> Trends:
    with storage.open_arrays(uri) as arrays:
        share, recent = arrays["share"], {days: arrays[f"{RECENT}{days:g}"] for days in _half_lives(chosen)}
        if "moments" in arrays:
            return Trends(arrays["moments"], share, recent, *(arrays[name] for name in DATES))
        dates = [arrays[name] if name in arrays else np.zeros_like(share) for name in DATES]  # not there at first
    by_days = {days: of[None] for days, of in recent.items()}  # of before 2026-11-29: as of the last event alone
    return Trends(np.zeros(1, np.int64), share[None], by_days, *(of[None] for of in dates))


def count(events: Histories, n_items: int, seed: int, over_time: bool = False) -> Counts:
    """Counts over events: the training part to choose weights, all before the test to evaluate, all events to publish.

    Args:
        events: what is counted.
        n_items: size of the catalogue.
        seed: for sampling users.
        over_time: whether popularity is counted at moments of the past too, for users who were last there then; otherwise
            everybody is recommended something at the time of the last event.
    """
    sampled = counting.sample_users(events, MAX_EVENTS, seed)
    moments = trends.moments_of(events, n_items) if over_time else trends.last(events)
    return Counts(
        transitions=Transitions.fit_one(sampled, n_items, TRANSITIONS),
        taste=Ease.fit_one(sampled, n_items, TASTE),
        trends=Trends.count(events, n_items, moments),
    )


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
    divided = (map(tf.constant, tiles.divided(bias, 0.0)) for bias in whole_biases(counts, weights))
    return list(zip(*divided, strict=True))


def whole_biases(counts: Counts, weights: Weights) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What the blend adds for every user with events, by the moment, float32 [moments, items + 1], and for every user without,
    as of the last moment, float32 [items + 1]."""
    popular, latest = counts.trends.popular(weights.half_life), counts.trends.popular(weights.cold_half_life)[:, -1]
    warm, cold = (np.array([getattr(weights, name) for name in names], np.float32) for names in (POPULARITY, COLD_POPULARITY))
    return np.tensordot(warm, popular, 1), np.tensordot(cold, latest, 1)
