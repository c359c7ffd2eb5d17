"""Files that are changed while they are read: the run fails and names them, and never records what it has not read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recsys.config import Config, Source, Split, Table
from recsys.errors import DataError
from recsys.progress import Progress
from recsys.run import runs, stages
from recsys.run.ending import Stop
from recsys.run.stages import Job
from recsys.sources import check_unchanged, open_source
from tests.command import children_here
from tests.store import Store

HEADER = "user,item,time\n"
ROWS = "".join(f"u{user},i{(user * 3 + step) % 11},{86_400 * step}\n" for user in range(12) for step in range(6))


def asked(path: object, output: object = "out") -> Config:
    table = Table(str(path), user_id="user", item_id="item", timestamp="time")
    return Config(
        output=str(output),
        source=Source("tabular", interactions=table),
        split=Split(method="leave-one-out", allow_few=True),
    )


class Meddling(Progress):
    """Does something to the source at the moment when Spark begins to read."""

    def __init__(self, meddle: Callable[[], object]) -> None:
        super().__init__(quiet=True)
        self._meddle = meddle

    def __call__(self, text: str) -> None:
        if text.startswith("reading and cleaning"):
            self._meddle()


def build(config: Config, session: Any, meddle: Callable[[], object]) -> runs.Run:
    run = runs.create(config, "r")
    with children_here(session):
        stages.features(Job(config, run, Meddling(meddle), Stop()))
    return run


@pytest.mark.slow
def test_a_file_cut_off_while_spark_reads_it_is_bad_input(spark: Any, tmp_path: Path) -> None:
    """To whole lines, so that Spark notices nothing."""
    path = tmp_path / "events.csv"
    path.write_text(HEADER + ROWS)

    def cut() -> None:
        os.truncate(path, len(HEADER + ROWS[: len(ROWS) // 2].rpartition("\n")[0]) + 1)

    with pytest.raises(DataError, match=r"events\.csv was changed while it was being read: .* bytes of"):
        build(asked(path, tmp_path / "out"), spark, cut)


def test_a_file_that_comes_while_the_others_are_read_is_a_warning(tmp_path: Path) -> None:
    """A folder into which files are dropped all the time must not make every run fail."""
    (tmp_path / "events").mkdir()
    (tmp_path / "events" / "a.csv").write_text(HEADER + ROWS)
    found = open_source(asked(tmp_path / "events"), "", print)
    (tmp_path / "events" / "b.csv").write_text(HEADER + ROWS)
    (warning,) = check_unchanged(found)
    assert f"{tmp_path}/events got 1 more file(s) while it was being read, such as {tmp_path}/events/b.csv" in warning


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda path: path.write_text(path.read_text() + "u1,i9,1\n"), "bytes of .* before, .* now"),
        (lambda path: path.write_text(path.read_text().replace("i", "j")), "bytes of .* before, .* now"),
        (lambda path: path.unlink(), "no file now"),
    ],
)
def test_any_change_of_a_file_is_noticed(tmp_path: Path, change: Callable[[Path], object], words: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(HEADER + ROWS)
    os.utime(path, (1, 1))
    found = open_source(asked(path), "", print)
    assert check_unchanged(found) == []
    change(path)
    with pytest.raises(DataError, match=words):
        check_unchanged(found)


def test_a_known_file_is_hashed_again_only_after_a_change(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(HEADER + ROWS)
    (first,) = open_source(asked(path), "", print).inputs
    marked = {**first, "sha256": "as it was"}
    (second,) = open_source(asked(path), "", print, [marked]).inputs
    assert second == marked
    os.utime(path, (1, 1))
    (third,) = open_source(asked(path), "", print, [marked]).inputs
    assert third["sha256"] == first["sha256"]


def test_a_change_in_a_store_is_noticed(store: Store) -> None:
    uri = store.put("changing/events.csv", HEADER + ROWS)
    found = open_source(asked(uri), "", print)
    assert check_unchanged(found) == []
    store.put("changing/events.csv", HEADER + ROWS[:100])
    with pytest.raises(DataError, match=r"s3://.*/changing/events\.csv was changed"):
        check_unchanged(found)


def test_a_file_that_was_only_touched_is_the_same_input(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text(HEADER + ROWS)
    config = asked(path, tmp_path / "out")
    run = runs.create(config)
    run.update({"inputs": [dict(entry) for entry in open_source(config, "", print).inputs]})
    os.utime(path, (1, 1))
    assert runs.open_or_create(config, None) == run
