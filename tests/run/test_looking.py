"""`recsys show --why`, `show --item` and `compare` on a run of the built-in data, and on copies of it that differ."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.text_table import columns_of
from tests.command import USERS_WITHOUT_EVENTS, assert_refused, histories, invoke, recommendations, run_folder, succeed

DIFFERENCE = 0.05


def show(home: Path, *words: object) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(succeed("show", "--output", "out", "--json", *words, home=home, run=invoke).stdout)
    return found


def compared(home: Path, *runs: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(succeed("compare", *runs, "--output", "out", "--json", home=home, run=invoke).stdout)
    return found


@pytest.fixture
def two(built_in: Path, tmp_path: Path) -> Path:
    """Home with the published run and `other`, the same but for a setting, seconds and the NDCG of the blend."""
    shutil.copytree(built_in / "out", tmp_path / "out")
    first = run_folder(tmp_path / "out")
    other = tmp_path / "out" / "runs" / "other"
    shutil.copytree(first, other)
    facts = json.loads((other / "run.json").read_text())
    facts["run_id"], facts["status"] = "other", "refused"
    facts["config"]["training"]["epochs"] = 9
    facts["stages"]["train"]["seconds"] = 1234.5
    (other / "run.json").write_text(json.dumps(facts))
    change(other / "evaluation" / "per_user.parquet", better)
    return tmp_path


def change(path: Path, how: Callable[[pa.Table], pa.Table]) -> None:
    pq.write_table(how(pq.read_table(path)), path)


def better(table: pa.Table) -> pa.Table:
    values = np.array(table["ndcg@10"]) + DIFFERENCE * (np.array(table["method"].to_pylist()) == "blend")
    return table.set_column(table.column_names.index("ndcg@10"), "ndcg@10", pa.array(values, pa.float32()))


def test_reasons_are_past_items_and_the_list_is_the_published_one(built_in: Path) -> None:
    found, had = show(built_in, "--user", 1, "--why"), histories(run_folder(built_in / "out"))
    published = [row for row in recommendations(built_in / "out").to_pylist() if row["user_id"] == 1]
    assert [row["item_id"] for row in found["recommendations"]] == [row["item_id"] for row in published]
    reasons = [reason for row in found["recommendations"] for reason in row["because_of"]]
    assert reasons and {reason["item_id"] for reason in reasons} <= had[1]
    assert all(0.01 <= reason["share"] <= 1 for reason in reasons)
    said = succeed("show", "--output", "out", "--user", 1, "--why", home=built_in, run=invoke).stdout
    name = f"{reasons[0]['title']} ({reasons[0]['item_id']}) -{reasons[0]['share']:.0%}"
    assert f"because of {name}" in said


def test_without_events_there_is_no_reason_to_name(built_in: Path) -> None:
    (cold,) = USERS_WITHOUT_EVENTS
    assert all(row["because_of"] == [] for row in show(built_in, "--user", cold, "--why")["recommendations"])
    assert "because of" not in succeed("show", "--output", "out", "--user", cold, "--why", home=built_in, run=invoke).stdout


def test_similar_items_are_others_the_most_similar_first(built_in: Path) -> None:
    found = show(built_in, "--item", 7, "--similar", 5)
    cosines = [row["cosine"] for row in found["similar"]]
    assert len(cosines) == 5 and cosines == sorted(cosines, reverse=True) and -1 <= cosines[-1] <= cosines[0] <= 1
    shares = [row["share"] for row in found["followed_by"]]
    assert shares == sorted(shares, reverse=True) and 0 < sum(shares) <= 1 + 1e-3
    assert found["item_id"] == 7 and 7 not in {row["item_id"] for row in (*found["similar"], *found["followed_by"])}
    back = show(built_in, "--item", found["similar"][0]["item_id"], "--similar", 79)["similar"]
    assert math.isclose(next(row["cosine"] for row in back if row["item_id"] == 7), cosines[0], abs_tol=1e-4)
    assert_refused(invoke("show", "--output", "out", "--item", 999, home=built_in), 2, "no such item")


def test_two_runs_on_the_same_events_are_compared_user_by_user(two: Path) -> None:
    first = json.loads((two / "out" / "latest.json").read_text())["run_id"]
    found = compared(two, "latest", "other")
    assert found["runs"] == [first, "other"] and found["settings"] == {"training.epochs": [2, 9]}
    assert found["data"]["users"] == [60, 60] and found["stages"]["train"]["seconds"][1] == 1234.5
    assert found["lists"]["jaccard"] == 1.0
    evaluation = found["evaluation"]
    assert evaluation["not_compared"] is None and evaluation["users"] == [evaluation["users_of_both"]] * 2
    row = evaluation["published"]["ndcg@10"]
    np.testing.assert_allclose([row["difference"], row["low"], row["high"]], DIFFERENCE, atol=1e-6)
    assert row["significant"] and not evaluation["published"]["recall@10"]["significant"]
    measured = json.loads((two / "out" / "runs" / first / "run.json").read_text())["metrics"]
    assert math.isclose(row["values"][0], measured["blend"]["ndcg@10"], abs_tol=1e-6)
    assert evaluation["methods"]["popularity"]["difference"] == 0.0
    said = succeed("compare", "latest", "other", "--output", "out", home=two, run=invoke).stdout
    assert "training.epochs  2      9" in said and "+0.0500 … +0.0500*" in said and "1,234.5 s" in said
    assert "of twenty such differences between equal runs, one is starred by chance" in " ".join(said.split())
    assert "\x1b" not in said and all(columns_of(line) <= 110 for line in said.splitlines())


def test_only_users_of_both_runs_count(two: Path) -> None:
    path = two / "out" / "runs" / "other" / "evaluation" / "per_user.parquet"
    left = sorted(set(pq.read_table(path)["user_index"].to_pylist()))[:-3]
    change(path, lambda table: table.filter(pa.compute.is_in(table["user_index"], pa.array(left, pa.int32()))))
    evaluation = compared(two, "latest", "other")["evaluation"]
    assert evaluation["users"] == [len(left) + 3, len(left)] and evaluation["users_of_both"] == len(left)
    np.testing.assert_allclose(evaluation["published"]["ndcg@10"]["difference"], DIFFERENCE, atol=1e-6)


def test_other_test_events_are_shown_but_not_compared(two: Path) -> None:
    def later(table: pa.Table) -> pa.Table:
        moved = [[time + 86_400 for time in times] for times in table["timestamps"].to_pylist()]
        return table.set_column(table.column_names.index("timestamps"), "timestamps", pa.array(moved, pa.list_(pa.int64())))

    change(two / "out" / "runs" / "other" / "features" / "histories" / "part-00000.parquet", later)
    evaluation = compared(two, "latest", "other")["evaluation"]
    assert "the test events differ for" in evaluation["not_compared"]
    assert all(set(row) == {"values"} for row in evaluation["published"].values())
    said = succeed("compare", "latest", "other", "--output", "out", home=two, run=invoke).stdout
    assert "shown, but not compared" in " ".join(said.split()) and "difference" not in said


def test_a_run_that_was_not_measured_still_shows_the_rest(two: Path) -> None:
    (two / "out" / "runs" / "other" / "evaluation" / "_SUCCESS").unlink()
    found = compared(two, "latest", "other")
    assert "run other: its evaluation" in found["evaluation"]["missing"] and found["lists"]["users"] == 60


def test_runs_that_cannot_be_compared_are_named(two: Path) -> None:
    def refused(*runs: str) -> None:
        assert_refused(invoke("compare", *runs, "--output", "out", home=two), 2, words[-1])

    for words in (
        ("latest", "nosuch", "run nosuch: no such run in out; it has: "),
        ("latest", "latest", "name two runs"),
        ("previous", "latest", "no run that is still in out was published before"),
    ):
        refused(*words[:2])
    (two / "out" / "runs" / "other" / "recommendations" / "_SUCCESS").unlink()
    words = ("latest", "other", "run other has not finished 'recommend'")
    refused(*words[:2])
