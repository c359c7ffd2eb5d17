"""The network's scores joined with what counting knows better: item-to-item transitions, and how popularity moves.

    score(user, item) = log softmax(network) + a · log(transitions + ε) + b · trend          users with events
    score(user, item) = log softmax(network) + c · trend                                     users without

The tied output layer is of low rank; a transition matrix is of full rank, and so adds what the layer cannot hold. The trend is
the logarithm of an item's share of the latest training events over its share of all. The weights a, b and c are chosen on the
validation events, once, when the network has been trained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.evaluation import metrics, protocol
from recsys.evaluation.baselines import transitions
from recsys.evaluation.protocol import Scorer
from recsys.histories import Histories
from recsys.ranking import top_k

WINDOW, DECAY = 10, 0.7
FLOOR = 1e-3
"""ε: keeps the logarithm finite where no transition was counted."""
RECENT_SHARE = 0.05
"""Share of the events, the latest ones, that the trend is taken from."""
PRIOR_EVENTS = 50.0
"""Pseudo-events that pull the recent shares towards the overall ones."""
MAX_EVENTS = 5_000_000
"""Counts come from a sample of users with about so many events, so that they stay within a few gigabytes."""
TUNING_USERS = 4096
TUNING_BYTES = 1 << 30
"""Most memory that the tuned users' scores may take."""
GRID = {
    "transitions": (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0),
    "trend": (0.0, 0.1, 0.25, 0.5, 0.75, 1.0),
    "cold_trend": (0.0, 0.25, 0.5, 0.75, 1.0),
}


@dataclasses.dataclass(frozen=True)
class Weights:
    """a, b and c of the formula above."""

    transitions: float = 0.0
    trend: float = 0.0
    cold_trend: float = 0.0


@dataclasses.dataclass(frozen=True)
class Counts:
    """What was counted.

    Attributes:
        transitions: CSR float32 [items + 1, items + 1], normalised.
        trend: float32 [items + 1]
    """

    transitions: sparse.csr_matrix
    trend: NDArray[np.float32]


class Blend:
    """The network with the counts: the method that recsys publishes.

    Args:
        network: scores by the network alone.
        counts: see `count`.
        weights: see `tune`.
    """

    name = "cnn"

    def __init__(self, network: Scorer, counts: Counts, weights: Weights) -> None:
        self._network, self._counts, self._weights = network, counts, weights

    def score(self, context: Histories) -> NDArray[np.float32]:
        """float32 [users, items + 1], see the module's formula; column 0 is padding."""
        return combine(parts(self._network, self._counts, context), self._weights)


@dataclasses.dataclass(frozen=True)
class Parts:
    """The summands for some users, before they are weighted; each float32 [users, items + 1]."""

    network: NDArray[np.float32]
    transitions: NDArray[np.float32]
    trend: NDArray[np.float32]
    cold: NDArray[np.bool_]


def parts(network: Scorer, counts: Counts, context: Histories) -> Parts:
    """Scores the users with the network and with the counts."""
    logits: NDArray[np.float32] = network.score(context)
    logits[:, 0] = -np.inf
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    recent = transitions.recent_events(context, len(counts.trend) - 1, WINDOW, DECAY)
    counted: NDArray[np.float32] = (recent @ counts.transitions).toarray()
    counted += np.float32(FLOOR)
    np.log(counted, out=counted)
    return Parts(logits, counted, counts.trend, context.lengths == 0)


def combine(summands: Parts, weights: Weights) -> NDArray[np.float32]:
    """The weighted sum, float32 [users, items + 1]."""
    following = np.where(summands.cold, 0, weights.transitions).astype(np.float32)
    moving = np.where(summands.cold, weights.cold_trend, weights.trend).astype(np.float32)
    scores: NDArray[np.float32] = summands.network + following[:, None] * summands.transitions
    return scores + moving[:, None] * summands.trend


def count(events: Histories, n_items: int, seed: int) -> Counts:
    """Counts transitions and trend in the given events: the training part to evaluate, all events to publish."""
    if len(events.items) > MAX_EVENTS:
        users = np.random.default_rng(seed).permutation(len(events))
        sampled = np.sort(users[np.cumsum(events.lengths[users]) <= MAX_EVENTS])
        return Counts(_transitions(events.rows(sampled), n_items), trend(events, n_items))
    return Counts(_transitions(events, n_items), trend(events, n_items))


def trend(events: Histories, n_items: int) -> NDArray[np.float32]:
    """log(recent share / overall share) of each item, smoothed by PRIOR_EVENTS: float32 [items + 1]."""
    if not len(events.items):
        return np.zeros(n_items + 1, np.float32)
    since = np.quantile(events.timestamps, 1 - RECENT_SHARE, method="higher")
    overall = np.bincount(events.items, minlength=n_items + 1).astype(np.float64)
    recent = np.bincount(events.items[events.timestamps >= since], minlength=n_items + 1)
    share = (overall + 0.5) / (overall + 0.5).sum()
    latest = (recent + PRIOR_EVENTS * share) / (recent.sum() + PRIOR_EVENTS)
    moved: NDArray[np.float32] = np.log(latest / share).astype(np.float32)
    return moved


def tune(network: Scorer, counts: Counts, histories: Histories, n_items: int, seed: int) -> Weights:
    """The weights with the best NDCG@10 on the validation events, one after another, each from its grid."""
    users = int(np.clip(TUNING_BYTES // (8 * (n_items + 1)), 256, TUNING_USERS))
    targets = protocol.find_targets(histories, "valid", users, seed)
    blocks = [(place, context) for place, context in protocol.contexts(histories, targets, 512)]
    scored = [(context, parts(network, counts, context)) for _, context in blocks]
    best = Weights()
    best_score = _ndcg(scored, best, targets)
    for name, grid in GRID.items():
        for value in grid:
            candidate = dataclasses.replace(best, **{name: value})
            score = _ndcg(scored, candidate, targets)
            if score > best_score:
                best, best_score = candidate, score
    return best


def _transitions(events: Histories, n_items: int) -> sparse.csr_matrix:
    return transitions.normalise(transitions.matrix(events, n_items, WINDOW, DECAY))


def _ndcg(scored: list[tuple[Histories, Parts]], weights: Weights, targets: protocol.Targets) -> float:
    top = np.concatenate(list(_tops(scored, weights)))
    return float(metrics.per_user(top, targets.offsets, targets.items, (10,))["ndcg@10"].mean())


def _tops(scored: list[tuple[Histories, Parts]], weights: Weights) -> Iterator[NDArray[np.int32]]:
    for context, summands in scored:
        seen = np.repeat(np.arange(len(context)), context.lengths)
        yield top_k(combine(summands, weights), seen, context.items, 10)[0]
