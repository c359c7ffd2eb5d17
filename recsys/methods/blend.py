"""The network's scores joined with what counting knows better: what follows what, taste at large, and what is popular now.

    log softmax(network) + a · log(transitions + ε) + e · log(taste + ε) + b · log(recent, half-life h) - p · log(share)
    log softmax(network) + c · log(recent, half-life k) - q · log(share)

The first line is for users with events, the second for those without. Taste is EASE's. The tied output layer is of low rank; a
transition matrix and EASE's are of full rank, and so add what the layer cannot hold. The network knows no date; the share of an
item in the latest events does, and what it says beyond the item's share in all events is news. The weights and half-lives are
chosen on the validation events, once, when the network has been trained.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from recsys.contract.histories import Histories
from recsys.measure import metrics, protocol
from recsys.measure.protocol import Scorer
from recsys.measure.ranking import block_rows, top_k
from recsys.methods import ease, transitions

WINDOW, DECAY = 10, 0.7
PENALTY = 300.0
"""EASE's."""
MAX_COLUMNS = 5_000
"""Only so many of the most popular items take part in EASE."""
FLOOR = 1e-3
"""ε: keeps the logarithm finite where nothing was counted."""
PRIOR_EVENTS = 20.0
"""Pseudo-events that pull the recent shares towards the overall ones."""
MAX_EVENTS = 5_000_000
"""Transitions and EASE come from a sample of users with about so many events, so that they stay within a few gigabytes."""
TUNING_USERS = 2048
TUNING_BYTES = 1 << 30
"""Most memory that the tuned users' scores may take."""
HALF_LIVES = (3.0, 7.0, 14.0, 30.0, 90.0, 365.0)
"""Days."""
GRID = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0)
"""Of the weights a and e."""
RECENT_GRID = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Of the weights b and c."""
SHARE_GRID = (0.0, 0.5, 1.0)
"""Of the weights p and q."""
TUNING_K = 20
"""Weights are chosen by NDCG at this length of list: twice the one that matters most, which is steadier with few users."""
ROUNDS = 2
"""How often the weights are gone through, one after the other."""
DAY = 86_400.0


@dataclasses.dataclass(frozen=True)
class Weights:
    """a, e, b, h, p and c, k, q of the formula above; as they stand here where no validation part is there to choose by."""

    transitions: float = 0.5
    taste: float = 0.0
    recent: float = 0.0
    half_life: float = 90.0
    share: float = 0.0
    cold_recent: float = 1.0
    cold_half_life: float = 90.0
    cold_share: float = 0.0


@dataclasses.dataclass(frozen=True)
class Counts:
    """What was counted.

    Attributes:
        transitions: CSR float32 [items + 1, items + 1], rows sum to 1.
        taste: EASE.
        share: log of each item's share of all events, float32 [items + 1].
        recent: log of each item's recent share by half-life, each float32 [items + 1].
    """

    transitions: sparse.csr_matrix
    taste: ease.Ease
    share: NDArray[np.float32]
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
    """The summands that differ from user to user, before they are weighted; each float32 [users, items + 1].

    Attributes:
        network: log softmax
        transitions: log(transitions + ε)
        taste: log(taste + ε)
        cold: bool [users], users without events
    """

    network: NDArray[np.float32]
    transitions: NDArray[np.float32]
    taste: NDArray[np.float32]
    cold: NDArray[np.bool_]


def parts(network: Scorer, counts: Counts, context: Histories) -> Parts:
    """Scores the users with the network and with the counts."""
    logits: NDArray[np.float32] = network.score(context)
    logits[:, 0] = -np.inf
    logits -= logits.max(axis=1, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    n_items = logits.shape[1] - 1
    recent = transitions.recent_events(context, n_items, WINDOW, DECAY)
    liked = np.zeros_like(logits)
    liked[:, counts.taste.columns] = np.maximum(counts.taste.score_columns(context), 0)
    liked /= np.maximum(liked.sum(axis=1, keepdims=True), np.float32(1e-9))
    return Parts(logits, _log((recent @ counts.transitions).toarray()), _log(liked), context.lengths == 0)


def combine(summands: Parts, counts: Counts, weights: Weights) -> NDArray[np.float32]:
    """The weighted sum, float32 [users, items + 1]."""
    w, cold = weights, summands.cold
    scores: NDArray[np.float32] = np.float32(w.transitions) * summands.transitions
    if w.taste:
        scores += np.float32(w.taste) * summands.taste
    scores += np.float32(w.recent) * counts.recent[w.half_life] - np.float32(w.share) * counts.share
    scores[cold] = np.float32(w.cold_recent) * counts.recent[w.cold_half_life] - np.float32(w.cold_share) * counts.share
    scores += summands.network
    return scores


def count(events: Histories, n_items: int, seed: int) -> Counts:
    """Counts in the given events: the training part to choose the weights, all before the test to evaluate, all to publish."""
    recent = {half_life: recent_share(events, n_items, half_life) for half_life in HALF_LIVES}
    sampled = events
    if len(events.items) > MAX_EVENTS:
        users = np.random.default_rng(seed).permutation(len(events))
        sampled = events.rows(np.sort(users[np.cumsum(events.lengths[users]) <= MAX_EVENTS]))
    following = transitions.normalise(transitions.matrix(sampled, n_items, WINDOW, DECAY))
    return Counts(following, ease.fit(sampled, n_items, PENALTY, MAX_COLUMNS), np.log(_shares(events, n_items)), recent)


def recent_share(events: Histories, n_items: int, half_life: float) -> NDArray[np.float32]:
    """Log of each item's share of the events, each weighing 2^(-age / half-life), smoothed by PRIOR_EVENTS.

    Age is counted from the last event, in days. Returns float32 [items + 1].
    """
    age = (events.timestamps.max(initial=0) - events.timestamps) / DAY
    recent = np.bincount(events.items, np.exp2(-age / half_life), minlength=n_items + 1)
    prior = PRIOR_EVENTS * _shares(events, n_items)
    logs: NDArray[np.float32] = np.log((recent + prior) / (recent.sum() + PRIOR_EVENTS)).astype(np.float32)
    return logs


def tune(network: Scorer, counts: Counts, histories: Histories, n_items: int, seed: int, since: int | None = None) -> Weights:
    """The weights with the best NDCG on the validation events; users with events and users without have their own.

    Args:
        network: scores by the network alone.
        counts: of the training part.
        histories: all events; only training and validation events are read.
        n_items: size of the catalogue.
        seed: of the draw of users.
        since: see protocol.find_targets.
    """
    users = int(np.clip(TUNING_BYTES // (12 * (n_items + 1)), 256, TUNING_USERS))
    targets = protocol.find_targets(histories, "valid", users, seed, since)
    block = block_rows(n_items, 512)
    scored = [(context, parts(network, counts, context)) for _, context in protocol.contexts(histories, targets, block)]
    cold = targets.context_lengths == 0
    best = Weights(transitions=0.0)
    if not len(cold):
        return Weights()
    popular = list(itertools.product(RECENT_GRID, HALF_LIVES, SHARE_GRID))
    for _ in range(ROUNDS):
        before = best
        if not cold.all():
            for name in ("transitions", "taste"):
                best = _best([dataclasses.replace(best, **{name: x}) for x in GRID], scored, counts, targets, ~cold)
            now = [dataclasses.replace(best, recent=b, half_life=h, share=p) for b, h, p in popular]
            best = _best(now, scored, counts, targets, ~cold)
        if cold.any():
            now = [dataclasses.replace(best, cold_recent=c, cold_half_life=k, cold_share=q) for c, k, q in popular]
            best = _best(now, scored, counts, targets, cold)
        if best == before:
            break
    return best


def _best(
    candidates: Sequence[Weights],
    scored: Sequence[tuple[Histories, Parts]],
    counts: Counts,
    targets: protocol.Targets,
    users: NDArray[np.bool_],
) -> Weights:
    """The first of the candidates with the best NDCG of the given users."""
    scores = []
    for weights in candidates:
        top = np.concatenate([_top(context, combine(summands, counts, weights)) for context, summands in scored])
        scores.append(metrics.per_user(top, targets.offsets, targets.items, (TUNING_K,))[f"ndcg@{TUNING_K}"][users].mean())
    return candidates[int(np.argmax(scores))]


def _top(context: Histories, scores: NDArray[np.float32]) -> NDArray[np.int32]:
    return top_k(scores, np.repeat(np.arange(len(context)), context.lengths), context.items, TUNING_K)[0]


def _log(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    shares += np.float32(FLOOR)
    return np.log(shares, out=shares)


def _shares(events: Histories, n_items: int) -> NDArray[np.float32]:
    """Each item's share of the events, half an event being added to each; float32 [items + 1]."""
    counted = np.bincount(events.items, minlength=n_items + 1) + 0.5
    shares: NDArray[np.float32] = (counted / counted.sum()).astype(np.float32)
    return shares
