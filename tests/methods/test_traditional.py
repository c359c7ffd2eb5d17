from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from recsys.config import Baseline, Config
from recsys.contract.histories import Histories
from recsys.measure import protocol
from recsys.measure.targets import find_targets
from recsys.methods import counting, item_knn, traditional, transitions, tuning
from recsys.methods.ease import Ease
from recsys.methods.item_knn import ItemKNN
from recsys.methods.popularity import Popularity
from recsys.methods.recent_popularity import RecentPopularity
from recsys.methods.transitions import Transitions
from recsys.progress import silent
from tests.measure.helpers import histories, random_histories

N = 25
LOCAL: list[Baseline] = [name for name in get_args(Baseline) if name != "als"]


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
    scores = Popularity.fit_one(train, N).score(train.rows(np.arange(2)))
    np.testing.assert_array_equal(scores, np.tile(_dense(train).sum(axis=0), (2, 1)))


def test_recent_popularity_halves_with_the_half_life_and_ranks_the_same_at_any_later_moment() -> None:
    data = histories([[1, 2], [1, 3]])
    days = np.array([0, 20, 10, 20], np.int64)
    data = dataclasses.replace(data, timestamps=days * 86_400)
    weights = RecentPopularity.fit_one(data, 3, {"half_life_days": 10}).weights
    np.testing.assert_allclose(weights, [0, 0.25 + 0.5, 1, 1])
    later = dataclasses.replace(data, timestamps=np.append(days[:-1], 50) * 86_400)
    moved = RecentPopularity.fit_one(later, 3, {"half_life_days": 10}).weights
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
    model = ItemKNN.fit_one(train, N, {"neighbours": neighbours, "shrinkage": shrinkage})
    kept = model.similarity.toarray()
    assert ((kept > 0).sum(axis=0) <= neighbours).all()
    np.testing.assert_allclose(np.sort(kept, axis=0)[-neighbours:], np.sort(similar, axis=0)[-neighbours:], atol=1e-6)
    np.testing.assert_allclose(kept[kept > 0], similar[kept > 0], rtol=1e-5)
    expected = (events @ kept)[:, 1:]
    speaks = expected.any(axis=1)  # the others get popularity
    np.testing.assert_allclose(model.score(train)[speaks, 1:], expected[speaks], atol=1e-5)


def test_item_knn_uses_the_last_events_of_very_long_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_knn, "MAX_EVENTS", 2)
    data = histories([[1, 2, 3], [2, 3]])
    similar = ItemKNN.fit_one(data, 3, {"neighbours": 5, "shrinkage": 0}).similarity.toarray()
    assert similar[2, 3] == pytest.approx(1)
    assert similar[1].sum() == 0


def test_ease_solves_its_ridge_regressions(train: Histories) -> None:
    events = _dense(train)[:, 1:]
    model = Ease.fit_one(train, N, {"penalty": 20.0})
    for item in range(N):
        others = np.delete(np.arange(N), item)
        x = events[:, others]
        expected = np.linalg.solve(x.T @ x + 20 * np.eye(N - 1), x.T @ events[:, item])
        np.testing.assert_allclose(model.weights[others, item], expected, atol=1e-5)
    assert not np.diag(model.weights).any()
    np.testing.assert_allclose(model.score(train)[:, 1:], events @ model.weights, atol=1e-5)


def test_ease_with_few_columns_ranks_the_other_items_last_by_popularity(train: Histories) -> None:
    model = Ease.fit_one(train, N, {"penalty": 20.0, "max_columns": 5})
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
    model = Transitions.fit_one(train, N, {"window": 4, "decay": 0.6, "balance": 0.3})
    rows = model.rows.toarray()
    scores = model.score(train)
    for user in range(len(train)):
        last = _events(train, user)[::-1][:4]
        expected = sum(0.6**lag * rows[item] for lag, item in enumerate(last, start=1))
        np.testing.assert_allclose(scores[user], expected, atol=1e-6)


@pytest.mark.parametrize("name", LOCAL)
def test_every_point_of_every_grid_gives_finite_scores_and_popularity_to_the_cold(name: Baseline, train: Histories) -> None:
    context = histories([[1, 2], [], [N]])  # item N is unknown to every method
    popular = np.bincount(train.items, minlength=N + 1)
    kind = traditional.find(name)
    found = list(kind.fit(train, N, kind.GRID))
    assert len(found) == len(kind.GRID)
    for method in found:
        scores = method.score(context)
        assert scores.dtype == np.float32
        assert scores.shape == (3, N + 1)
        assert np.isfinite(scores[:, 1:]).all()
        assert method.name == name
        if name != "recent-popularity":
            np.testing.assert_array_equal(scores[1], popular)
            np.testing.assert_array_equal(scores[2], popular)
    assert len({str(point) for point in kind.GRID}) == len(found)


@pytest.mark.parametrize("name", LOCAL)
def test_training_without_a_single_event_is_survived(name: Baseline) -> None:
    nobody, kind = histories([[], []]), traditional.find(name)
    for method in kind.fit(nobody, N, kind.GRID):
        assert not method.score(nobody).any()


@pytest.mark.parametrize("name", LOCAL)
def test_a_method_that_is_loaded_scores_as_the_one_that_was_saved(name: Baseline, train: Histories, tmp_path: Path) -> None:
    kind = traditional.find(name)
    fitted = kind.fit_one(train, N)
    fitted.save(str(tmp_path / "method.npz"))
    context = histories([[1, 2], [], [N]])
    np.testing.assert_array_equal(kind.load(str(tmp_path / "method.npz")).score(context), fitted.score(context))


@pytest.mark.parametrize("name", LOCAL)
def test_what_comes_after_the_training_part_changes_no_fitted_method(name: Baseline) -> None:
    data = random_histories(40, N, 5)
    changed = dataclasses.replace(data, items=data.items.copy(), timestamps=data.timestamps.copy())
    changed.items[data.offsets[1:] - 1] = 1
    changed.timestamps[data.offsets[1:] - 1] += 10**8
    context = data.head(data.train_length)
    kind = traditional.find(name)
    fitted = (kind.fit(part.head(part.train_length), N, kind.GRID) for part in (data, changed))
    for one, other in zip(*fitted, strict=True):
        np.testing.assert_array_equal(one.score(context), other.score(context))


def test_tuning_keeps_the_best_point_on_validation() -> None:
    data = random_histories(80, N, 7)
    tuned = tuning.tune(Transitions, data, N, Config(), silent)
    values = [trial["valid ndcg@10"] for trial in tuned.trials]
    assert len(values) == len(Transitions.GRID)
    assert tuned.parameters == tuned.trials[int(np.argmax(values))]["parameters"]
    chosen = Transitions.fit_one(data.head(data.train_length), N, tuned.parameters)
    result = protocol.evaluate(chosen, data, find_targets(data, "valid"), N)
    assert result.per_user["ndcg@10"].mean() == pytest.approx(max(values))


def test_a_tuned_method_is_fitted_on_all_events_before_the_test() -> None:
    data = random_histories(80, N, 7)
    tuned = tuning.tune(Transitions, data, N, Config(), silent)
    again = Transitions.fit_one(data.head(data.valid_length), N, tuned.parameters)
    context = data.head(data.valid_length)
    np.testing.assert_array_equal(tuned.method.score(context), again.score(context))


def test_what_has_nothing_to_choose_has_no_trials() -> None:
    data = random_histories(80, N, 7)
    assert tuning.tune(Popularity, data, N, Config(), silent).trials == []
