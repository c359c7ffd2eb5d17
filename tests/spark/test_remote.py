"""Files in an object store are read like local ones: the same rows, in the same order, with the same text."""

from __future__ import annotations

import datetime
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.config import Table
from recsys.errors import DataError
from recsys.features import parquet
from recsys.features.clean import id_type
from recsys.features.read import CORRUPT, FILE_NUMBER, ORDER, Rows, read
from recsys.sources.files import open_binary
from recsys.spark import remote
from recsys.spark.failures import translated
from tests.store import Store

MESSY = (
    "user,item,note\r\n\r\n"
    'u1,i1,"a ""b"", c"\n'
    "u1,i1\n   \nu1,i1,2,3\n"
    'u2, i2 ,\n5" screen,i3,x\nü,i4,"half\nu3,i5,"end" of\r'
    "u4,i6,last"
)
QUOTED = 'id,name\n"1","two\nlines, ""quoted"""\n2,5" screen\n\n3\n4,"a","b"\n5,\n'


@pytest.fixture
def both(spark: Any, store: Store, tmp_path: Path) -> Callable[..., tuple[Rows, Rows]]:
    """`both(files, role, **fields)` reads a table from this machine and from the store."""

    def make(files: dict[str, bytes], role: str = "interactions", **fields: Any) -> tuple[Rows, Rows]:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
            store.put(f"{tmp_path.name}/{name}", content)
        return tuple(
            read(spark, Table(f"{place}/*", **fields), role) for place in (tmp_path, f"{store.bucket}/{tmp_path.name}")
        )

    return make


def rows(found: Rows) -> list[tuple[Any, ...]]:
    """All rows in source order, without the paths."""
    columns = list(found.columns.values())
    taken = found.frame.orderBy(*ORDER).select(FILE_NUMBER, *columns, CORRUPT).collect()
    return [tuple(row) for row in taken]


@pytest.mark.parametrize(
    ("files", "role", "fields"),
    [
        ({"a.csv": MESSY.encode(), "b.csv.gz": gzip.compress(b"user,item,note\nu9,i9,\xff\n")}, "interactions", {}),
        ({"a.csv": b"\xef\xbb\xbf" + QUOTED.encode(), "b.csv": QUOTED.replace("\n", "\r\n").encode()}, "items", {}),
        ({"a.csv": "1::Jos\xe9::x\n2::::\n".encode("latin-1")}, "users",
         {"header": False, "names": ("a", "b", "c"), "delimiter": "::", "encoding": "latin-1"}),
    ],
    ids=["lines", "records", "long delimiter"],
)  # fmt: skip
def test_text_is_read_as_on_this_machine(
    both: Callable[..., tuple[Rows, Rows]], files: dict[str, bytes], role: str, fields: dict[str, Any]
) -> None:
    local, far = both(files, role, **fields)
    assert rows(far) == rows(local)
    assert far.columns == local.columns


def test_parquet_is_read_as_on_this_machine(both: Callable[..., tuple[Rows, Rows]]) -> None:
    moment = datetime.datetime(2020, 1, 2, 3, 4, 5, 678901)
    table = pa.table(
        {
            "small": pa.array([1, None, 3], pa.int16()),
            "unsigned": pa.array([1, 2, 2**32 - 1], pa.uint32()),
            "text": pa.array(["a", None, "ü"]).dictionary_encode(),
            "real": [0.5, float("nan"), None],
            "when": pa.array([moment, None, moment], pa.timestamp("us", "UTC")),
            "naive": pa.array([moment, None, moment], pa.timestamp("us")),
            "day": pa.array([moment.date()] * 3),
            "many": [["x"], None, []],
        }
    )
    content = io.BytesIO()
    pq.write_table(table, content, row_group_size=2)
    local, far = both({"a.parquet": content.getvalue(), "b.parquet": content.getvalue()})
    assert [far.type_name(name) for name in table.column_names] == [local.type_name(name) for name in table.column_names]
    assert repr(rows(far)) == repr(rows(local))
    assert id_type(far, "unsigned", "auto") == "bigint"


def test_files_without_rows_give_none(store: Store) -> None:
    content = io.BytesIO()
    pq.write_table(pa.table({"user": pa.array([], pa.string())}), content)
    for uri, names in (
        (store.put("empty/a.parquet", content.getvalue()), ("user",)),
        (store.put("empty/a.csv", "user\n"), None),
    ):
        reader = remote._Reader(remote.Files((uri,), Table(uri), names, ("number", "block", "row"), False))
        assert not [batch for part in [*reader.partitions(), remote.InputPartition(None)] for batch in reader.read(part)]


def test_a_damaged_file_is_named(spark: Any, store: Store) -> None:
    uri = store.put("damaged/a.csv.gz", gzip.compress(b"user,item\n" + b"u1,i1\n" * 100_000)[:-20])
    with pytest.raises(DataError, match=r"a\.csv\.gz is not a complete gzip file"), translated("features"):
        read(spark, Table(uri), "interactions").frame.count()


def test_however_a_file_is_divided_every_line_is_read_once(store: Store) -> None:
    text = "\ufeffone\r\ntwo\n\n three \n\nü\r\nlast"
    uri = store.put("divided/a.csv", text)
    lines = ["one", "two", " three ", "ü", "last"]
    end = len(text.encode())
    for part in range(1, end + 2):
        starts = range(0, end, part)
        assert [line for start in starts for line in remote._lines(uri, Table(uri), start, start + part)] == lines, part


def test_frames_are_written_in_order_and_whole(spark: Any, store: Store) -> None:
    folder = f"{store.bucket}/written"
    frame = spark.range(1, 1001, 1, 2).selectExpr("cast(id as int) n", "array(id) many")
    assert parquet.write(frame, folder, lambda batch: batch) == {"many": 1}
    assert store.names("written") == {"part-00000.parquet", "part-00001.parquet"}
    found = pa.concat_tables(
        pq.read_table(store.system.open_input_file(f"recsys-tests/written/part-0000{n}.parquet")) for n in range(2)
    )
    assert found.column("n").to_pylist() == list(range(1, 1001))
    assert found.schema.field("n").type == pa.int32() and found.schema.field("many").type.value_type == pa.int64()


def test_what_is_not_there_is_told(store: Store) -> None:
    with pytest.raises(DataError, match="cannot be read"), open_binary(f"{store.bucket}/nothing/here.csv"):
        pass
