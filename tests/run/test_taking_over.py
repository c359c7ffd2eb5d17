"""What `recsys features` takes over from an earlier run. That the result is the same: tests/features/test_merge.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from recsys import settings
from recsys.run import taking_over
from recsys.run.runs import Run
from recsys.sources import open_source
from tests.command import SPARK, Command, invoke, succeed
from tests.features.test_merge import content

CONFIG = """\
[source]
dataset = "tabular"
{source}
[source.interactions]
path = "{home}/events"
user_id = "user"
item_id = "item"
timestamp = "time"
[split]
allow_few = true
[features]
{features}
"""
PEOPLE, ITEMS = 30, 12


def add(home: Path, day: int) -> Path:
    """The events of a day."""
    (home / "events").mkdir(exist_ok=True)
    rows = [f"u{(day * 7 + n) % PEOPLE},{(n * n + day) % ITEMS},{1_700_000_000 + day * 86_400 + n}\n" for n in range(20)]
    path = home / "events" / f"{day}.csv"
    path.write_text("user,item,time\n" + "".join(rows))
    return path


def features(home: Path, run_id: str, *more: str, source: str = "", options: str = "") -> list[str]:
    (home / "shop.toml").write_text(CONFIG.format(home=home, source=source, features=options))
    words = ["features", "--config", f"{home}/shop.toml", "--output", f"{home}/out", "--run-id", run_id, *SPARK, *more]
    return words


def taken_over(home: Path, run_id: str) -> dict[str, Any]:
    """What run.json says of it."""
    manifest = json.loads((home / "out" / "runs" / run_id / "run.json").read_text())
    found: dict[str, Any] = manifest["stages"]["features"]["taken_over"]
    return found


@pytest.fixture(scope="module")
def before(with_spark: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop with the features of ten days in run r1, and an eleventh day."""
    home = tmp_path_factory.mktemp("shop")
    for day in range(10):
        add(home, day)
    succeed(*features(home, "r1"), home=home, run=with_spark)
    add(home, 10)
    return home


@pytest.mark.slow
def test_one_new_file_is_read_and_no_spark_started(before: Path, with_spark: Command) -> None:
    done = succeed(*features(before, "merged", "--warm-start", "r1"), home=before, run=invoke)  # which has no session to give
    assert "takes over 10 of 11 files of events from run r1, and reads the others" in done.stderr
    assert taken_over(before, "merged") == {"run_id": "r1", "files": 10, "files_read": 1, "files_gone_or_changed": 0}
    words = ["run", "--dry-run", *features(before, "dry", "--warm-start", "r1")[1:], "--set", "split.allow_few=true"]
    told = succeed(*words, home=before, run=invoke).stdout
    assert "takes over 10 of 11 files of events from run r1, and reads the others" in " ".join(told.split())
    assert "Spark" not in told
    succeed(*features(before, "whole", "--warm-start", "r1", "--set", "refresh.merge=false"), home=before, run=with_spark)
    runs = before / "out" / "runs"
    assert content(str(runs / "merged" / "features")) == content(str(runs / "whole" / "features"))
    assert (runs / "merged/features/features.json").read_text() == (runs / "whole/features/features.json").read_text()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("source", "options", "why"),
    [
        ("", "min_item_events = 2", "features.min_item_events is more than 1"),
        ("", "min_user_events = 2", "the settings of [features] or [source] are others than in run r1"),
        ('forget = "{home}/forget.txt"', "", "the list of users to forget is another than in run r1"),
        ('id_type = "string"', "", "the settings of [features] or [source] are others than in run r1"),
    ],
)
def test_all_files_are_read_where_the_rules_are_others(before: Path, source: str, options: str, why: str) -> None:
    (before / "forget.txt").write_text("u3\n")
    base, facts = chosen(before, source.format(home=before), options)
    assert base is None
    assert facts["why_not"].startswith(why)


@pytest.mark.slow
def test_files_that_are_gone_or_changed_are_no_longer_taken_over(before: Path) -> None:
    kept = {day: (before / "events" / f"{day}.csv").read_text() for day in range(10)}
    try:
        (before / "events" / "3.csv").unlink()
        (before / "events" / "4.csv").write_text(kept[4].replace("u28", "u29"))
        base, facts = chosen(before)
        for day, text in kept.items():
            (before / "events" / f"{day}.csv").write_text(text + "u1,1,1\n" * (day > 3))
        nothing = chosen(before)
    finally:
        for day, text in kept.items():
            (before / "events" / f"{day}.csv").write_text(text)
    assert facts == {"run_id": "r1", "files": 8, "files_read": 2, "files_gone_or_changed": 2}
    assert len(base.files) == 10
    assert {Path(path).stem for path in base.unchanged} == set("01256789")
    assert nothing[0] is None
    assert nothing[1]["why_not"] == "less than half of the bytes are in files that are as run r1 has read them"
    assert chosen(before)[1]["files"] == 10, "the same content with another time of change is the same file"


def chosen(home: Path, source: str = "", options: str = "") -> tuple[Any, dict[str, Any]]:
    features(home, "", source=source, options=options)
    config = settings.load(str(home / "shop.toml"), {}, [("refresh.warm_start", "r1")])
    run = Run(str(home / "out"), "r1")
    source = open_source(config, "", print, taking_over.inputs(run))
    with taking_over.chosen(config, run, source, print, 0.0) as found:
        return found
