"""The whole job through the command line, on small data: each kind of source, each split, every command."""

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
    SPARK,
    SYNTHETIC,
    USERS,
    USERS_WITHOUT_EVENTS,
    built_in_run,
    histories,
    manifest,
    recommendations,
    recsys,
    run_folder,
    succeed,
    write_toml,
)
from tests.sources import formats

METHODS = ("blend", "cnn", "popularity", "recent-popularity", "item-knn", "ease", "als", "transitions")


def features(output: Path, table: str) -> pa.Table:
    return pq.read_table(run_folder(output) / "features" / table)


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the built-in data with every baseline."""
    return built_in_run(tmp_path_factory.getbasetemp())


@pytest.fixture(scope="module")
def by_stages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, stage by stage, with one baseline."""
    home = tmp_path_factory.mktemp("stages")
    succeed("features", *BUILT_IN, *ONLY_POPULARITY, "--output", "out", home=home)
    for stage in ("train", "evaluate", "recommend", "publish"):
        succeed(stage, "--output", "out", home=home)
    return home


def test_built_in_data_keeps_the_contract(synthetic: Path) -> None:
    output = synthetic / "out"
    had = histories(run_folder(output))
    assert set(USERS) - set(had) == USERS_WITHOUT_EVENTS
    contract.check_output(output, had, USERS, ITEMS, 10)


def test_table_of_all_methods_is_printed_and_kept(synthetic: Path) -> None:
    said = (synthetic / "said").read_text()
    for method in METHODS:
        assert any(line.split()[:1] == [method] for line in said.splitlines()), f"{method} is not in: {said}"
    assert "Traceback" not in said and "java" not in said.lower()
    metrics = json.loads((run_folder(synthetic / "out") / "evaluation" / "metrics.json").read_text())
    assert set(METHODS) <= set(metrics["methods"])
    assert set(METHODS) <= set(manifest(synthetic / "out")["metrics"])


def test_stages_one_by_one_with_the_same_seed_give_the_same_recommendations(synthetic: Path, by_stages: Path) -> None:
    assert recommendations(synthetic / "out").equals(recommendations(by_stages / "out"))


def test_finished_stages_are_skipped(by_stages: Path) -> None:
    before = manifest(by_stages / "out")
    said = succeed("train", "--output", "out", home=by_stages).stderr
    said += succeed("publish", "--output", "out", home=by_stages).stderr
    assert "train: already done" in said and "publish: already done" in said
    assert manifest(by_stages / "out")["stages"] == before["stages"]


def test_redo_makes_a_stage_again_and_forgets_what_follows(by_stages: Path, tmp_path: Path) -> None:
    shutil.copytree(by_stages / "out", tmp_path / "out")
    (tmp_path / "out" / "latest.json").unlink()
    succeed("recommend", "--redo", "--set", "recommend.k=3", "--output", "out", home=tmp_path)
    facts = manifest(tmp_path / "out")
    assert list(facts["stages"]) == ["features", "train", "evaluate", "recommend"]
    assert facts["stages"]["train"] == manifest(by_stages / "out")["stages"]["train"]
    succeed("publish", "--output", "out", home=tmp_path)
    contract.check_output(tmp_path / "out", histories(run_folder(tmp_path / "out")), USERS, ITEMS, 3)


@pytest.mark.parametrize("stage", ["train", "recommend"])
def test_what_is_published_is_never_made_again(by_stages: Path, stage: str) -> None:
    before = recommendations(by_stages / "out")
    done = recsys(stage, "--redo", "--output", "out", home=by_stages)
    assert done.returncode == 2
    assert "is published and must not change" in done.stderr
    assert recommendations(by_stages / "out").equals(before)
    contract.check_output(by_stages / "out", histories(run_folder(by_stages / "out")), USERS, ITEMS, 10)


def test_a_finished_stage_with_other_settings_is_told_and_not_skipped(by_stages: Path) -> None:
    before = manifest(by_stages / "out")
    done = recsys("recommend", "--set", "recommend.k=3", "--output", "out", home=by_stages)
    assert done.returncode == 2
    assert "'recommend' is done with other settings; add --redo" in done.stderr
    assert manifest(by_stages / "out") == before


def test_measuring_again_leaves_the_recommendations_alone(by_stages: Path, tmp_path: Path) -> None:
    shutil.copytree(by_stages / "out", tmp_path / "out")
    succeed("evaluate", "--redo", "--set", "evaluation.baselines=popularity,transitions", "--output", "out", home=tmp_path)
    assert "transitions" in manifest(tmp_path / "out")["metrics"]
    assert recommendations(tmp_path / "out").equals(recommendations(by_stages / "out"))
    assert list(manifest(tmp_path / "out")["stages"]) == ["features", "train", "recommend", "evaluate"]


def test_a_later_stage_cannot_change_what_an_earlier_one_used(by_stages: Path) -> None:
    done = recsys("recommend", "--set", "training.epochs=5", "--output", "out", home=by_stages)
    assert done.returncode == 2
    assert "begin a new run" in done.stderr


def test_a_run_id_belongs_to_one_configuration(by_stages: Path) -> None:
    run_id = run_folder(by_stages / "out").name
    done = recsys("run", "--output", "out", "--run-id", run_id, "--seed", 1, home=by_stages)
    assert done.returncode == 2
    assert "another configuration" in done.stderr


def test_show_tells_history_and_recommendations(synthetic: Path) -> None:
    output = synthetic / "out"
    rows = recommendations(output).to_pylist()
    titles = {row["item_id"]: row["title"] for row in features(output, "items").to_pylist()}
    said = succeed("show", "--output", "out", "--user", 1, home=synthetic).stdout
    places = [said.index(titles[row["item_id"]]) for row in rows if row["user_id"] == 1]
    assert len(places) == 10 and places == sorted(places)
    (cold,) = USERS_WITHOUT_EVENTS
    said = succeed("show", "--output", "out", "--user", cold, home=synthetic).stdout
    assert "no events" in said
    done = recsys("show", "--output", "out", "--user", 999, home=synthetic)
    assert done.returncode == 2
    assert "no such user" in done.stderr


def test_a_refused_gate_leaves_the_old_output(synthetic: Path, by_stages: Path, tmp_path: Path) -> None:
    shutil.copytree(by_stages / "out", tmp_path / "out")
    before = (tmp_path / "out" / "latest.json").read_bytes()
    done = recsys("publish", "--redo", "--set", "publish.min_ndcg=2", "--output", "out", home=tmp_path)
    assert done.returncode == 78
    assert "not published" in done.stderr and "publish.min_ndcg" in done.stderr
    assert (tmp_path / "out" / "latest.json").read_bytes() == before
    assert recommendations(tmp_path / "out").equals(recommendations(synthetic / "out"))


def test_data_sets_are_listed_and_described(tmp_path: Path) -> None:
    said = succeed("dataset", "list", home=tmp_path).stdout
    for name in ("synthetic", "ml-100k", "ml-1m", "ml-10m", "ml-20m", "ml-25m", "ml-32m", "ml-latest-small"):
        assert any(line.split()[:1] == [name] for line in said.splitlines())
    said = succeed("dataset", "describe", *SYNTHETIC, home=tmp_path).stdout
    for words in ("interactions", "users", "items", "user_id = user_id", "timestamps in s"):
        assert words in said


def test_doctor_says_what_will_be_used(tmp_path: Path) -> None:
    report = json.loads(succeed("doctor", "--json", "--device", "cpu", home=tmp_path).stdout)
    assert all(part["ok"] for part in report.values())
    assert {"java", "spark", "tensorflow", "memory", "folders"} <= set(report)


def test_movielens_10m_leave_one_out(tmp_path: Path) -> None:
    archive = formats.zipped(formats.write_10m(tmp_path / "made", users=25), tmp_path / "ml-10m.zip")
    options = ("--dataset", "ml-10m", "--dataset-path", archive, "--split", "leave-one-out", "--k", 7, "--epochs", 1)
    succeed("run", *options, *SMALL, *SPARK, *ONLY_POPULARITY, "--output", "out", home=tmp_path)
    check_movielens(tmp_path / "out", 25, 7)
    facts = manifest(tmp_path / "out")["stages"]["features"]
    assert (facts["test_events"], facts["valid_events"]) == (25, 25)


def test_movielens_20m_per_user_ratio(tmp_path: Path) -> None:
    folder = formats.write_csv(tmp_path / "made", users=25)
    options = ("--dataset", "ml-20m", "--dataset-path", folder, "--split", "per-user-ratio", "--epochs", 1)
    succeed("run", *options, *SMALL, *SPARK, *ONLY_POPULARITY, "--output", "out", home=tmp_path)
    check_movielens(tmp_path / "out", 25, 10)
    facts = manifest(tmp_path / "out")["stages"]["features"]
    assert facts["test_events"] == 25 * 3  # a fifth of 12, rounded up


def check_movielens(output: Path, users: int, k: int) -> None:
    """The contract, and titles as they were in the files."""
    had = defaultdict(set)
    for user, item, _, _ in formats.ratings(users=users):
        had[user].add(item)
    movies = formats.movies()
    contract.check_output(output, had, had.keys(), [item for item, _, _ in movies], k)
    found = {row["item_id"]: row["title"] for row in features(output, "items").to_pylist()}
    assert found == {item: title for item, title, _ in movies}


SHOP_ITEMS = [f"{number:04d}" for number in range(24)] + ["Käse, jung", "🎁", "新商品"]
"""Ids with leading zeros, a comma, and of other scripts; the last two have no events."""
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
    """The shop as CSV in a folder, one file of it compressed, with tables of users and items."""
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


def test_own_csv_with_ids_of_text_and_no_split(tmp_path: Path) -> None:
    file = write_shop(tmp_path / "shop")
    succeed("run", "--config", file, *SMALL, *SPARK, "--epochs", 1, "--k", 20, "--output", "out", home=tmp_path)
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
    """Parquet events in several files, with ids that a float cannot hold apart."""
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


def test_own_parquet_with_large_ids_and_another_seed(tmp_path: Path) -> None:
    file, had = write_numbers(tmp_path / "numbers")
    items = {item for found in had.values() for item in found}
    succeed("run", "--config", file, *SMALL, *SPARK, *ONLY_POPULARITY, "--epochs", 1, "--output", "out", home=tmp_path)
    contract.check_output(tmp_path / "out", had, had.keys(), items, 10)
    with_seed_0 = recommendations(tmp_path / "out")
    path = run_folder(tmp_path / "out") / "run.json"
    facts = json.loads(path.read_text())
    facts["config"]["seed"] = 1  # the same features with another seed, without the time that Spark takes
    path.write_text(json.dumps(facts))
    (tmp_path / "out" / "latest.json").unlink()  # what is published is not made again
    succeed("train", "--redo", "--output", "out", home=tmp_path)
    succeed("recommend", "--output", "out", home=tmp_path)
    succeed("publish", "--output", "out", home=tmp_path)
    assert not recommendations(tmp_path / "out").equals(with_seed_0)


@pytest.mark.data
def test_movielens_100k(tmp_path: Path, data_dir: Path) -> None:
    archive = data_dir / "ml-100k.zip"
    options = ("--dataset", "ml-100k", "--dataset-path", archive, "--epochs", 1, *SMALL, *SPARK, *ONLY_POPULARITY)
    succeed("run", *options, "--output", "out", home=tmp_path)
    (unpacked,) = (tmp_path / "cache" / "recsys" / "unpacked").glob("ml-100k-*")
    events, people, movies = unpacked / "u.data", unpacked / "u.user", unpacked / "u.item"
    had = defaultdict(set)
    for line in events.read_text().splitlines():
        user, item, _, _ = map(int, line.split("\t"))
        had[user].add(item)
    users = [int(line.split("|")[0]) for line in people.read_text().splitlines()]
    items = [int(line.split("|")[0]) for line in movies.read_text(encoding="iso-8859-1").splitlines()]
    assert (len(users), len(items)) == (943, 1682)
    contract.check_output(tmp_path / "out", had, users, items, 10)
