"""The network's scores joined with what counting knows better: item-to-item transitions, and what is popular now.

    log softmax(network) + a · log(transitions + ε) + b · log(recent share, half-life h)    for users with events
    log softmax(network) + c · log(recent share, half-life k)                               for users without

The tied output layer is of low rank; a transition matrix is of full rank, and so adds what the layer cannot hold. The network
knows no date; the share of an item in the latest events does. The weights and half-lives are chosen on the validation events,
once, when the network has been trained.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

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
PRIOR_EVENTS = 20.0
"""Pseudo-events that pull the recent shares towards the overall ones."""
MAX_EVENTS = 5_000_000
"""Transitions come from a sample of users with about so many events, so that they stay within a few gigabytes."""
TUNING_USERS = 4096
TUNING_BYTES = 1 << 30
"""Most memory that the tuned users' scores may take."""
HALF_LIVES = (3.0, 7.0, 14.0, 30.0, 90.0, 365.0)
"""Days."""
TRANSITIONS_GRID = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
RECENT_GRID = (0.0, 0.1, 0.25, 0.5, 1.0)
"""Small on purpose: popularity is over sooner than the validation part makes believe."""
COLD_RECENT_GRID = (*RECENT_GRID, 2.0, 4.0, 8.0, 16.0, 64.0)
DAY = 86_400.0


@dataclasses.dataclass(frozen=True)
class Weights:
    """a, b, h, c and k of the formula above; as they stand here where there is no validation part to choose them by."""

    transitions: float = 0.5
    recent: float = 0.0
    half_life: float = 90.0
    cold_recent: float = 1.0
    cold_half_life: float = 90.0


@dataclasses.dataclass(frozen=True)
class Counts:
    """What was counted.

    Attributes:
        transitions: CSR float32 [items + 1, items + 1], rows sum to 1.
        recent: log of each item's recent share by half-life, each float32 [items + 1].
    """

    transitions: sparse.csr_matrix
    recent: Mapping[float, NDArray[np.float32]]


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
        return combine(parts(self._network, self._counts, context), self._counts, self._weights)


@dataclasses.dataclass(frozen=True)
class Parts:
    """The summands for some users, before they are weighted.

    Attributes:
        network: log softmax, float32 [users, items + 1]
        transitions: log(transitions + ε), float32 [users, items + 1]
        cold: bool [users], users without events
    """

    network: NDArray[np.float32]
    transitions: NDArray[np.float32]
    cold: NDArray[np.bool_]


def parts(network: Scorer, counts: Counts, context: Histories) -> Parts:
    """Scores the users with the network and with the counts."""
    logits: NDArray[np.float32] = network.score(context)
    logits[:, 0] = -np.inf
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    recent = transitions.recent_events(context, logits.shape[1] - 1, WINDOW, DECAY)
    counted: NDArray[np.float32] = (recent @ counts.transitions).toarray()
    counted += np.float32(FLOOR)
    np.log(counted, out=counted)
    return Parts(logits, counted, context.lengths == 0)


def combine(summands: Parts, counts: Counts, weights: Weights) -> NDArray[np.float32]:
    """The weighted sum, float32 [users, items + 1]."""
    scores: NDArray[np.float32] = np.float32(weights.transitions) * summands.transitions
    scores += np.float32(weights.recent) * counts.recent[weights.half_life]
    scores[summands.cold] = np.float32(weights.cold_recent) * counts.recent[weights.cold_half_life]
    scores += summands.network
    return scores


def count(events: Histories, n_items: int, seed: int) -> Counts:
    """Counts in the given events: the training part to evaluate, all events to publish."""
    recent = {half_life: recent_share(events, n_items, half_life) for half_life in HALF_LIVES}
    sampled = events
    if len(events.items) > MAX_EVENTS:
        users = np.random.default_rng(seed).permutation(len(events))
        sampled = events.rows(np.sort(users[np.cumsum(events.lengths[users]) <= MAX_EVENTS]))
    return Counts(transitions.normalise(transitions.matrix(sampled, n_items, WINDOW, DECAY)), recent)


def recent_share(events: Histories, n_items: int, half_life: float) -> NDArray[np.float32]:
    """Log of each item's share of the events, each weighing 2^(-age / half-life), smoothed by PRIOR_EVENTS.

    Age is counted from the last event, in days. Returns float32 [items + 1].
    """
    overall = np.bincount(events.items, minlength=n_items + 1) + 0.5
    share = overall / overall.sum()
    age = (events.timestamps.max(initial=0) - events.timestamps) / DAY
    recent = np.bincount(events.items, np.exp2(-age / half_life), minlength=n_items + 1)
    logs: NDArray[np.float32] = np.log((recent + PRIOR_EVENTS * share) / (recent.sum() + PRIOR_EVENTS)).astype(np.float32)
    return logs


def tune(network: Scorer, counts: Counts, histories: Histories, n_items: int, seed: int) -> Weights:
    """The weights with the best NDCG@10 on the validation events; users with events and users without have their own."""
    users = int(np.clip(TUNING_BYTES // (8 * (n_items + 1)), 256, TUNING_USERS))
    targets = protocol.find_targets(histories, "valid", users, seed)
    scored = [(context, parts(network, counts, context)) for _, context in protocol.contexts(histories, targets, 512)]
    cold = targets.context_lengths == 0
    best = Weights(transitions=0.0)
    if not cold.all():
        following = [dataclasses.replace(best, transitions=a) for a in TRANSITIONS_GRID]
        best = _best(following, scored, counts, targets, ~cold)
        now = [dataclasses.replace(best, recent=b, half_life=h) for b in RECENT_GRID for h in HALF_LIVES]
        best = _best(now, scored, counts, targets, ~cold)
    if cold.any():
        now = [dataclasses.replace(best, cold_recent=c, cold_half_life=k) for c in COLD_RECENT_GRID for k in HALF_LIVES]
        best = _best(now, scored, counts, targets, cold)
    return best


def _best(
    candidates: Sequence[Weights],
    scored: Sequence[tuple[Histories, Parts]],
    counts: Counts,
    targets: protocol.Targets,
    users: NDArray[np.bool_],
) -> Weights:
    """The first of the candidates with the best NDCG@10 of the given users."""
    scores = []
    for weights in candidates:
        top = np.concatenate([_top(context, combine(summands, counts, weights)) for context, summands in scored])
        scores.append(metrics.per_user(top, targets.offsets, targets.items, (10,))["ndcg@10"][users].mean())
    return candidates[int(np.argmax(scores))]


def _top(context: Histories, scores: NDArray[np.float32]) -> NDArray[np.int32]:
    return top_k(scores, np.repeat(np.arange(len(context)), context.lengths), context.items, 10)[0]
