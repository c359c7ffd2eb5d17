"""The whole job through the command line on small data: every kind of source, every split, every command."""

from __future__ import annotations

import csv
import gzip
import json
import shutil
from collections import defaultdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import contract
from tests.command import (
    BUILT_IN,
    ITEMS,
    ONLY_POPULARITY,
    SMALL,
    SYNTHETIC,
    USERS,
    USERS_WITHOUT_EVENTS,
    Command,
    histories,
    invoke,
    manifest,
    recommendations,
    run_folder,
    succeed,
    unpublish,
    write_toml,
)
from tests.sources import formats

METHODS = ("blend", "cnn", "popularity", "recent-popularity", "item-knn", "ease", "als", "transitions")


def features(output: Path, table: str) -> pa.Table:
    return pq.read_table(run_folder(output) / "features" / table)


@pytest.fixture
def copied(built_in: Path, tmp_path: Path) -> Path:
    """Home with a private copy of the built-in run."""
    shutil.copytree(built_in / "out", tmp_path / "out")
    return tmp_path


def test_built_in_data_keeps_the_contract(built_in: Path) -> None:
    output = built_in / "out"
    had = histories(run_folder(output))
    assert set(USERS) - set(had) == USERS_WITHOUT_EVENTS
    contract.check_output(output, had, USERS, ITEMS, 10)


def test_table_of_all_methods_is_printed_and_saved(built_in: Path) -> None:
    said = (built_in / "said").read_text()
    for method in METHODS:
        assert any(line.split()[:1] == [method] for line in said.splitlines()), f"{method} is not in: {said}"
    assert "Traceback" not in said and "java" not in said.lower()
    metrics = json.loads((run_folder(built_in / "out") / "evaluation" / "metrics.json").read_text())
    assert set(METHODS) <= set(metrics["methods"])
    assert set(METHODS) <= set(manifest(built_in / "out")["metrics"])


def test_the_lineage_is_beside_run_json(built_in: Path) -> None:
    run = run_folder(built_in / "out")
    begin, end = json.loads((run / "lineage.json").read_text())
    assert (begin["eventType"], end["eventType"]) == ("START", "COMPLETE")
    assert [one["name"] for one in end["outputs"]] == [str(run / "recommendations")]


@pytest.mark.slow
def test_one_process_per_stage_gives_the_same_recommendations(built_in: Path, tmp_path: Path) -> None:
    """One process per stage, as in overlays/distributed, with a real Spark child; compared with the in-process run.

    Spark has listeners as well, and they get to see its work.
    """
    log = tmp_path / "events"
    log.mkdir()
    listeners = {"spark.extraListeners": "org.apache.spark.scheduler.StatsReportListener", "spark.eventLog.enabled": "true"}
    listeners |= {"spark.eventLog.dir": log.as_uri(), "spark.eventLog.compress": "false"}
    options = [word for name, value in listeners.items() for word in ("--spark-conf", f"{name}={value}")]
    succeed("features", *BUILT_IN, *ONLY_POPULARITY, *options, "--output", "out", home=tmp_path)
    seen = [json.loads(line) for path in sorted(log.rglob("events_*")) for line in path.read_text().splitlines()]
    kinds = [event["Event"] for event in seen]
    assert "SparkListenerJobEnd" in kinds and kinds[-1] == "SparkListenerApplicationEnd"
    (properties,) = (event["Spark Properties"] for event in seen if event["Event"] == "SparkListenerEnvironmentUpdate")
    assert listeners.items() <= dict(properties).items()
    for stage in ("train", "evaluate", "recommend", "report", "publish"):
        said = succeed(stage, "--output", "out", "--log-format", "json", home=tmp_path).stderr
        assert {json.loads(line)["stage"] for line in said.splitlines()} == {stage}, said
    assert recommendations(built_in / "out").equals(recommendations(tmp_path / "out"))
    contract.check_output(tmp_path / "out", histories(run_folder(tmp_path / "out")), USERS, ITEMS, 10)


def test_finished_stages_are_skipped(built_in: Path) -> None:
    before = manifest(built_in / "out")
    said = succeed("train", "--output", "out", home=built_in, run=invoke).stderr
    said += succeed("publish", "--output", "out", home=built_in, run=invoke).stderr
    assert "train: already done" in said and "publish: already done" in said
    assert manifest(built_in / "out")["stages"] == before["stages"]


def test_redo_repeats_a_stage_and_discards_later_ones(built_in: Path, copied: Path) -> None:
    unpublish(copied / "out")
    succeed("recommend", "--redo", "--set", "recommend.k=3", "--output", "out", home=copied, run=invoke)
    facts = manifest(copied / "out")
    assert list(facts["stages"]) == ["features", "train", "evaluate", "recommend"]
    assert not (run_folder(copied / "out") / "report").exists(), "it shows what is not there any more"
    assert facts["stages"]["train"] == manifest(built_in / "out")["stages"]["train"]
    succeed("publish", "--output", "out", home=copied, run=invoke)
    contract.check_output(copied / "out", histories(run_folder(copied / "out")), USERS, ITEMS, 3)


def test_a_run_that_was_killed_right_after_it_was_published_is_the_one_that_goes_on(copied: Path) -> None:
    output = copied / "out"
    facts, path = manifest(output), run_folder(output) / "run.json"
    del facts["stages"]["publish"]
    facts["config"]["output"] = str(output)
    path.write_text(json.dumps(facts))
    said = succeed("run", *BUILT_IN, "--output", output, home=copied, run=invoke).stderr
    assert "recommend: already done" in said
    assert (manifest(output)["status"], list(manifest(output)["stages"])[-1]) == ("published", "publish")


def test_a_finished_stage_with_other_settings_is_an_error(built_in: Path, copied: Path) -> None:
    done = invoke("recommend", "--set", "recommend.k=3", "--output", "out", home=copied)
    assert done.returncode == 2
    assert "'recommend' is done with other settings; add --redo" in done.stderr
    assert manifest(copied / "out") == manifest(built_in / "out")


def test_evaluating_again_leaves_the_recommendations_alone(copied: Path) -> None:
    unpublish(copied / "out")
    before = pq.read_table(run_folder(copied / "out") / "recommendations")
    words = ("--set", "evaluation.baselines=popularity,transitions")
    succeed("evaluate", "--redo", *words, "--output", "out", home=copied, run=invoke)
    assert "transitions" in manifest(copied / "out")["metrics"]
    assert pq.read_table(run_folder(copied / "out") / "recommendations").equals(before)
    assert list(manifest(copied / "out")["stages"]) == ["features", "train", "recommend", "evaluate"]


def test_a_later_stage_cannot_change_what_an_earlier_one_used(copied: Path) -> None:
    done = invoke("recommend", "--set", "training.epochs=5", "--output", "out", home=copied)
    assert done.returncode == 2
    assert "start a new run" in done.stderr


def test_a_run_id_belongs_to_one_configuration(copied: Path) -> None:
    run_id = run_folder(copied / "out").name
    done = invoke("run", "--output", "out", "--run-id", run_id, "--seed", 1, home=copied)
    assert done.returncode == 2
    assert "another configuration" in done.stderr


def test_show_prints_history_and_recommendations(built_in: Path) -> None:
    output = built_in / "out"
    rows = recommendations(output).to_pylist()
    titles = {row["item_id"]: row["title"] for row in features(output, "items").to_pylist()}
    said = succeed("show", "--output", "out", "--user", 1, home=built_in, run=invoke).stdout
    places = [said.index(titles[row["item_id"]]) for row in rows if row["user_id"] == 1]
    assert len(places) == 10 and places == sorted(places)
    (cold,) = USERS_WITHOUT_EVENTS
    said = succeed("show", "--output", "out", "--user", cold, home=built_in, run=invoke).stdout
    assert "no events" in said
    done = invoke("show", "--output", "out", "--user", 999, home=built_in)
    assert done.returncode == 2
    assert "no such user" in done.stderr


def test_a_refused_run_leaves_the_old_output(built_in: Path, copied: Path) -> None:
    before = (copied / "out" / "latest.json").read_bytes()
    done = invoke("publish", "--redo", "--set", "publish.min_ndcg=1", "--output", "out", home=copied)
    assert done.returncode == 78
    assert "not published" in done.stderr and "publish.min_ndcg" in done.stderr
    assert (copied / "out" / "latest.json").read_bytes() == before
    assert recommendations(copied / "out").equals(recommendations(built_in / "out"))


def test_data_sets_are_listed_and_described(tmp_path: Path) -> None:
    said = succeed("dataset", "list", home=tmp_path, run=invoke).stdout
    for name in ("synthetic", "ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m", "ml-latest-small"):
        assert any(line.split()[:1] == [name] for line in said.splitlines())
    said = succeed("dataset", "describe", *SYNTHETIC, home=tmp_path, run=invoke).stdout
    for words in ("interactions", "users", "items", "user_id = user_id", "timestamps in s"):
        assert words in said


def test_doctor_reports_what_will_be_used(tmp_path: Path) -> None:
    report = json.loads(succeed("doctor", "--json", "--device", "cpu", home=tmp_path, run=invoke).stdout)
    assert all(part["ok"] for part in report.values())
    assert {"java", "spark", "tensorflow", "memory", "folders"} <= set(report)


@pytest.mark.slow
def test_movielens_10m_leave_one_out(tmp_path: Path, with_spark: Command) -> None:
    archive = formats.zipped(formats.write_10m(tmp_path / "made", users=25), tmp_path / "ml-10m.zip")
    options = ("--dataset", "ml-10m", "--dataset-path", archive, "--split", "leave-one-out", "--k", 7, "--epochs", 1)
    succeed("run", *options, *SMALL, *ONLY_POPULARITY, "--output", tmp_path / "out", home=tmp_path, run=with_spark)
    check_movielens(tmp_path / "out", 25, 7)
    facts = manifest(tmp_path / "out")["stages"]["features"]
    assert (facts["test_events"], facts["valid_events"]) == (25, 25)


@pytest.mark.slow
def test_movielens_20m_per_user_ratio(tmp_path: Path, with_spark: Command) -> None:
    folder = formats.write_csv(tmp_path / "made", users=25)
    options = ("--dataset", "ml-20m", "--dataset-path", folder, "--split", "per-user-ratio", "--epochs", 1)
    succeed("run", *options, *SMALL, *ONLY_POPULARITY, "--output", tmp_path / "out", home=tmp_path, run=with_spark)
    check_movielens(tmp_path / "out", 25, 10)
    facts = manifest(tmp_path / "out")["stages"]["features"]
    assert facts["test_events"] == 25 * 3  # a fifth of 12, rounded up


def check_movielens(output: Path, users: int, k: int) -> None:
    """Checks the contract, and that titles match the files."""
    had = defaultdict(set)
    for user, item, _, _ in formats.ratings(users=users):
        had[user].add(item)
    movies = formats.movies()
    contract.check_output(output, had, had.keys(), [item for item, _, _ in movies], k)
    found = {row["item_id"]: row["title"] for row in features(output, "items").to_pylist()}
    assert found == {item: title for item, title, _ in movies}


SHOP_ITEMS = [f"{number:04d}" for number in range(24)] + ["Käse, jung", "🎁", "新商品"]
"""Ids with leading zeros, a comma, other scripts. The last two have no events."""
SHOP_USERS = [f"00{number}" for number in range(18)] + ["Zoë", "王", "new"]
"""The last has no events."""


def shop_events() -> list[tuple[str, str, float, int]]:
    """`(user, item, stars, time)` for the shop: eight events a user."""
    rows = []
    for place, user in enumerate(SHOP_USERS[:-1]):
        for step in range(8):
            item = SHOP_ITEMS[(place * 3 + step * (1 + place % 3)) % 25]
            rows.append((user, item, 1.0 + step % 5, 1_700_000_000_000 + 86_400_000 * step + place))
    return rows


def write_shop(folder: Path) -> Path:
    """Writes the shop: a folder of CSV, one file compressed, and tables of users and items."""
    (folder / "events").mkdir(parents=True)
    events = shop_events()
    with open(folder / "events" / "a.csv", "w", encoding="utf-8", newline="") as plain:
        csv.writer(plain).writerows([("user", "item", "stars", "time"), *events[:80]])
    with gzip.open(folder / "events" / "b.csv.gz", "wt", encoding="utf-8", newline="") as packed:
        csv.writer(packed).writerows([("user", "item", "stars", "time"), *events[80:]])
    with open(folder / "users.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("user", "city"), *((user, "Köln") for user in SHOP_USERS)])
    with open(folder / "items.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("item", "name", "price"), *((item, f'"{item}", new', 2.5) for item in SHOP_ITEMS)])
    tables = """
[source.users]
path = "users.csv"
user_id = "user"
features.city = { kind = "categorical" }
[source.items]
path = "items.csv"
item_id = "item"
title = "name"
features.price = { kind = "numeric" }
[split]
method = "none"
"""
    return write_toml(folder, "events", source='timestamp_unit = "ms"', table=tables)


@pytest.mark.slow
def test_own_csv_with_text_ids_and_no_split(tmp_path: Path, with_spark: Command) -> None:
    file = write_shop(tmp_path / "shop")
    succeed(
        "run", "--config", file, *SMALL, "--epochs", 1, "--k", 20, "--output", tmp_path / "out", home=tmp_path, run=with_spark
    )
    had = defaultdict(set)
    for user, item, _, _ in shop_events():
        had[user].add(item)
    contract.check_output(tmp_path / "out", had, SHOP_USERS, SHOP_ITEMS, 20)
    titles = features(tmp_path / "out", "items").column("title").to_pylist()
    assert set(titles) == {f'"{item}", new' for item in SHOP_ITEMS}
    facts = manifest(tmp_path / "out")
    assert facts["stages"]["features"]["train_events"] == len(shop_events())
    assert facts["stages"]["recommend"]["users_without_events"] == 1


def write_numbers(folder: Path) -> tuple[Path, dict[int, set[int]]]:
    """Writes Parquet events in several files, with ids that collide as floats."""
    folder.mkdir(parents=True)
    base, had = 2**53, defaultdict(set)
    for part in range(2):
        rows = [
            (base + user, -base - (user + step * (1 + user % 3)) % 23, step) for user in range(part, 24, 2) for step in range(8)
        ]
        for user, item, _ in rows:
            had[user].add(item)
        columns = {
            "user": pa.array([user for user, _, _ in rows], pa.int64()),
            "item": pa.array([item for _, item, _ in rows], pa.int64()),
            "stars": pa.array([1 + step % 5 for _, _, step in rows], pa.int32()),
            "time": pa.array([1_700_000_000 + 86_400 * step for _, _, step in rows], pa.timestamp("s")),
        }
        pq.write_table(pa.table(columns), folder / f"events-{part}.parquet")
    (folder / "notes.parquet.txt").write_text("not an event")
    return write_toml(folder, "events-*.parquet"), had


@pytest.mark.slow
def test_own_parquet_with_large_ids_and_another_seed(tmp_path: Path, with_spark: Command) -> None:
    file, had = write_numbers(tmp_path / "numbers")
    items = {item for found in had.values() for item in found}
    succeed(
        "run",
        "--config",
        file,
        *SMALL,
        *ONLY_POPULARITY,
        "--epochs",
        1,
        "--output",
        tmp_path / "out",
        home=tmp_path,
        run=with_spark,
    )
    contract.check_output(tmp_path / "out", had, had.keys(), items, 10)
    with_seed_0 = recommendations(tmp_path / "out")
    unpublish(tmp_path / "out")
    path = run_folder(tmp_path / "out") / "run.json"
    facts = json.loads(path.read_text())
    facts["config"]["seed"] = 1  # another seed on the same features, without running Spark again
    path.write_text(json.dumps(facts))
    succeed("train", "--redo", "--output", "out", home=tmp_path, run=invoke)
    for stage in ("evaluate", "recommend", "publish"):
        succeed(stage, "--output", "out", home=tmp_path, run=invoke)
    assert not recommendations(tmp_path / "out").equals(with_seed_0)


@pytest.mark.slow
@pytest.mark.data
def test_movielens_100k(tmp_path: Path, data_dir: Path, with_spark: Command) -> None:
    archive = data_dir / "ml-100k.zip"
    options = ("--dataset", "ml-100k", "--dataset-path", archive, "--epochs", 1, *SMALL, *ONLY_POPULARITY)
    succeed("run", *options, "--output", tmp_path / "out", home=tmp_path, run=with_spark)
    (unpacked,) = (tmp_path / "cache" / "recsys" / "unpacked").glob("ml-100k-*")
    events, people, movies = unpacked / "u.data", unpacked / "u.user", unpacked / "u.item"
    had = defaultdict(set)
    for line in events.read_text().splitlines():
        user, item, _, _ = map(int, line.split("\t"))
        had[user].add(item)
    users = [int(line.split("|")[0]) for line in people.read_text().splitlines()]
    items = [int(line.split("|")[0]) for line in movies.read_text(encoding="iso-8859-1").splitlines()]
    assert (len(users), len(items)) == (943, 1682)
    facts = manifest(tmp_path / "out")["stages"]["features"]
    assert (facts["events"], manifest(tmp_path / "out")["rejected"]) == (100_000, {})
    contract.check_output(tmp_path / "out", had, users, items, 10)
