from __future__ import annotations

import math

import numpy as np
import pytest
from ranx import Qrels, Run
from ranx import evaluate as ranx_evaluate

from recsys.measure import metrics

KS = (1, 3, 5, 10)


def _random_case(seed: int, users: int = 40, items: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    top = np.zeros((users, max(KS)), np.int32)
    relevant = []
    for user in range(users):
        length = max(KS) if random.random() < 0.8 else int(random.integers(1, max(KS)))
        top[user, :length] = random.permutation(items)[:length] + 1
        relevant.append(random.permutation(items)[: random.integers(1, 15)] + 1)
    offsets = np.concatenate(([0], np.cumsum([len(r) for r in relevant])))
    return top, offsets, np.concatenate(relevant).astype(np.int32)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.slow
def test_every_users_values_agree_with_ranx(seed: int) -> None:
    top, offsets, relevant = _random_case(seed)
    qrels = Qrels({str(u): {str(i): 1 for i in relevant[offsets[u] : offsets[u + 1]]} for u in range(len(top))})
    run = Run({str(u): {str(i): 1.0 / (r + 1) for r, i in enumerate(top[u]) if i} for u in range(len(top))})
    names = [f"{name}@{k}" for name in ("precision", "recall", "f1", "ndcg", "hit_rate", "map", "mrr") for k in KS]
    ranx_evaluate(qrels, run, names, return_mean=False)
    found = metrics.per_user(top, offsets, relevant, KS)
    counts = np.diff(offsets)
    for name in names:
        expected = np.array([run.scores[name][str(u)] for u in range(len(top))])
        if name.startswith("map"):  # ranx divides by all relevant items, we by those that fit into the list
            expected = expected * counts / np.minimum(counts, int(name.split("@")[1]))
        np.testing.assert_allclose(found[name], expected, atol=1e-12, err_msg=name)


def test_a_case_worked_out_by_hand() -> None:
    top = np.array([[4, 7, 9], [1, 2, 3], [5, 0, 0]], np.int32)
    offsets = np.array([0, 2, 3, 7])
    relevant = np.array([9, 4, 8, 5, 6, 7, 8], np.int32)
    found = metrics.per_user(top, offsets, relevant, (3,))
    np.testing.assert_allclose(found["precision@3"], [2 / 3, 0, 1 / 3])
    np.testing.assert_allclose(found["recall@3"], [1, 0, 1 / 4])
    np.testing.assert_allclose(found["f1@3"], [0.8, 0, 2 / 7])
    np.testing.assert_allclose(found["hit_rate@3"], [1, 0, 1])
    np.testing.assert_allclose(found["mrr@3"], [1, 0, 1])
    np.testing.assert_allclose(found["map@3"], [(1 + 2 / 3) / 2, 0, 1 / 3])
    two, three = 1 + 1 / math.log2(3), 1 + 1 / math.log2(3) + 0.5
    np.testing.assert_allclose(found["ndcg@3"], [1.5 / two, 0, 1 / three])


def test_users_without_relevant_items_and_repeated_ones() -> None:
    top = np.array([[1, 2], [1, 2]], np.int32)
    found = metrics.per_user(top, np.array([0, 0, 3]), np.array([2, 2, 3], np.int32), (2,))
    assert all(values[0] == 0 for values in found.values())
    assert found["recall@2"][1] == 0.5
    nobody = metrics.per_user(top[:1], np.array([0, 0]), np.zeros(0, np.int32), (2,))
    assert all(values.tolist() == [0] for values in nobody.values())


def test_the_ideal_list_has_one_everywhere() -> None:
    top = np.arange(1, 6, dtype=np.int32)[None]
    found = metrics.per_user(top, np.array([0, 5]), top[0], (5,))
    assert all(values[0] == pytest.approx(1) for values in found.values())


def test_list_metrics_by_hand() -> None:
    top = np.array([[1, 2], [1, 5], [0, 0]], np.int32)
    counts = np.array([99, 8, 4, 2, 1, 0])  # entry 0 is padding
    found = metrics.of_lists(top, counts, train_users=8, ks=(1, 2))
    assert found["coverage@1"] == 1 / 5
    assert found["coverage@2"] == 3 / 5
    assert found["novelty@1"] == 0
    assert found["novelty@2"] == pytest.approx((0 + 1 + 0 + 3) / 4)  # the unseen item counts as seen by one of eight
    assert found["popularity_share@2"] == 2 / 4  # 20 % of five items is item 1
    empty = metrics.of_lists(np.zeros((0, 2), np.int32), counts, 8, (2,))
    assert set(empty.values()) == {0.0}
