"""Files and columns of tables: what is found, and what is said of each kind of bad input."""

from __future__ import annotations

import dataclasses
import errno
import gzip
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.config import Feature, Table
from recsys.errors import ConfigError, DataError, RecsysError, RetryError
from recsys.sources import check_columns, column_names, files, first_rows, input_files

EVENTS = "user,item,stars,time\n1,10,5,1386201600\n2,11,4,1386201601\n"


def events(path: Path | str, **options: object) -> Table:
    table = Table(str(path), user_id="user", item_id="item", rating="stars", timestamp="time")
    return dataclasses.replace(table, **options)  # type: ignore[arg-type]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_single_file_folder_and_glob_give_the_same_visible_files(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "_SUCCESS", ".hidden.csv", "_temporary/c.csv"):
        write(tmp_path / name, EVENTS)
    expected = [str(tmp_path / "a.csv"), str(tmp_path / "b.csv")]
    assert input_files(events(tmp_path)) == expected
    assert input_files(events(tmp_path / "*.csv")) == expected
    assert input_files(events(tmp_path / "a.csv")) == expected[:1]
    assert input_files(events(tmp_path / "[b].csv")) == expected[1:]


def test_glob_stays_within_one_folder_and_folders_are_read_whole(tmp_path: Path) -> None:
    write(tmp_path / "2024/01/a.csv", EVENTS)
    write(tmp_path / "2024/02/a.csv", EVENTS)
    assert len(input_files(events(tmp_path / "*/*/a.csv"))) == 2
    assert len(input_files(events(tmp_path))) == 2
    with pytest.raises(DataError, match="no file matches"):
        input_files(events(tmp_path / "*.csv"))


@pytest.mark.parametrize(
    ("name", "message"), [("absent.csv", "does not exist"), ("empty", "contains no file"), ("*.csv", "no file matches")]
)
def test_paths_that_lead_nowhere(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=message):
        column_names(events(tmp_path / name))


def test_header_is_read_through_gzip_bom_quotes_and_other_encodings(tmp_path: Path) -> None:
    table = events(write(tmp_path / "a.csv.gz", gzip.compress(EVENTS.encode())))
    assert column_names(table) == ["user", "item", "stars", "time"]
    table = events(write(tmp_path / "bom.csv", b"\xef\xbb\xbf" + EVENTS.encode()))
    assert column_names(table)[0] == "user"
    table = events(write(tmp_path / "quoted.csv", '"user","the ""item"", sold"\r\n1,2\r\n'))
    assert column_names(table) == ["user", 'the "item", sold']
    table = events(
        write(tmp_path / "latin.csv", "usuário;item\n1;2\n".encode("iso-8859-1")), encoding="iso-8859-1", delimiter=";"
    )
    assert column_names(table) == ["usuário", "item"]
    table = events(write(tmp_path / "wide.csv", EVENTS.encode("utf-16")), encoding="utf-16")
    assert column_names(table)[0] == "user"


def test_names_of_a_file_without_header_must_fit_its_first_line(tmp_path: Path) -> None:
    path = write(tmp_path / "ratings.dat", "1::10::5::1386201600\n")
    table = events(path, delimiter="::", header=False, names=("user", "item", "stars", "time"))
    check_columns(table, "interactions")
    assert first_rows(table) == [["1", "10", "5", "1386201600"]]
    with pytest.raises(DataError, match="first line has 1 values, expected 4"):
        column_names(dataclasses.replace(table, delimiter=","))
    with pytest.raises(ConfigError, match="requires names"):
        column_names(dataclasses.replace(table, names=()))
    with pytest.raises(ConfigError, match="header = false or remove names"):
        column_names(dataclasses.replace(table, header=True))


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "is empty"),
        ("blank.csv", b"\n\n", "only empty lines"),
        ("latin.csv", "usuário,item\n".encode("iso-8859-1"), "is not utf-8"),
        ("plain.csv.gz", EVENTS.encode(), "not a complete gzip file"),
        ("packed.csv", gzip.compress(EVENTS.encode(), mtime=0), "name must end in .gz"),
        ("events.csv", b"PK\x03\x04rest", "unpack it"),
        ("events.data", b"PAR1rest", "Parquet"),
        ("events.parquet", b"PAR1", "not a complete Parquet file"),
        ("empty.parquet", b"", "is empty"),
    ],
)
def test_bad_files_are_named_with_the_reason(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(DataError, match=message) as caught:
        column_names(events(path))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("code", "kind"), [(errno.EIO, RetryError), (errno.ESTALE, RetryError), (errno.EACCES, DataError)])
def test_a_storage_that_fails_for_now_is_no_bad_file(tmp_path: Path, code: int, kind: type[RecsysError]) -> None:
    path = str(write(tmp_path / "events.csv", EVENTS))
    with pytest.raises(kind, match=rf"events\.csv cannot be read.*{os.strerror(code)}"), files.open_binary(path):
        raise OSError(code, os.strerror(code), path)


def test_files_cut_off_behind_the_header_are_found_before_spark_starts(tmp_path: Path) -> None:
    body = EVENTS.encode() + b"".join(b"%d,%d,3,1386201600\n" % (n * 7919 % 10007, n * 31 % 997) for n in range(20000))
    path = write(tmp_path / "cut.csv.gz", gzip.compress(body)[:-2000])
    with pytest.raises(DataError, match="not a complete gzip file"):
        files.fingerprints(events(path))
    path = write(tmp_path / "mixed.csv", body + "café,1,1,1\n".encode("iso-8859-1"))
    with pytest.raises(DataError, match="is not utf-8"):
        files.fingerprints(events(path))


def test_truncated_parquet_is_named(tmp_path: Path) -> None:
    pq.write_table(pa.table({"user": [1], "item": [2], "stars": [3.0], "time": [4]}), tmp_path / "a.parquet")
    check_columns(events(tmp_path), "interactions")
    assert first_rows(events(tmp_path)) == [["1", "2", "3.0", "4"]]
    write(tmp_path / "b.parquet", (tmp_path / "a.parquet").read_bytes()[:-20])
    with pytest.raises(DataError, match=r"b\.parquet is not a complete Parquet file"):
        check_columns(events(tmp_path), "interactions")


def test_missing_columns_are_named_with_those_found(tmp_path: Path) -> None:
    table = events(write(tmp_path / "a.csv", EVENTS))
    check_columns(table, "interactions")
    with pytest.raises(
        DataError, match=r"no column 'starz' \(rating\); it has 'user', 'item', 'stars', 'time'.*perhaps to 'stars'"
    ):
        check_columns(dataclasses.replace(table, rating="starz"), "interactions")
    with pytest.raises(DataError, match="single column, so the delimiter ';' is probably wrong"):
        check_columns(dataclasses.replace(table, delimiter=";"), "interactions")
    with pytest.raises(ConfigError, match="which column is the timestamp"):
        check_columns(dataclasses.replace(table, timestamp=None), "interactions")
    with pytest.raises(DataError, match="'brand'"):
        check_columns(dataclasses.replace(table, features={"brand": Feature("categorical")}), "items")
    with pytest.raises(DataError, match=r"'War' \(features.genres\)"):
        check_columns(dataclasses.replace(table, features={"genres": Feature("multi", flags=("item", "War"))}), "items")


def test_files_of_one_table_must_agree(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", EVENTS)
    write(tmp_path / "b.csv", "item,user,stars,time\n1,2,3,4\n")
    with pytest.raises(DataError, match="same columns in the same order"):
        check_columns(events(tmp_path), "interactions")
    write(tmp_path / "b.csv", b"")
    check_columns(events(tmp_path), "interactions")
    write(tmp_path / "c.parquet", b"PAR1")
    with pytest.raises(DataError, match="select one kind with a glob"):
        check_columns(events(tmp_path), "interactions")


def test_a_column_there_twice_is_refused(tmp_path: Path) -> None:
    table = events(write(tmp_path / "a.csv", "user,item,user,time,stars\n1,2,3,4,5\n"))
    with pytest.raises(DataError, match="2 columns named"):
        check_columns(table, "interactions")


def test_fingerprints_follow_the_content(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", EVENTS)
    before = files.fingerprints(events(path))
    assert before[0]["bytes"] == len(EVENTS) and len(before[0]["sha256"]) == 64
    write(path, EVENTS.replace("10", "12", 1))
    assert files.fingerprints(events(path)) != before
