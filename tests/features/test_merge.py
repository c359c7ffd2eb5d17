"""Features that take over the histories of an earlier run are those that reading all files gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import hypothesis.strategies as st
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from recsys import config, storage
from recsys.contract import histories, schema
from recsys.contract.features_info import FeaturesInfo, write_info
from recsys.errors import DamagedError, DataError
from recsys.features import in_process, pipeline
from recsys.features.earlier_features import Base
from tests.building import source

Files = Mapping[str, str]
"""Content by name."""

OPTIONS = config.Config(split=config.Split(allow_few=True), features=config.Features(max_rejected=1.0))
EVENT = st.builds(
    "{},{},{},{}".format,
    st.integers(0, 6).map("u{}".format),
    st.integers(0, 5),
    st.sampled_from([0.5, 1, 4]),
    st.integers(0, 9),
)
UNUSABLE = st.sampled_from(["u1,2,good,3", ",2,1,3", "u1,2", "u2,3,1,soon", 'u1,"2,3'])
CONTENT = st.lists(st.one_of(EVENT, EVENT, EVENT, UNUSABLE), max_size=12).map(
    lambda rows: "".join(f"{row}\n" for row in ("user,item,rating,time", *rows))
)
STREAMS = st.dictionaries(st.sampled_from("bdfhj"), CONTENT, min_size=1)
CHANGES = st.dictionaries(st.sampled_from("abcdefghijk"), st.one_of(CONTENT, st.none()))
"""New files before, between and after the old ones, late and corrected events, and files that are deleted."""


def build(
    folder: Path, name: str, files: Files, context: Any, base: Base | None = None, numbers: bool = False
) -> tuple[str, FeaturesInfo]:
    """Features of some files with events, and of a table of items; `numbers`: ids are integers."""
    events = folder / "events"
    events.mkdir(exist_ok=True)
    for path in events.iterdir():
        path.unlink()
    for stem, content in files.items():
        (events / f"{stem}.csv").write_text(content)
    (folder / "items.csv").write_text("item,kind\n" + "".join(f"{n},{'ab'[n % 2]}\n" for n in range(4)))
    tables = source(
        config.Table(str(events), user_id="user", item_id="item", rating="rating", timestamp="time", multiline=False),
        None,
        config.Table(str(folder / "items.csv"), item_id="item", features={"kind": config.Feature("categorical")}),
        id_type="integer" if numbers else "auto",
    )
    written = str(folder / name)
    storage.delete_folder(written)
    info = pipeline.build_with(context, OPTIONS, tables, written, print, None, base)
    write_info(written, info)
    return written, info


def base_of(folder: Path, features: str, before: Files, now: Files) -> Base:
    paths = {stem: str(folder / "events" / f"{stem}.csv") for stem in sorted(before)}
    return Base(features, tuple(paths.values()), tuple(paths[stem] for stem in paths if now.get(stem) == before[stem]))


def content(features: str) -> dict[str, Any]:
    """Everything in a features folder; rows set aside in any order, and numbers of files as such."""
    found: dict[str, Any] = {}
    for table in (schema.HISTORIES_DIR, schema.USERS_DIR, schema.ITEMS_DIR, "published/items", schema.REPEATS_DIR):
        paths = storage.list_files(storage.join(features, table), ".parquet")
        found[table] = [row for path in paths for row in pq.read_table(path).to_pylist()]
    rejected = histories.read_table(features, schema.REJECTED_DIR).to_pylist()
    return {**found, "rejected": sorted(tuple(map(str, row.values())) for row in rejected)}


def outcome(work: Callable[[], tuple[str, FeaturesInfo]]) -> Any:
    """What was written, or the error."""
    try:
        features, info = work()
    except DataError as error:
        return str(error)
    return content(features), info


@pytest.mark.slow
@pytest.mark.parametrize("rows_per_file", [1_000_000, 3])
@settings(max_examples=40, deadline=None)
@given(STREAMS, CHANGES, st.booleans())
def test_equal_to_reading_all_files(
    tmp_path_factory: pytest.TempPathFactory, rows_per_file: int, before: Files, changes: Mapping[str, Any], numbers: bool
) -> None:
    """Also where histories/ has several files, and so the merge several partitions."""
    folder = tmp_path_factory.mktemp("merge")
    after = {stem: text for stem, text in {**before, **changes}.items() if text is not None}
    if numbers:
        before, after = ({stem: text.replace("\nu", "\n1") for stem, text in some.items()} for some in (before, after))
    with mock.patch("recsys.features.parquet.ROWS_PER_FILE", rows_per_file):
        try:
            features, _ = build(folder, "before", before, in_process.context(), numbers=numbers)
        except DataError:
            return  # there is no earlier run
        if not after:
            return
        base = base_of(folder, features, before, after)
        whole = outcome(lambda: build(folder, "whole", after, in_process.context(), numbers=numbers))
        assert outcome(lambda: build(folder, "merged", after, in_process.context(), base=base, numbers=numbers)) == whole


FIRST = "user,item,rating,time\nu1,1,5,100\nu1,2,4,90\nu2,1,3,50\nu2,3,1,60\nu1,1,2,200\nu3,2,1,10\nu3,bad\n"
LATE = "user,item,rating,time\nu1,1,1,20\nu4,9,5,300\nu2,3,2,60\n"


@pytest.mark.slow
def test_on_spark_as_in_this_process(spark: Any, tmp_path: Path) -> None:
    before, after = {"b": FIRST, "c": LATE}, {"a": LATE.replace("u4", "u0"), "b": FIRST}
    features, _ = build(tmp_path, "before", before, spark.sparkContext)
    base = base_of(tmp_path, features, before, after)
    whole = outcome(lambda: build(tmp_path, "whole", after, spark.sparkContext))
    assert outcome(lambda: build(tmp_path, "merged", after, spark.sparkContext, base=base)) == whole
    assert outcome(lambda: build(tmp_path, "here", after, in_process.context(), base=base)) == whole
    assert outcome(lambda: build(tmp_path, "all", after, in_process.context())) == whole
    assert whole[0]["repeats"], "and there was something to decide"


def test_what_was_shadowed_comes_back_with_the_file_that_it_stood_behind(tmp_path: Path) -> None:
    before, after = {"a": LATE, "b": FIRST}, {"b": FIRST}
    features, _ = build(tmp_path, "before", before, in_process.context())
    first = content(features)["histories"]
    assert first[0]["timestamps"] == [20, 90], "the late event of item 1 stands, those of 100 and 200 are repeats"
    found, _ = build(tmp_path, "after", after, in_process.context(), base=base_of(tmp_path, features, before, after))
    assert content(found)["histories"][0]["timestamps"] == [90, 100]


def test_an_unchanged_file_is_not_read(tmp_path: Path) -> None:
    features, _ = build(tmp_path, "before", {"a": FIRST}, in_process.context())
    other = FIRST.replace("u3,2,1,10", "u5,2,1,10")
    base = dataclasses.replace(base_of(tmp_path, features, {"a": FIRST}, {"a": FIRST}))
    found, _ = build(tmp_path, "after", {"a": other, "b": LATE}, in_process.context(), base=base)
    assert histories.read_table(found, schema.USERS_DIR)["user_id"].to_pylist() == ["u1", "u2", "u3", "u4"]


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("repeats", "repeats has 0 rows, but 1"),
        ("histories", "histories has .* rows, but 5"),
        ("rejected", "rejected has 0 rows"),
    ],
)
def test_a_lost_file_is_noticed(tmp_path: Path, lost: str, words: str) -> None:
    with mock.patch("recsys.features.parquet.ROWS_PER_FILE", 3):
        features, _ = build(tmp_path, "before", {"a": FIRST}, in_process.context())
        for path in storage.list_files(storage.join(features, lost), ".parquet")[-1:]:
            Path(path).unlink()
        base = base_of(tmp_path, features, {"a": FIRST}, {"a": FIRST})
        with pytest.raises(DamagedError, match=words):
            build(tmp_path, "after", {"a": FIRST, "b": LATE}, in_process.context(), base=base)
