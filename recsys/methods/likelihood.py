"""The blend's weights by maximum likelihood: those with which validation events are most likely among all unseen items.

The blend's score is linear in its weights, so the mean over users of the mean log-likelihood of their validation events, with

    p(item) = softmax over unseen items of g · logits + a(n) · log(transitions + ε) + e(n) · log(taste + ε) + popular

is concave in g, a, e and the weights of popularity; with a normal prior around START it has one maximum for each half-life.
Divided by g they are the weights of recsys.methods.blend, for no list depends on g. Every event counts, not only what comes
near the top of a list, so some hundred users suffice; the weights with the best NDCG of their lists would be chosen by chance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from recsys.contract.histories import Histories
from recsys.measure import ranking, threads
from recsys.measure.targets import Targets, contexts
from recsys.methods import compiled
from recsys.methods.blend import Counts, Logits, Tiled
from recsys.methods.trends import HALF_LIVES
from recsys.methods.weights import COLD_POPULARITY, POPULARITY, Chosen, Weights
from recsys.model import tf

WEIGHTS: Final = ("transitions", "transitions_many", "taste", "taste_many", *POPULARITY)
"""Fields of Weights, in the order of the coefficients that follow g."""
START: Final = (1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""The network alone."""
COLD_START: Final = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
"""For users without events, what is popular now as well."""
SPREAD: Final = 1.0
"""Standard deviation of a normal prior of each coefficient around its start: few users must agree clearly to move it."""
NETWORK, COUNTED, POPULAR = (0.2, 4.0), (0.0, 8.0), (*2 * ((0.0, 16.0),), *2 * ((-8.0, 8.0),))
"""Bounds of g, of a and e, and of popularity's weights."""
NOTHING: Final = 4 * ((0.0, 0.0),)
"""Bounds of a and e where nothing is counted of them."""
SHORT_AND_LONG: Final = (5, 95)
"""Percentiles of the lengths of histories between which a and e change."""
TOLERANCE: Final = 1e-6
"""Relative gain of a step that ends the search: the likelihood is summed in float32."""

Popular = tuple[NDArray[np.float64], Sequence[Any]]
"""See Validation.popular."""


@dataclasses.dataclass(frozen=True)
class _Block:
    """Some users and what is summed for them.

    Attributes:
        users: of the targets.
        context: their events; filled up as in Tiles.blocks.
        when: see Trends.when.
        tiles: of each tile the logits, float32 [rows, width], -inf where an item was seen, and what compiled.logs returns.
    """

    users: slice
    context: Histories
    when: NDArray[np.int32] | None
    tiles: Sequence[tuple[Any, Any, Any]]


class Validation:
    """The validation events of some users, with everything that the blend's weights weigh.

    Args:
        network: the validated one.
        counts: of the training part.
        histories: all events.
        targets: the users, and the events that are to be likely.

    Raises:
        RecsysError: a logit is NaN or +inf.
    """

    def __init__(self, network: Logits, counts: Counts, histories: Histories, targets: Targets) -> None:
        self.lengths: NDArray[np.int64] = targets.context_lengths
        self._counts, self._tiles, self._targets = counts, network.tiles, targets
        self._owners = np.repeat(np.arange(len(targets.rows)), np.diff(targets.offsets))
        self._observed = np.zeros((len(targets.rows), 3))
        self._when = np.zeros(len(targets.rows), np.int32)
        self._blocks = []
        tiled = Tiled(counts, network.tiles)
        for place, context in contexts(histories, targets, network.block_users(network.tiles.items)):
            for users, some, logits in network.logits(context):
                mine = slice(place.start + users.start, place.start + users.stop)
                given = zip(self._tiles.firsts, logits, tiled.scores(some), strict=True)
                when = counts.trends.when(some)
                if when is not None:
                    self._when[mine] = when[: users.stop - users.start]
                self._blocks.append(_Block(mine, some, when, [self._tile(mine, some, *of) for of in given]))

    def _tile(
        self, users: slice, context: Histories, first: int, logits: Any, counted: tuple[Any, Any]
    ) -> tuple[Any, Any, Any]:
        """One tile of a block; adds what it holds of the targets to what was observed."""
        ranking.check_finite(compiled.log_sum(logits).numpy().max())
        parts = np.array(logits), *(part.numpy() for part in compiled.logs(*counted))
        events = slice(self._targets.offsets[users.start], self._targets.offsets[users.stop])
        owners, columns = self._owners[events], self._targets.items[events] - first
        here = (columns >= 0) & (columns < self._tiles.width)
        for kind, part in enumerate(parts):
            values = compiled.filled(part, parts[0]).numpy()[owners[here] - users.start, columns[here]]
            np.add.at(self._observed[:, kind], owners[here], values)
        rows, seen = ranking.seen(context)
        here = (seen >= first) & (seen < first + self._tiles.width)
        parts[0][rows[here], seen[here] - first] = -np.inf
        logits, transitions, taste = map(tf.constant, parts)
        return logits, transitions, taste

    def popular(self, half_life: float) -> Popular:
        """Trends.popular: of the targets, summed over those of each user, float64 [users, 4], and of each tile of items."""
        popular = self._counts.trends.popular(half_life)
        mine = popular[:, self._when[self._owners], self._targets.items]
        observed = np.stack([np.bincount(self._owners, of, len(self._when)) for of in mine], axis=1).astype(np.float64)
        return observed, list(map(tf.constant, self._tiles.divided(popular, 0.0)))

    def log_likelihood(
        self, coefficients: NDArray[np.float64], users: NDArray[np.bool_], weights: Weights, popular: Popular
    ) -> tuple[float, NDArray[np.float64]]:
        """The mean over users of the mean log-likelihood of their events, and its gradient.

        Args:
            coefficients: of the module's formula, in the order of START.
            users: bool [users], those who count.
            weights: of which `few` and `many` are used.
            popular: what `popular` returns for a half-life.
        """
        of_targets, tiles = popular
        observed = np.concatenate([self._observed, of_targets], axis=1) / np.diff(self._targets.offsets)[:, None]
        blocks = [block for block in self._blocks if users[block.users].any()]
        total, expected = np.zeros(len(users)), np.zeros_like(observed)
        tried = dataclasses.replace(weights, **dict(zip(WEIGHTS, coefficients[1:], strict=True)))

        def under(block: _Block) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            return _under(coefficients, tried, block, tiles)

        for block, found in zip(blocks, threads.in_order(under, blocks), strict=True):
            count = block.users.stop - block.users.start
            total[block.users], expected[block.users] = (part[:count] for part in found)
        place = weights.towards_many(self.lengths)
        values = _features(observed, place) @ coefficients - total
        return float(values[users].mean()), _features(observed - expected, place)[users].mean(axis=0)


def most_likely(validation: Validation) -> Chosen:
    """The weights with the greatest likelihood, for users with and without events apart.

    A kind of users that has none gets the defaults.
    """
    weights, lengths = Weights(), validation.lengths
    if not lengths.all():
        found, half_life = _maximum(validation, lengths == 0, weights, COLD_START, (NETWORK, *NOTHING, *POPULAR))
        weights = dataclasses.replace(weights, **dict(zip(COLD_POPULARITY, found[5:], strict=True)), cold_half_life=half_life)
    if not lengths.any():
        return Chosen(weights, dataclasses.replace(weights, transitions=0.0, transitions_many=0.0))
    few, many = map(float, np.rint(np.percentile(lengths[lengths > 0], SHORT_AND_LONG)))
    weights = dataclasses.replace(weights, few=few, many=many)
    best: list[Weights] = []
    for counted in (4 * (COUNTED,), NOTHING):
        found, half_life = _maximum(validation, lengths > 0, weights, START, (NETWORK, *counted, *POPULAR))
        of = dict(zip(WEIGHTS, found[1:], strict=True))
        if few == many:  # nobody told the second ends anything
            of |= {f"{kind}_many": of[kind] for kind in ("transitions", "taste")}
        best.append(dataclasses.replace(weights, **of, half_life=half_life))
    return Chosen(*best)


def _maximum(
    validation: Validation,
    users: NDArray[np.bool_],
    weights: Weights,
    start: Sequence[float],
    bounds: Sequence[tuple[float, float]],
) -> tuple[list[float], float]:
    """The most likely coefficients of some users, divided by the first, and the half-life of the recent shares."""
    prior, strength = np.array(start), 1 / (SPREAD**2 * np.count_nonzero(users))
    coefficients, solved = prior, []
    for half_life in HALF_LIVES:
        popular = validation.popular(half_life)

        def loss(given: NDArray[np.float64], popular: Popular = popular) -> tuple[float, NDArray[np.float64]]:
            value, gradient = validation.log_likelihood(given, users, weights, popular)
            away = given - prior
            return strength * float(away @ away) / 2 - value, strength * away - gradient

        found = minimize(loss, coefficients, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": TOLERANCE})
        coefficients = found.x
        solved.append((float(found.fun), half_life, [float(of) for of in coefficients / coefficients[0]]))
    _, half_life, best = min(solved)
    return best, half_life


def _features(moments: NDArray[np.float64], place: NDArray[np.float32]) -> NDArray[np.float64]:
    """What the coefficients are multiplied with, float64 [users, coefficients].

    Args:
        moments: float64 [users, 7], means of logits, log transitions, log taste and of what Trends.popular returns.
        place: see Weights.towards_many.
    """
    logits, transitions, taste, *popular = moments.T
    few, many = 1 - place, place
    return np.stack([logits, few * transitions, many * transitions, few * taste, many * taste, *popular], axis=1)


def _under(
    coefficients: NDArray[np.float64], weights: Weights, block: _Block, popular: Sequence[Any]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """log Σ exp(score) of the unseen items, float64 [rows], and the means of what is summed, float64 [rows, 7].

    Args:
        coefficients, weights: the same ones; `weights` has all but g.
        block: the users.
        popular: of each tile of items, see Validation.popular.
    """
    lengths = block.context.lengths
    g, weigh, counted = np.float32(coefficients[0]), coefficients[5:].astype(np.float32), weights.of_counts(lengths)
    users = lengths == 0, block.when, g, *counted
    found = [_moments(*tile, *users, of, weigh) for tile, of in zip(block.tiles, popular, strict=True)]
    highest, sums = (np.stack([part.numpy() for part in parts]).astype(np.float64) for parts in zip(*found, strict=True))
    top = highest.max(axis=0)
    sums = (np.exp(highest - top)[..., None] * sums).sum(axis=0)
    return top + np.log(sums[:, 0]), sums[:, 1:] / sums[:, :1]


@tf.function(jit_compile=True, autograph=False)  # type: ignore[untyped-decorator]
def _moments(
    logits: Any,
    transitions: Any,
    taste: Any,
    cold: Any,
    when: Any,
    g: Any,
    of_transitions: Any,
    of_taste: Any,
    popular: Any,
    weigh: Any,
) -> Any:
    """The highest score of a tile, float32 [rows]; Σ exp(score - highest), alone and times each of what is summed, [rows, 8].

    Args:
        logits, transitions, taste, cold, when, of_transitions, of_taste: see compiled.weighted.
        g: coefficient of the logits.
        popular: float32 [4, moments, width], a tile of Trends.popular.
        weigh: float32 [4], their coefficients.
    """
    bias = tf.reduce_sum(popular * weigh[:, None, None], axis=0)  # no product of matrices, which a GPU rounds to TF32
    scores = compiled.weighted(g * logits, transitions, taste, cold, when, bias, bias[-1], of_transitions, of_taste)
    highest = tf.maximum(tf.reduce_max(scores, axis=1, keepdims=True), logits.dtype.min)  # if all were seen
    chances = tf.exp(scores - highest)
    known = tf.where(tf.math.is_inf(logits), 0.0, logits)
    counted = [known, compiled.filled(transitions, logits), compiled.filled(taste, logits)]
    summed = (tf.ones_like(logits), *counted, *(compiled.at(of, when) for of in tf.unstack(popular)))
    return highest[:, 0], tf.stack([tf.reduce_sum(chances * of, axis=1) for of in summed], axis=1)
