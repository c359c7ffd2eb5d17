from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from recsys.config import Config
from recsys.contract.histories import Histories
from recsys.errors import ConfigError
from recsys.measure import protocol
from recsys.methods import counting, ease, item_knn, popularity, recent_popularity, traditional, transitions, tuning
from tests.measure.helpers import histories, random_histories

N = 25
LOCAL = [name for name in traditional.MODULES if name != "als"]


@pytest.fixture
def train() -> Histories:
    return random_histories(60, N - 1, 0)  # item N has no event


def _dense(data: Histories) -> np.ndarray:
    matrix = np.zeros((len(data), N + 1))
    matrix[np.repeat(np.arange(len(data)), data.lengths), data.items] = 1
    return matrix


def _events(data: Histories, user: int) -> list[int]:
    return data.items[data.offsets[user] : data.offsets[user + 1]].tolist()


def test_popularity_counts(train: Histories) -> None:
    scores = popularity.fit(train, N).score(train.rows(np.arange(2)))
    np.testing.assert_array_equal(scores, np.tile(_dense(train).sum(axis=0), (2, 1)))


def test_recent_popularity_halves_with_the_half_life_and_ranks_the_same_at_any_later_moment() -> None:
    data = histories([[1, 2], [1, 3]])
    days = np.array([0, 20, 10, 20], np.int64)
    data = dataclasses.replace(data, timestamps=days * 86_400)
    weights = recent_popularity.fit(data, 3, half_life=10).weights
    np.testing.assert_allclose(weights, [0, 0.25 + 0.5, 1, 1])
    later = dataclasses.replace(data, timestamps=np.append(days[:-1], 50) * 86_400)
    moved = recent_popularity.fit(later, 3, half_life=10).weights
    np.testing.assert_allclose(moved[1] / moved[2], 0.75)


@pytest.mark.parametrize(("neighbours", "shrinkage"), [(3, 0.0), (5, 10.0), (100, 1.0)])
@pytest.mark.parametrize("entries", [30, 10**6])
def test_item_knn_by_brute_force(
    train: Histories, neighbours: int, shrinkage: float, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "GRAM_ENTRIES", entries)
    events = _dense(train)
    both = events.T @ events
    norms = np.sqrt(np.diag(both))
    with np.errstate(invalid="ignore"):
        similar = np.nan_to_num(both / (np.outer(norms, norms) + shrinkage))
    np.fill_diagonal(similar, 0)
    model = item_knn.fit(train, N, neighbours, shrinkage)
    kept = model.similarity.toarray()
    assert ((kept > 0).sum(axis=0) <= neighbours).all()
    np.testing.assert_allclose(np.sort(kept, axis=0)[-neighbours:], np.sort(similar, axis=0)[-neighbours:], atol=1e-6)
    np.testing.assert_allclose(kept[kept > 0], similar[kept > 0], rtol=1e-5)
    expected = (events @ kept)[:, 1:]
    speaks = expected.any(axis=1)  # the others get popularity
    np.testing.assert_allclose(model.score(train)[speaks, 1:], expected[speaks], atol=1e-5)


def test_item_knn_uses_the_last_events_of_very_long_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_knn, "MAX_EVENTS", 2)
    similar = item_knn.fit(histories([[1, 2, 3], [2, 3]]), 3, 5, 0).similarity.toarray()
    assert similar[2, 3] == pytest.approx(1)
    assert similar[1].sum() == 0


def test_ease_solves_its_ridge_regressions(train: Histories) -> None:
    events = _dense(train)[:, 1:]
    model = ease.fit(train, N, penalty=20.0)
    for item in range(N):
        others = np.delete(np.arange(N), item)
        x = events[:, others]
        expected = np.linalg.solve(x.T @ x + 20 * np.eye(N - 1), x.T @ events[:, item])
        np.testing.assert_allclose(model.weights[others, item], expected, atol=1e-5)
    assert not np.diag(model.weights).any()
    np.testing.assert_allclose(model.score(train)[:, 1:], events @ model.weights, atol=1e-5)


def test_ease_with_few_columns_ranks_the_other_items_last_by_popularity(train: Histories) -> None:
    model = ease.fit(train, N, penalty=20.0, max_columns=5)
    counts = _dense(train).sum(axis=0)[1:]
    assert set(model.columns - 1) == set(np.argsort(-counts, kind="stable")[:5])
    scores = model.score(train)
    outside = np.setdiff1d(np.arange(1, N + 1), model.columns)
    known = np.isin(_dense(train).nonzero()[1], model.columns)
    rows = np.unique(_dense(train).nonzero()[0][known])
    assert (scores[rows][:, outside].max(axis=1) < scores[rows][:, model.columns].min(axis=1)).all()
    order = outside[np.argsort(-scores[rows[0], outside], kind="stable")]
    assert (np.diff(counts[order - 1]) <= 0).all()


@pytest.mark.parametrize(("window", "decay"), [(1, 0.7), (3, 0.5), (50, 0.9)])
def test_transition_counts_by_brute_force(train: Histories, window: int, decay: float) -> None:
    expected = np.zeros((N + 1, N + 1))
    for user in range(len(train)):
        items = _events(train, user)
        for start, first in enumerate(items):
            for lag, second in enumerate(items[start + 1 : start + 1 + window], start=1):
                expected[first, second] += decay ** (lag - 1)
    found = transitions.matrix(train, N, window, decay)
    np.testing.assert_allclose(found.toarray(), expected, rtol=1e-5)
    rows = transitions.normalise(found).toarray()
    np.testing.assert_allclose(rows.sum(axis=1), (expected.sum(axis=1) > 0).astype(float), atol=1e-5)


def test_transition_scores_by_brute_force(train: Histories) -> None:
    model = transitions.fit(train, N, 4, 0.6, 0.3)
    rows = model.rows.toarray()
    scores = model.score(train)
    for user in range(len(train)):
        last = _events(train, user)[::-1][:4]
        expected = sum(0.6**lag * rows[item] for lag, item in enumerate(last, start=1))
        np.testing.assert_allclose(scores[user], expected, atol=1e-6)


@pytest.mark.parametrize("name", LOCAL)
def test_every_point_of_every_grid_gives_finite_scores_and_popularity_to_the_cold(name: str, train: Histories) -> None:
    context = histories([[1, 2], [], [N]])  # item N is unknown to every method
    popular = np.bincount(train.items, minlength=N + 1)
    found = list(traditional.candidates(name, train, N, Config(), lambda line: None))
    for candidate in found:
        scores = candidate.scorer.score(context)
        assert scores.dtype == np.float32
        assert scores.shape == (3, N + 1)
        assert np.isfinite(scores[:, 1:]).all()
        assert candidate.scorer.name == name
        if name != "recent-popularity":
            np.testing.assert_array_equal(scores[1], popular)
            np.testing.assert_array_equal(scores[2], popular)
    assert len({str(candidate.parameters) for candidate in found}) == len(found)


@pytest.mark.parametrize("name", LOCAL)
def test_training_without_a_single_event_is_survived(name: str) -> None:
    nobody = histories([[], []])
    for candidate in traditional.candidates(name, nobody, N, Config(), lambda line: None):
        assert not candidate.scorer.score(nobody).any()


@pytest.mark.parametrize("name", LOCAL)
def test_what_comes_after_the_training_part_changes_no_fitted_method(name: str) -> None:
    data = random_histories(40, N, 5)
    changed = dataclasses.replace(data, items=data.items.copy(), timestamps=data.timestamps.copy())
    changed.items[data.offsets[1:] - 1] = 1
    changed.timestamps[data.offsets[1:] - 1] += 10**8
    context = data.head(data.train_length)
    fitted = (traditional.candidates(name, part.head(part.train_length), N, Config(), print) for part in (data, changed))
    for one, other in zip(*fitted, strict=True):
        np.testing.assert_array_equal(one.scorer.score(context), other.scorer.score(context))


def test_tuning_keeps_the_best_point_on_validation() -> None:
    data = random_histories(80, N, 7)
    tuned = tuning.tune("transitions", data, N, Config(), lambda line: None)
    values = [trial["valid ndcg@10"] for trial in tuned.trials]
    assert len(values) == len(transitions.GRID)
    assert tuned.parameters == tuned.trials[int(np.argmax(values))]["parameters"]
    chosen = transitions.fit(data.head(data.train_length), N, **tuned.parameters)
    result = protocol.evaluate(chosen, data, "valid", N)
    assert result.per_user["ndcg@10"].mean() == pytest.approx(max(values))


def test_a_tuned_method_is_fitted_on_all_events_before_the_test() -> None:
    data = random_histories(80, N, 7)
    tuned = tuning.tune("transitions", data, N, Config(), lambda line: None)
    again = transitions.fit(data.head(data.valid_length), N, **tuned.parameters)
    context = data.head(data.valid_length)
    np.testing.assert_array_equal(tuned.scorer.score(context), again.score(context))


def test_what_has_nothing_to_choose_has_no_trials() -> None:
    data = random_histories(80, N, 7)
    assert tuning.tune("popularity", data, N, Config(), lambda line: None).trials == []


def test_an_unknown_name_is_named_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"'svd'.*item-knn"):
        traditional.candidates("svd", histories([[1]]), 1, Config(), lambda line: None)
