"""The likelihood of the blend's weights against its formula, and its maximum."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from recsys.contract import histories
from recsys.measure.targets import contexts, find_targets
from recsys.methods import blend, compiled, likelihood
from recsys.methods.ease import Ease
from recsys.methods.likelihood import Validation
from recsys.methods.tiles import GROUP, Tiles
from recsys.methods.transitions import Transitions
from recsys.methods.weights import POPULARITY, WITHOUT_COUNTS, Weights
from tests.methods.matrices import FromMatrix
from tests.support import chains, write_features

ITEMS = 40
HALF_LIFE = 7.0
TILES = [Tiles.of(ITEMS), Tiles(ITEMS, rows=7, width=GROUP)]
COEFFICIENTS = np.array([0.7, 0.4, 1.1, 0.9, 0.2, 0.6, 0.3, -0.5, 0.2])
HELD = (1, 2, 3, 4)
"""Coefficients that users without events do not have."""


class Noise(FromMatrix):
    """A scorer that knows nothing, differently for each user."""

    def score(self, context):
        logits = np.array([np.random.default_rng(user).normal(0, 3, ITEMS + 1) for user in context.user_index], np.float32)
        logits[:, 0] = -np.inf
        return logits


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Some histories have no training event."""
    folder = write_features(tmp_path_factory.mktemp("features"), chains(users=90), ITEMS, valid=3, least_train=0)
    return histories.read(folder)


def summands(everything, targets, counts):
    """Logits, log transitions, log taste and the four of popularity, float64 [7, users, items + 1]; and what was seen."""
    ((_, context),) = contexts(everything, targets, len(targets.rows))
    train = everything.head(everything.train_length)
    found = [Noise(ITEMS).score(context)]
    found.append(np.log(Transitions.fit_one(train, ITEMS, blend.TRANSITIONS).score_known(context) + compiled.FLOOR))
    liked = np.maximum(Ease.fit_one(train, ITEMS, blend.TASTE).score(context), 0)
    liked[:, 0] = 0
    found.append(np.log(liked / np.maximum(liked.sum(axis=1, keepdims=True), 1e-9) + compiled.FLOOR))
    when = counts.trends.when(context)
    found += [of[0] + np.zeros_like(found[0]) if when is None else of[when] for of in counts.trends.popular(HALF_LIFE)]
    seen = np.zeros(found[0].shape, bool)
    seen[:, 0] = True
    for user in range(len(context)):
        seen[user, context.items[context.offsets[user] : context.offsets[user + 1]]] = True
    return np.array(found, np.float64), seen


def by_hand(coefficients, everything, targets, counts, weights, users):
    """The mean over users of the mean log-likelihood of their events, one event after the other."""
    parts, seen = summands(everything, targets, counts)
    g, a, a_many, e, e_many, *popular = coefficients
    values = []
    for user in np.flatnonzero(users):
        length = targets.context_lengths[user]
        place = np.clip(np.log(max(length, 1) / weights.few) / np.log(weights.many / weights.few), 0, 1)
        of = np.array([g, a + place * (a_many - a), e + place * (e_many - e), *popular])
        if length == 0:
            of[1:3] = 0
        scores = np.where(seen[user], -np.inf, np.tensordot(of, np.where(seen[user], 0.0, parts[:, user]), 1))
        mine = targets.items[targets.offsets[user] : targets.offsets[user + 1]]
        values.append((scores[mine] - np.log(np.exp(scores).sum())).mean())
    return np.mean(values)


def counted(everything, over_time=False):
    return blend.count(everything.head(everything.train_length), ITEMS, 0, over_time)


@pytest.mark.parametrize("tiles", TILES)
@pytest.mark.parametrize("cold", [False, True])
@pytest.mark.parametrize("over_time", [False, True])
def test_the_likelihood_is_that_of_the_formula_and_the_gradient_its_slope(everything, tiles, cold, over_time):
    counts, targets, weights = counted(everything, over_time), find_targets(everything, "valid"), Weights(few=2.0, many=6.0)
    users = (targets.context_lengths == 0) == cold
    assert 0 < users.sum() < len(users) and targets.context_lengths.max() > weights.many
    validation = Validation(Noise(ITEMS, tiles), counts, everything, targets)
    coefficients = np.where(np.isin(np.arange(9), HELD), 0.0, COEFFICIENTS) if cold else COEFFICIENTS
    value, gradient = validation.log_likelihood(coefficients, users, weights, validation.popular(HALF_LIFE))
    given = everything, targets, counts, weights, users
    assert value == pytest.approx(by_hand(coefficients, *given), abs=1e-5)
    for place, step in enumerate(1e-5 * np.eye(9)):
        if cold and place in HELD:
            continue
        slope = (by_hand(coefficients + step, *given) - by_hand(coefficients - step, *given)) / 2e-5
        assert gradient[place] == pytest.approx(slope, abs=1e-4)


@pytest.mark.parametrize("tiles", TILES)
def test_weights_that_made_the_events_are_found_again(everything, tiles, monkeypatch):
    """Targets are drawn from the formula itself; with as many as these the maximum lies near the weights, but for the prior."""
    monkeypatch.setattr(likelihood, "SPREAD", 100.0)
    targets, random = find_targets(everything, "valid"), np.random.default_rng(0)
    targets = dataclasses.replace(targets, offsets=np.arange(len(targets.rows) + 1) * 400)
    ends = np.percentile(targets.context_lengths[targets.context_lengths > 0], likelihood.SHORT_AND_LONG)
    counts, weights = counted(everything), Weights(few=np.rint(ends[0]), many=np.rint(ends[1]))
    made = dataclasses.replace(
        weights, transitions=0.4, transitions_many=1.2, taste=0.5, taste_many=0.0, recent=2.0, half_life=HALF_LIFE, share=1.0
    )
    parts, seen = summands(everything, targets, counts)
    of = [np.ones((len(seen), 1)), *made.of_counts(targets.context_lengths), made.recent, made.share, 0.0, 0.0]
    scores = sum(weight * part for weight, part in zip(of, np.where(seen, 0.0, parts), strict=True))
    scores[targets.context_lengths == 0] = parts[0, targets.context_lengths == 0]
    chances = np.where(seen, 0.0, np.exp(scores - scores.max(axis=1, keepdims=True)))
    chances /= chances.sum(axis=1, keepdims=True)
    drawn = [random.choice(ITEMS + 1, 400, p=chance) for chance in chances]
    targets = dataclasses.replace(targets, items=np.concatenate(drawn).astype(np.int32))
    found = likelihood.most_likely(Validation(Noise(ITEMS, tiles), counts, everything, targets)).blend
    assert (found.few, found.many) == (made.few, made.many)
    for name in ("transitions", "transitions_many", "taste", "taste_many"):
        assert getattr(found, name) == pytest.approx(getattr(made, name), abs=0.1), name


@pytest.mark.parametrize("over_time", [False, True])
def test_popularity_that_made_the_events_is_found_again_without_the_counts(everything, over_time, monkeypatch):
    monkeypatch.setattr(likelihood, "SPREAD", 100.0)
    targets, random = find_targets(everything, "valid"), np.random.default_rng(0)
    counts = counted(everything, over_time)
    parts, seen = summands(everything, targets, counts)
    scores = parts[0] + 1.5 * parts[3] + 0.5 * parts[4]
    chances = np.where(seen, 0.0, np.exp(scores - scores.max(axis=1, keepdims=True)))
    chances /= chances.sum(axis=1, keepdims=True)
    drawn = np.concatenate([random.choice(ITEMS + 1, 400, p=chance) for chance in chances]).astype(np.int32)
    targets = dataclasses.replace(targets, offsets=np.arange(len(targets.rows) + 1) * 400, items=drawn)
    found = likelihood.most_likely(Validation(Noise(ITEMS), counts, everything, targets)).cnn
    assert not any((found.transitions, found.transitions_many, found.taste, found.taste_many))
    expected = 1.5 * counts.trends.recent[HALF_LIFE] - 0.5 * counts.trends.share
    added = np.tensordot([getattr(found, name) for name in POPULARITY], counts.trends.popular(found.half_life), 1)
    last = [of[-1, 1:] - of[-1, 1:].mean() for of in (added, expected)]
    np.testing.assert_allclose(*last, atol=0.2)
    assert np.std(last[1]) > 0.4


def test_a_network_that_made_the_events_is_left_alone(everything):
    """Users with many events drawn from its own probabilities; the counts, which know other things, stay near zero."""
    targets, random = find_targets(everything, "valid"), np.random.default_rng(0)
    counts = counted(everything)
    parts, seen = summands(everything, targets, counts)
    chances = np.where(seen, 0.0, np.exp(parts[0]))
    chances /= chances.sum(axis=1, keepdims=True)
    drawn = np.concatenate([random.choice(ITEMS + 1, 400, p=chance) for chance in chances]).astype(np.int32)
    targets = dataclasses.replace(targets, offsets=np.arange(len(targets.rows) + 1) * 400, items=drawn)
    found = likelihood.most_likely(Validation(Noise(ITEMS), counts, everything, targets)).blend
    weights = found.transitions, found.transitions_many, found.taste, found.taste_many
    assert max(weights) < 0.05


def test_a_narrow_prior_holds_the_weights_at_their_start(everything, monkeypatch):
    validation = Validation(Noise(ITEMS), counted(everything), everything, find_targets(everything, "valid"))
    free = likelihood.most_likely(validation).blend
    monkeypatch.setattr(likelihood, "SPREAD", 0.02)
    held = likelihood.most_likely(validation).blend
    for name, start in (("transitions", 0.0), ("transitions_many", 0.0), ("cold_recent", 1.0)):
        assert abs(getattr(held, name) - start) < 0.1 < abs(getattr(free, name) - start), name


def test_without_validation_events_the_defaults_apply(everything):
    none = dataclasses.replace(everything, valid_length=everything.train_length)
    found = likelihood.most_likely(Validation(Noise(ITEMS), counted(none), none, find_targets(none, "valid")))
    assert found == (Weights(), WITHOUT_COUNTS)


def test_who_has_no_events_has_weights_of_their_own(everything):
    """Nobody has training events: what is added for users with events keeps its defaults, the other weights are chosen."""
    fresh = dataclasses.replace(everything, train_length=np.zeros_like(everything.train_length))
    validation = Validation(Noise(ITEMS), counted(everything), fresh, find_targets(fresh, "valid"))
    found, cnn = likelihood.most_likely(validation)
    assert dataclasses.replace(cnn, transitions=0.5, transitions_many=0.5) == found
    assert found.cold_recent != Weights().cold_recent
    kept = {name: value for name, value in dataclasses.asdict(found).items() if not name.startswith("cold_")}
    assert kept == {name: value for name, value in dataclasses.asdict(Weights()).items() if not name.startswith("cold_")}
