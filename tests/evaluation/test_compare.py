from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recsys import config
from recsys.contract import histories
from recsys.evaluation.compare import evaluate_run
from recsys.evaluation.terminal import format_table
from recsys.progress import Progress
from tests.support import NextItem, chains, write_features

BASELINES = ("popularity", "recent-popularity", "item-knn", "ease", "transitions")
CONFIG = config.Config(evaluation=config.Evaluation(baselines=BASELINES, bootstrap=200))
ITEMS = 40


@pytest.fixture
def run(tmp_path: Path) -> tuple[str, str]:
    folder = write_features(tmp_path / "features", chains(items=ITEMS), ITEMS)
    return folder, str(tmp_path / "evaluation")


def test_progress_has_a_line_and_a_share_for_each_method(run: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    said, shares = io.StringIO(), []
    progress = Progress(said)
    monkeypatch.setattr(progress, "update", lambda text, done: shares.append((text, done)))
    evaluate_run(CONFIG, *run, [NextItem()], progress)
    names = ["cnn <b>", *BASELINES]
    assert [line.split(":")[0].strip() for line in said.getvalue().splitlines()] == names
    assert [(text.removeprefix("fitting and ").removeprefix("measuring "), done) for text, done in shares] == [
        (name, number / 6) for number, name in enumerate(names)
    ]


def test_writes_metrics_and_values_of_every_user(run: tuple[str, str]) -> None:
    features, folder = run
    metrics = evaluate_run(CONFIG, features, folder, [NextItem()], Progress(quiet=True))
    assert json.loads(Path(folder, "metrics.json").read_text()) == metrics
    assert list(metrics["methods"]) == ["cnn <b>", *BASELINES]

    table = pq.read_table(f"{folder}/per_user.parquet").to_pandas()
    assert len(table) == 6 * 60
    ids = histories.read_table(features, "users").to_pandas().set_index("user_index")["user_id"]
    assert (table["user_id"].to_numpy() == ids.loc[table["user_index"]].to_numpy()).all()
    means = table.groupby("method", observed=True)[["ndcg@10", "f1@5", "map@20"]].mean()
    for name, method in metrics["methods"].items():
        for metric in means.columns:
            assert method["metrics"][metric] == pytest.approx(means.loc[name, metric], abs=1e-6)
        assert sum(part["users"] for part in method["slices"].values()) == 60
        weighted = sum(part["users"] * part["ndcg@10"] for part in method["slices"].values()) / 60
        assert weighted == pytest.approx(method["metrics"]["ndcg@10"])


def test_intervals_find_who_is_better(run: tuple[str, str]) -> None:
    metrics = evaluate_run(CONFIG, *run, [NextItem()], Progress(quiet=True))
    assert metrics["comparison"]["method"] == "cnn <b>"
    found = metrics["comparison"]["minus"]["popularity"]["ndcg@10"]
    own, other = (metrics["methods"][name]["metrics"]["ndcg@10"] for name in ("cnn <b>", "popularity"))
    assert found["difference"] == pytest.approx(own - other)
    assert 0 < found["low"] < found["difference"] < found["high"]
    assert found["significant"]


def test_a_second_run_gives_the_same_figures(run: tuple[str, str]) -> None:
    first, second = (evaluate_run(CONFIG, *run, [NextItem()], Progress(quiet=True)) for _ in range(2))
    for metrics in (first, second):
        for method in metrics["methods"].values():
            del method["seconds"]
    assert first == second


def test_it_says_what_the_network_has_learned(run: tuple[str, str]) -> None:
    said = []
    for epochs in (None, 0):
        changed = dataclasses.replace(CONFIG, training=config.Training(refit_epochs=epochs))
        said.append(evaluate_run(changed, *run, [NextItem()], Progress(quiet=True))["protocol"]["fitted_on"])
    assert all(words.startswith("all events before the test;") for words in said)
    assert ["the network: the training part" in words for words in said] == [False, True]


def test_new_items_and_cold_users_have_figures_of_their_own(tmp_path: Path) -> None:
    data = [*chains(items=ITEMS - 1), [1, ITEMS], [2, 3, ITEMS]]  # the last item has test events alone
    features = write_features(tmp_path / "features", data, ITEMS, least_train=0)
    metrics = evaluate_run(CONFIG, features, str(tmp_path / "evaluation"), [NextItem()], Progress(quiet=True))
    new_items = {"users": 2, "targets": 2, "recall@10": 0.0, "std_errors": {"recall@10": 0.0}}
    assert metrics["methods"]["popularity"]["new_items"] == new_items
    assert set(metrics["methods"]["ease"]["slices"]) == {"1-4", "5-19"}
    new = metrics["methods"]["cnn <b>"]["new_users"]
    assert (new["users"], new["recall@10"]) == (1, 0.0)  # of [1, ITEMS], whose next item would be 2


def test_users_with_too_few_events_neither_train_nor_are_evaluated(tmp_path: Path) -> None:
    data = chains(items=ITEMS - 1) + [[ITEMS, 5, 6]] * 100
    features = write_features(tmp_path / "features", data, ITEMS, min_user_events=4)
    metrics = evaluate_run(CONFIG, features, str(tmp_path / "evaluation"), [NextItem()], Progress(quiet=True))
    long_enough = sum(len(items) >= 4 for items in data)
    assert metrics["protocol"]["users"] == long_enough
    top = metrics["methods"]["popularity"]["metrics"]
    assert top["novelty@5"] < 6  # the short users' item would be the most popular one, and count as new to all others


def test_without_test_events_the_metrics_say_so(tmp_path: Path) -> None:
    features = write_features(tmp_path / "features", chains(), ITEMS, test=0, valid=0)
    folder = str(tmp_path / "evaluation")
    metrics = evaluate_run(CONFIG, features, folder, [], Progress(quiet=True))
    assert "methods" not in metrics
    assert "left no test events" in metrics["note"]
    assert format_table(metrics) == metrics["note"]


def test_the_terminal_table_marks_the_best_and_fits(run: tuple[str, str]) -> None:
    metrics = evaluate_run(CONFIG, *run, [NextItem()], Progress(quiet=True))
    lines = format_table(metrics).splitlines()
    assert "60 users, all 40 items ranked" in lines[0]
    assert "leave-one-out" in lines[0]
    assert all(len(line) <= 100 for line in lines)
    assert len(lines) == 2 + 6
    shown = {name: f"{method['metrics']['ndcg@10']:.4f}" for name, method in metrics["methods"].items()}
    for line, (name, value) in zip(lines[2:], shown.items(), strict=True):
        assert line.startswith(name)
        assert (f"  {value}*" in line) == (value == max(shown.values()))
