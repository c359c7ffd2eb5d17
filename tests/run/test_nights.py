"""Nights of a shop, one after another: each goes on from the network of the night before, or says why it does not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.command import SMALL, SPARK, Command, command, environment, invoke, recommendations, succeed
from tests.features.test_forgetting import everything
from tests.support import chains

HISTORY, A_NIGHT = 60, 20
"""Users who join before the first night, and in each night."""
DAY = 86_400
START = 1_700_000_000 // DAY * DAY
CONFIG = """\
output = "out"
[source]
dataset = "tabular"
[source.interactions]
path = "events/*.parquet"
user_id = "user"
item_id = "item"
timestamp = "time"
[source.items]
path = "items.csv"
item_id = "item"
[source.items.features]
{feature} = {{ kind = "categorical" }}
"""
SETTINGS = (*SMALL, *SPARK, "--warm-start", "latest", "--epochs", "2", "--set", "evaluation.baselines=")
SETTINGS += ("--set", "split.min_events=5", "--set", "publish.max_drop=1", "--set", "refresh.full_every=4")


def nightly(home: Path, night: int, *more: str) -> list[str]:
    """The command of a night, whose events come first."""
    add_events(home, night)
    return ["run", *SETTINGS, "--config", f"{home}/shop.toml", "--output", f"{home}/out", "--run-id", f"n{night}", *more]


def shop(home: Path, feature: str = "kind") -> None:
    """The items, and the configuration."""
    rows = "".join(f"i{n},{'ab'[n % 2]}\n" for n in range(1, 41))
    (home / "items.csv").write_text(f"item,{feature}\n{rows}")
    (home / "shop.toml").write_text(CONFIG.format(feature=feature))
    (home / "events").mkdir(exist_ok=True)


def add_events(home: Path, night: int) -> None:
    """The events of a night: new users and, after the first night, more events of some earlier ones."""
    new = chains(users=HISTORY if night == 0 else A_NIGHT, seed=night, length=10)
    rows: dict[str, list[Any]] = {"user": [], "item": [], "time": []}
    for number, history in enumerate(new):
        for place, item in enumerate(history):
            rows["user"].append(f"n{night}-{number}")
            rows["item"].append(f"i{item}")
            rows["time"].append(START + night * DAY + (number * 97 + place * 1009) % DAY)
    for number in range(10 if night else 0):
        rows["user"].append(f"n{night - 1}-{number}")
        rows["item"].append(f"i{(night * 7 + number) % 40 + 1}")
        rows["time"].append(START + night * DAY + number)
    pq.write_table(pa.table(rows), home / "events" / f"{night:02d}.parquet")


def latest(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((home / "out" / "latest.json").read_text())
    return found


def warm(home: Path, night: int) -> dict[str, Any]:
    """What run.json says of the earlier run."""
    found: dict[str, Any] = json.loads((home / "out" / "runs" / f"n{night}" / "run.json").read_text())["warm_start"]
    return found


def stages(home: Path, night: int) -> dict[str, Any]:
    """What run.json says of the stages."""
    found: dict[str, Any] = json.loads((home / "out" / "runs" / f"n{night}" / "run.json").read_text())["stages"]
    return found


def kill_in_training(words: list[str], home: Path) -> None:
    """Starts the command in a process of its own and kills it after its first epoch."""
    with subprocess.Popen(command(*words), env=environment(home), cwd=home, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "fit epoch 1/" in line:
                process.kill()


@pytest.mark.slow
def test_ten_nights(with_spark: Command, tmp_path: Path) -> None:
    shop(tmp_path)
    succeed(*nightly(tmp_path, 0), home=tmp_path, run=with_spark)
    assert warm(tmp_path, 0)["why_not"] == "no run is published yet"

    succeed(*nightly(tmp_path, 1), home=tmp_path, run=with_spark)
    assert (warm(tmp_path, 1)["from"], warm(tmp_path, 1)["ancestry"]) == ("n0", ["n0"])
    methods = json.loads((tmp_path / "out/runs/n1/evaluation/metrics.json").read_text())["methods"]
    assert set(methods) == {"blend", "cnn", "published"}, "measured beside what readers have"

    report = (tmp_path / "out/runs/n1/report/report.html").read_text()
    assert "held out of the events later than those that the network of the run before had learned" in report
    told = " ".join(report.split())
    assert f"{warm(tmp_path, 1)['news']['events']:,}" in told.split("new events</bdi></th>")[1][:80]
    assert "items in both of a user&#39;s lists (Jaccard)" in told
    assert "a network that goes on from that of an earlier run: the training part" in report

    words = nightly(tmp_path, 2)
    kill_in_training(words, tmp_path)
    assert latest(tmp_path)["run_id"] == "n1"
    assert "resuming from the checkpoint" in succeed(*words, home=tmp_path, run=with_spark).stderr
    assert warm(tmp_path, 2)["ancestry"] == ["n1", "n0"]

    assert with_spark(*nightly(tmp_path, 3, "--set", "publish.min_ndcg=1"), home=tmp_path).returncode == 78
    assert latest(tmp_path)["run_id"] == "n2"
    succeed(*nightly(tmp_path, 4), home=tmp_path, run=with_spark)
    taken_over = {"run_id": "n2", "files": 3, "files_read": 2, "files_gone_or_changed": 0}
    assert stages(tmp_path, 4)["features"]["taken_over"] == taken_over
    assert warm(tmp_path, 4)["ancestry"] == ["n2", "n1", "n0"], "goes on from what is published, not from what was refused"
    assert warm(tmp_path, 4)["news"]["events"] > warm(tmp_path, 2)["news"]["events"], (
        "and learns the refused night's events too"
    )

    shop(tmp_path, feature="sort")
    succeed(*nightly(tmp_path, 5), home=tmp_path, run=with_spark)
    assert warm(tmp_path, 5)["why_not"] == "the features of items are declared otherwise than in run n4"

    for night in range(6, 10):
        succeed(*nightly(tmp_path, night), home=tmp_path, run=with_spark)
        assert warm(tmp_path, night)["ancestry"] == [f"n{before}" for before in range(night - 1, 4, -1)]
    succeed(*nightly(tmp_path, 10), home=tmp_path, run=with_spark)
    assert "refreshed 4 times in a row" in warm(tmp_path, 10)["why_not"]
    assert latest(tmp_path)["run_id"] == "n10"
    lists = recommendations(tmp_path / "out")
    assert set(lists["user_id"].to_pylist()) == {
        user for path in (tmp_path / "events").iterdir() for user in pq.read_table(path)["user"].to_pylist()
    }


@pytest.mark.slow
def test_a_night_with_too_little_is_trained_anew_and_measured_on_what_no_network_has_learned(
    with_spark: Command, tmp_path: Path
) -> None:
    shop(tmp_path)
    succeed(*nightly(tmp_path, 0), home=tmp_path, run=with_spark)
    words = nightly(tmp_path, 1, "--set", "split.min_events=25", "--set", "publish.max_drop=0.99")
    said = succeed(*words, home=tmp_path, run=with_spark).stderr
    assert "trains a new network" in said and "too few" in warm(tmp_path, 1)["why_not"]
    metrics = json.loads((tmp_path / "out/runs/n1/evaluation/metrics.json").read_text())
    assert set(metrics["methods"]) == {"blend", "cnn"}, "the earlier network has learned most of these test events"
    assert metrics["protocol"]["since"] is None


@pytest.mark.slow
def test_a_forgotten_user_is_nowhere_in_the_next_run(with_spark: Command, tmp_path: Path) -> None:
    shop(tmp_path)
    rows = {"user": ["secret-a"] * 3 + ["secret-b"] * 3, "item": ["i1", "i2", "i3"] * 2, "time": [START + n for n in range(6)]}
    (tmp_path / "events").mkdir(exist_ok=True)
    pq.write_table(pa.table(rows), tmp_path / "events" / "secret.parquet")
    succeed(*nightly(tmp_path, 0), home=tmp_path, run=with_spark)
    assert "secret-a" in everything(tmp_path / "out" / "runs" / "n0")
    (tmp_path / "forget.txt").write_text("secret-a\nsecret-b\n")
    forget = ("--set", f"source.forget={tmp_path}/forget.txt")

    succeed(*nightly(tmp_path, 1, *forget), home=tmp_path, run=with_spark)
    text = everything(tmp_path / "out" / "runs" / "n1")
    assert "secret-a" not in text and "secret-b" not in text and "n0-8'" in text
    assert (warm(tmp_path, 1)["from"], warm(tmp_path, 1)["learned_forgotten"]) == ("n0", True), "the weights have seen them"

    exact = (*forget, "--set", "refresh.exact_forgetting=true")
    succeed(*nightly(tmp_path, 2, *exact), home=tmp_path, run=with_spark)
    assert "come from events of users to forget" in warm(tmp_path, 2)["why_not"]
    succeed(*nightly(tmp_path, 3, *exact), home=tmp_path, run=with_spark)
    assert (warm(tmp_path, 3)["from"], warm(tmp_path, 3)["learned_forgotten"]) == ("n2", False)


@pytest.mark.slow
def test_lists_from_new_events_with_the_published_network(with_spark: Command, tmp_path: Path) -> None:
    shop(tmp_path)
    succeed(*nightly(tmp_path, 0), home=tmp_path, run=with_spark)
    before = recommendations(tmp_path / "out").to_pydict()
    new = tmp_path / "new.parquet"
    first = next(user for user in before["user_id"])
    best = before["item_id"][before["user_id"].index(first)]
    pq.write_table(
        pa.table({"user": [first, "stranger", "stranger"], "item": [best, "i1", "i2"], "time": [START * 2] * 3}), new
    )
    asked = ("recommend", "--output", f"{tmp_path}/out", "--events", str(new), "--to", f"{tmp_path}/lists")
    succeed(*asked, home=tmp_path, run=invoke)
    lists = pq.read_table(tmp_path / "lists")
    assert lists.schema.names == ["user_id", "item_id", "rank", "score"]
    shown = {user: [row["item_id"] for row in lists.to_pylist() if row["user_id"] == user] for user in (first, "stranger")}
    assert set(lists["user_id"].to_pylist()) == {first, "stranger"}
    assert {len(items) for items in shown.values()} == {10}
    assert best not in shown[first] and not {"i1", "i2"} & set(shown["stranger"]), "what was had is not recommended"
    assert recommendations(tmp_path / "out").to_pydict() == before, "the run stays as it is"
    succeed(*asked, home=tmp_path, run=invoke)
    assert pq.read_table(tmp_path / "lists").equals(lists)

    # Killed half-way, it leaves parts without a word about them; the same command begins again.
    (tmp_path / "lists" / "_fold_in.json").unlink()
    (tmp_path / "lists" / "_SUCCESS").unlink()
    succeed(*asked, "--all-users", home=tmp_path, run=invoke)
    everybody = pq.read_table(tmp_path / "lists")
    users = list(dict.fromkeys(everybody["user_id"].to_pylist()))
    assert users == [*dict.fromkeys(before["user_id"]), "stranger"], "the known ones in their order, then the new ones"
    mine = [row for row in everybody.to_pylist() if row["user_id"] in shown]
    assert mine == sorted(lists.to_pylist(), key=lambda row: (users.index(row["user_id"]), row["rank"])), "the same lists"

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("keep me")
    done = invoke(*asked[:-1], f"{tmp_path}/mine", home=tmp_path)
    assert done.returncode == 2 and "there are other files in it" in done.stderr
    assert (tmp_path / "mine" / "notes.txt").read_text() == "keep me"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("recommend", "--events", "new.csv"), "--events and --to need each other"),
        (("recommend", "--events", "new.csv", "--to", "lists", "--redo"), "go without --redo, --shard and --wait"),
        (("recommend", "--all-users"), "--all-users needs them"),
        (("recommend", "--events", "new.csv", "--to", "lists"), "nothing is published in out"),
        (
            ("run", "--warm-start", "latest", "--split", "leave-one-out"),
            "refresh.warm_start needs split.method global-time or none",
        ),
    ],
)
def test_what_cannot_be_asked(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = invoke(*words, home=tmp_path)
    assert done.returncode == 2 and said in done.stderr


def test_a_run_to_go_on_from_must_exist(with_spark: Command, tmp_path: Path) -> None:
    shop(tmp_path)
    done = with_spark(*nightly(tmp_path, 0), "--warm-start", "other", home=tmp_path)
    assert done.returncode == 2 and "there is no run other in" in done.stderr
