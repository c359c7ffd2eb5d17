"""Who is served how well, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from recsys.evaluation import groups
from recsys.measure import membership, metrics
from recsys.measure.protocol import Result
from recsys.measure.targets import Targets


def result(ndcg: np.ndarray, top: np.ndarray | None = None, offsets: list[int] | None = None, items: list[int] | None = None):
    users = len(ndcg)
    rows = np.arange(users)
    targets = Targets(
        rows, rows.astype(np.int32) + 1, rows, np.array(offsets or rows.tolist()), np.array(items or [], np.int32)
    )
    top = np.zeros((users, 20), np.int32) if top is None else top
    return Result("m", targets, top, {"ndcg@10": ndcg, "recall@10": ndcg / 2}, {}, 0.0)


def test_small_groups_and_those_beyond_the_most_are_joined() -> None:
    sizes = [30, 5, 40, 20, 19]  # of "not known", a, b, c, d
    codes = np.repeat(np.arange(5, dtype=np.int32), sizes)
    found = groups.divide(("a", "b", "c", "d"), codes)
    assert [(one.value, one.joined, int(one.members.sum())) for one in found] == [
        ("b", 0, 40),
        (None, 0, 30),
        ("c", 0, 20),
        (None, 2, 24),
    ]
    many = groups.divide([f"v{n}" for n in range(100)], np.repeat(np.arange(1, 101, dtype=np.int32), 20))
    assert (len(many), many[-1].joined) == (groups.MOST_GROUPS + 1, 100 - groups.MOST_GROUPS)


def test_numbers_are_in_their_order() -> None:
    codes = np.repeat(np.array([0, 1, 2, 3], np.int32), [50, 20, 40, 30])
    assert [one.value for one in groups.divide(("18", "7", "110"), codes)] == ["7", "18", "110", None]


def test_a_group_is_compared_with_all_other_users() -> None:
    random = np.random.default_rng(0)
    ndcg = random.random(200)
    members = np.arange(200) < 60
    ndcg[members] -= 0.5
    found = groups.of_members(result(ndcg), members)
    inside, outside = ndcg[members], ndcg[~members]
    reach = 1.96 * ndcg.std(ddof=1) * np.sqrt(1 / 60 + 1 / 140)
    beside = found["beside_others"]["ndcg@10"]
    assert found["users"] == 60 and found["ndcg@10"] == pytest.approx(inside.mean())
    assert beside["difference"] == pytest.approx(inside.mean() - outside.mean())
    assert (beside["low"], beside["high"]) == pytest.approx((beside["difference"] - reach, beside["difference"] + reach))
    assert beside["high"] < 0
    assert found["recall@10"] == pytest.approx(found["ndcg@10"] / 2)


@pytest.mark.parametrize("count", [1, 199, 200])
def test_nothing_is_compared_with_a_single_user_or_none(count: int) -> None:
    assert groups.of_members(result(np.ones(200)), np.arange(200) < count)["beside_others"] is None


def judged(ndcg: np.ndarray, codes: np.ndarray) -> list[dict[str, Any]]:
    found = {"feature": groups.divide([f"v{n}" for n in range(int(codes.max()))], codes)}
    measured = groups.measure(result(ndcg), found)
    groups.judge(result(ndcg), measured, 0)
    return measured["feature"]


def test_a_group_that_found_nothing_has_an_interval() -> None:
    ndcg = np.concatenate([np.zeros(30), np.tile([0.0, 1.0], 100)])
    found = groups.of_members(result(ndcg), np.arange(230) < 30)
    assert found["std_errors"]["ndcg@10"] == pytest.approx(ndcg.std(ddof=1) / np.sqrt(30))
    assert found["beside_others"]["ndcg@10"]["low"] < -0.5 < found["beside_others"]["ndcg@10"]["high"] < 0


def test_groups_that_are_all_alike_are_hardly_ever_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "PERMUTATIONS", 2000)
    alarms = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        codes = np.repeat(np.arange(1, 21), random.integers(20, 60, 20))
        ndcg = np.where(random.random(len(codes)) < 0.05, random.uniform(0.2, 1.0, len(codes)), 0.0)
        alarms += any(one["beside_others"]["ndcg@10"]["significant"] for one in judged(ndcg, codes))
    assert alarms <= 6, "of 60 reports"


@pytest.mark.parametrize("large", [300, 3000])
def test_a_group_that_is_served_worse_is_found_and_no_other(large: int) -> None:
    random = np.random.default_rng(1)
    codes = np.repeat(np.arange(1, 8), [large, *[large // 2] * 5, 5 * large])
    hit = random.random(len(codes)) < np.where(codes == 1, 0.1, 0.25)
    found = judged(np.where(hit, random.uniform(0.2, 1.0, len(codes)), 0.0), codes)
    beside = {one["value"]: one["beside_others"]["ndcg@10"] for one in found}
    assert [value for value, one in beside.items() if one["significant"] and one["difference"] < 0] == ["v0"]


def test_tiers_are_the_head_the_middle_and_the_tail() -> None:
    counts = np.array([99, 3, 9, 1, 8, 7, 6, 5, 4, 2, 0])
    assert metrics.tiers(counts).tolist() == [-1, 2, 0, 2, 0, 1, 1, 1, 2, 2, 2]
    assert metrics.tiers(np.array([0, 5])).tolist() == [-1, 0]


def test_recall_by_popularity_counts_the_items_of_that_tier_alone() -> None:
    counts = np.array([0, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1])  # items 1 and 2 are the head, 3 to 5 the middle
    top = np.zeros((2, 20), np.int32)
    top[0, :3], top[1, :2] = [1, 7, 9], [3, 10]
    found = groups.by_popularity(result(np.zeros(2), top, [0, 4, 6], [1, 2, 7, 8, 3, 4]), counts)
    assert {name: (one["users"], one["targets"], one["recall@10"]) for name, one in found.items()} == {
        "head": (1, 2, 0.5),
        "middle": (1, 2, 0.5),
        "tail": (1, 2, 0.5),
    }
