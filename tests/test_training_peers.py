"""What the benchmark of training measures its peers with: events held out, lists, the metric, and what its table says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.speed.training import cells
from benchmarks.speed.training_peer import Events, K, Watch, best, ndcg
from recsys.measure.metrics import per_user


def test_the_metric_of_the_peers_is_the_products() -> None:
    random = np.random.default_rng(0)
    top = np.array([random.permutation(30)[:K] for _ in range(500)])  # 0 is no item
    targets = random.integers(1, 30, 500).astype(np.int32)
    product = per_user(top.astype(np.int32), np.arange(501), targets, ks=(K,))
    assert 0 < ndcg(top, targets) == pytest.approx(product[f"ndcg@{K}"].mean())


def test_lists_hold_the_best_items_that_were_not_seen() -> None:
    scores = np.random.default_rng(1).random((4, 40)).astype(np.float32)
    seen = [np.array([3, 7]), np.array([], int), np.arange(1, 30), np.array([39])]
    expected = [[i for i in np.argsort(-row) if i and i not in set(items)][:K] for row, items in zip(scores, seen, strict=True)]
    assert best(scores.copy(), seen).tolist() == expected


def test_the_last_but_one_is_the_target_and_the_last_is_left_aside(tmp_path: Path) -> None:
    (tmp_path / "events.txt").write_text("1 5\n1 2\n1 9\n1 4\n2 7\n2 1\n2 3\n")
    events = Events.read(tmp_path / "events.txt")
    assert [history.tolist() for history in events.learned] == [[5, 2], [7]]
    assert events.targets.tolist() == [9, 1]
    assert events.items == 9


def test_users_out_of_order_are_refused(tmp_path: Path) -> None:
    (tmp_path / "events.txt").write_text("1 5\n1 2\n1 9\n2 7\n2 1\n2 3\n1 4\n")
    with pytest.raises(SystemExit, match="user 1, then all of user 2"):
        Events.read(tmp_path / "events.txt")


def test_a_training_is_over_at_the_goal_or_at_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    events = Events([np.array([1]), np.array([2])], np.array([3, 4], np.int32), 4)
    right, wrong = np.array([[3] * K, [4] * K]), np.zeros((2, K), int)
    watch = Watch(events, 2, limit=1000)
    assert watch.goes_on
    watch.start()
    assert not watch.trained(2)
    watch.stop()
    watch.validate(lambda: wrong)
    assert watch.goes_on
    watch.validate(lambda: right)
    assert not watch.goes_on
    hurried = Watch(events, 2, limit=0)
    hurried.start()
    assert hurried.trained(1)
    hurried.stop()
    assert not hurried.goes_on
    assert capsys.readouterr().out.count('{"epoch": 1, "an_epoch": 2, "trained": 2, ') == 2


def test_the_table_says_when_the_goal_was_reached_and_how_fast_whole_epochs_were() -> None:
    def line(trained: int, seconds: float, score: float) -> dict[str, float]:
        return {"epoch": 1, "an_epoch": 1000, "trained": trained, "seconds": seconds, "whole": 1.5 * seconds, "ndcg@10": score}

    reached = [line(1000, 20.0, 0.1), line(2000, 30.0, 0.15), line(3000, 40.0, 0.175)]
    assert cells(reached) == ("1,000", "100", "10.0", "40", "60")
    assert cells([line(1000, 20.0, 0.16), line(1200, 30.0, 0.12)])[1:] == ("50", "20.0", "not in 30 (best 0.160)", "not in 45")
    assert cells([line(100, 10.0, 0.01)])[1:3] == ("≈ 10", "≈ 100.0")
    assert cells([])[3] == "no epoch in the limit"
