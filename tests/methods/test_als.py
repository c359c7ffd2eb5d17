from __future__ import annotations

from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.config import Config, Spark
from recsys.methods import als, counting
from recsys.settings import to_dict
from recsys.spark import child
from tests.command import children_here
from tests.measure.helpers import histories, random_histories

CONFIG = Config(seed=3, spark=Spark(master="local[2]", memory="1g"))
N_ITEMS = 40


@pytest.mark.slow
def test_fold_in_agrees_with_the_factors_that_mllib_gives_training_users(tmp_path, spark: Any) -> None:
    train = random_histories(60, N_ITEMS, 0)
    users = np.repeat(np.arange(len(train), dtype=np.int32), train.lengths)
    ones = np.ones(len(users), np.float32)
    pq.write_table(pa.table({"user": users, "item": train.items, "rating": ones}), tmp_path / "events.parquet")
    grid = [[4, 0.1, 10.0], [6, 0.03, 1.0], [4, 0.1, 10.0]]
    arguments = {
        "spark": to_dict(CONFIG.spark),
        "seed": 3,
        "folder": str(tmp_path),
        "files": [str(tmp_path / "events.parquet")],
        "events": 1,
        "grid": grid,
        "user_factors": True,
    }
    with children_here(spark):
        folders = child.call("recsys.methods.als_training:train", arguments, lambda line: None).result
    for path, (_, regularisation, alpha) in zip(folders, grid, strict=True):
        items = als._read_factors(path, N_ITEMS)
        gram = items.astype(np.float64).T @ items
        model = als.Als(items, gram, regularisation, alpha, np.zeros(N_ITEMS + 1, np.float32))
        theirs = als._read_factors(f"{path}-users", len(train) - 1)
        np.testing.assert_allclose(als.fold_in(model, train), theirs, atol=1e-5)
    np.testing.assert_array_equal(als._read_factors(folders[0], N_ITEMS), als._read_factors(folders[2], N_ITEMS))


@pytest.mark.slow
def test_one_process_of_spark_tries_all_points_and_fits_the_chosen_one(spark: Any) -> None:
    data, tried = random_histories(60, N_ITEMS, 0), []

    def choose(methods: Any) -> int:
        tried.extend(methods)
        return 2

    with children_here(spark):
        with mock.patch("recsys.spark.child.call", side_effect=child.call) as called:
            chosen = als.Als.fit_chosen((data.head(data.train_length), data), N_ITEMS, choose, CONFIG)
        assert called.call_count == 1
        points = list(als.Als.fit(data.head(data.train_length), N_ITEMS, als.Als.GRID, CONFIG))
        (alone,) = als.Als.fit(data, N_ITEMS, [als.Als.GRID[2]], CONFIG)
    for found, expected in zip([*tried, chosen], [*points, alone], strict=True):
        np.testing.assert_array_equal(found.score(data), expected.score(data))


def test_fold_in_by_hand_and_users_without_known_items() -> None:
    items = np.array([[0, 0], [1, 0], [0, 2], [0, 0]], np.float32)
    gram = items.astype(np.float64).T @ items
    popular = np.array([0, 5, 3, 1], np.float32)
    model = als.Als(items, gram, 0.5, 2.0, popular)
    context = histories([[1], [], [3], [2, 3]])
    found = als.fold_in(model, context)
    np.testing.assert_allclose(found[0], [3 * 1 / (1 + 2 * 1 + 0.5), 0])
    np.testing.assert_allclose(found[3], [0, 3 * 2 / (4 + 2 * 4 + 0.5)])
    scores = model.score(context)
    np.testing.assert_array_equal(scores[1], popular)
    np.testing.assert_array_equal(scores[2], popular)
    assert scores.dtype == np.float32


def test_a_loaded_model_scores_as_the_saved_one(tmp_path) -> None:
    random = np.random.default_rng(0)
    model = als.Als(random.normal(size=(6, 3)).astype(np.float32), np.eye(3), 0.5, 2.0, np.ones(6, np.float32))
    model.save(str(tmp_path / "als.npz"))
    context = histories([[1, 2], [], [5]])
    np.testing.assert_array_equal(als.Als.load(str(tmp_path / "als.npz")).score(context), model.score(context))


def test_large_data_are_sampled_by_users() -> None:
    train = random_histories(100, 30, 1)
    assert counting.sample_users(train, len(train.items), 0) is train
    sample = counting.sample_users(train, len(train.items) // 2, 0)
    assert 0.3 * len(train.items) < len(sample.items) <= len(train.items) // 2
    assert set(sample.user_index) < set(train.user_index)


def test_without_any_event_there_is_nothing_to_train_and_spark_is_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "call", None)
    models = list(als.Als.fit(histories([[], []]), 5, als.Als.GRID, CONFIG))
    assert len(models) == len(als.Als.GRID)
    assert models[0].score(histories([[], []])).shape == (2, 6)
