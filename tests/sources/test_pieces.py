"""Tables are read in pieces: every row once, in order, however they are divided, from this machine and from an object store."""

from __future__ import annotations

import codecs
import csv as library
import datetime
import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.config import Table
from recsys.errors import DataError
from recsys.features.clean import id_type
from recsys.features.read import Rows, describe
from recsys.sources import delimited, pieces
from recsys.sources.files import open_binary
from recsys.sources.pieces import CORRUPT, FILE_NUMBER, ORDER
from tests.store import Store

MESSY = (
    "user,item,note\r\n\r\n"
    'u1,i1,"a ""b"", c"\n'
    "u1,i1\n   \nu1,i1,2,3\n"
    'u2, i2 ,\n5" screen,i3,x\nü,i4,"half\nu3,i5,"end" of\r'
    "u4,i6,last"
)
QUOTED = 'id,name\n"1","two\nlines, ""quoted"""\n2,5" screen\n\n3\n4,"a","b"\n5,\n'
Both = Callable[..., tuple[Rows, Rows]]


@pytest.fixture
def both(store: Store, tmp_path: Path) -> Both:
    """`both(files, role, **fields)` finds a table on this machine and in the store."""

    def make(files: dict[str, bytes], role: str = "interactions", **fields: Any) -> tuple[Rows, Rows]:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
            store.put(f"{tmp_path.name}/{name}", content)
        here, far = (
            describe(Table(f"{place}/*", **fields), role, 2) for place in (tmp_path, f"{store.bucket}/{tmp_path.name}")
        )
        return here, far

    return make


def rows(found: Rows) -> list[tuple[Any, ...]]:
    """All rows in source order: number of the file, values, and the text of a malformed row."""
    batches = [batch for group in found.groups for piece in group for batch in pieces.read(piece, found.form)]
    table = pa.Table.from_batches(batches).sort_by([(name, "ascending") for name in ORDER])
    names = [FILE_NUMBER, *(f"c{number}" for number in range(len(found.form.names))), CORRUPT]
    return [tuple(row[name] for name in names) for row in table.to_pylist()]


@pytest.mark.parametrize(
    ("files", "role", "fields", "expected"),
    [
        (
            {"a.csv": MESSY.encode(), "b.csv.gz": gzip.compress(b"user,item,note\nu9,i9,\xff\n")},
            "interactions",
            {},
            [
                (0, "u1", "i1", 'a "b", c', None),
                (0, None, None, None, "u1,i1"),
                (0, None, None, None, "u1,i1,2,3"),
                (0, "u2", " i2 ", None, None),
                (0, '5" screen', "i3", "x", None),
                (0, None, None, None, 'ü,i4,"half'),
                (0, "u3", "i5", '"end" of', None),
                (0, "u4", "i6", "last", None),
                (1, "u9", "i9", "�", None),
            ],
        ),
        (
            {"a.csv.gz": gzip.compress(b"user,item\n" + b"u1,i1\n" * 1000)},  # 50 times as small as its text
            "interactions",
            {},
            [(0, "u1", "i1", None)] * 1000,
        ),
        (
            {"a.csv": codecs.BOM_UTF8 + QUOTED.encode(), "b.csv": QUOTED.replace("\n", "\r\n").encode()},
            "items",
            {},
            [
                row
                for number, end in enumerate(("\n", "\r\n"))
                for row in (
                    (number, "1", f'two{end}lines, "quoted"', None),
                    (number, "2", '5" screen', None),
                    (number, None, None, "3"),
                    (number, None, None, '4,"a","b"'),
                    (number, "5", None, None),
                )
            ],
        ),
        (
            {"a.csv": "1::Jos\xe9::x\n2::::\n3::4\n".encode("latin-1")},
            "users",
            {"header": False, "names": ("a", "b", "c"), "delimiter": "::", "encoding": "latin-1"},
            [(0, "1", "José", "x", None), (0, "2", None, None, None), (0, None, None, None, "3::4")],
        ),
        (
            {"a.csv": 'id;name\r\n1;"x;\r\ny"\r\n\r\n2;ä\r\n'.encode("utf-16")},
            "users",
            {"delimiter": ";", "encoding": "utf-16"},
            [(0, "1", "x;\r\ny", None), (0, "2", "ä", None)],
        ),
        ({"a.csv": b"id\n7\n \n8\n"}, "users", {}, [(0, "7", None), (0, "8", None)]),
    ],
    ids=["lines", "compressed", "records", "long delimiter", "wide encoding", "one column"],
)
def test_text(both: Both, files: dict[str, bytes], role: str, fields: dict[str, Any], expected: list[Any]) -> None:
    local, far = both(files, role, **fields)
    assert rows(local) == expected
    assert rows(far) == expected
    assert far.columns == local.columns


def test_parquet(both: Both) -> None:
    moment = datetime.datetime(2020, 1, 2, 3, 4, 5, 678901)
    zoned = moment.replace(tzinfo=datetime.UTC)
    table = pa.table(
        {
            "small": pa.array([1, None, 3], pa.int16()),
            "unsigned": pa.array([1, 2, 2**32 - 1], pa.uint32()),
            "text": pa.array(["a", None, "ü"]).dictionary_encode(),
            "real": [0.5, None, None],
            "when": pa.array([moment, None, moment], pa.timestamp("ns", "UTC")),
            "naive": pa.array([moment, None, moment], pa.timestamp("us")),
            "day": pa.array([moment.date()] * 3),
            "many": [["x"], None, []],
        }
    )
    content = io.BytesIO()
    pq.write_table(table, content, row_group_size=2)
    local, far = both({"a.parquet": content.getvalue(), "b.parquet": content.getvalue()})
    assert rows(local) == rows(far)
    day = moment.date()
    assert rows(local)[3:] == [
        (1, 1, 1, "a", 0.5, zoned, moment, day, ["x"], None),
        (1, None, 2, None, None, None, None, day, None, None),
        (1, 3, 2**32 - 1, "ü", None, zoned, moment, day, [], None),
    ]
    assert id_type(far, "unsigned", "auto") == pa.int64()
    assert sum(map(len, local.groups)) == 4


def test_files_without_rows_give_none(store: Store) -> None:
    content = io.BytesIO()
    pq.write_table(pa.table({"user": pa.array([], pa.string())}), content)
    for uri in (store.put("empty/a.parquet", content.getvalue()), store.put("empty/a.csv", "user\n")):
        found = describe(Table(uri), "interactions", 2)
        assert sum(len(batch) for group in found.groups for piece in group for batch in pieces.read(piece, found.form)) == 0


def test_files_of_other_columns_are_refused(both: Both) -> None:
    contents = {}
    for name, column in (("a", pa.array([1])), ("b", pa.array(["x"]))):
        sink = io.BytesIO()
        pq.write_table(pa.table({"user": column}), sink)
        contents[f"{name}.parquet"] = sink.getvalue()
    with pytest.raises(DataError, match=r"b\.parquet: column 'user' is of type string, but int64"):
        rows(both(contents)[0])


def test_a_damaged_file_is_named(store: Store) -> None:
    uri = store.put("damaged/a.csv.gz", gzip.compress(b"user,item\n" + b"u1,i1\n" * 100_000)[:-20])
    with pytest.raises(DataError, match=r"a\.csv\.gz is not a complete gzip file"):
        rows(describe(Table(uri), "interactions", 1))


def test_however_a_file_is_divided_every_line_is_read_once(store: Store) -> None:
    text = "\ufeffa,b\r\n\r\none,1\r\ntwo,2\n\n three ,3\n\nü,\r\nlast,5"
    uri = store.put("divided/a.csv", text)
    expected = [("one", "1"), ("two", "2"), (" three ", "3"), ("ü", None), ("last", "5")]
    found = describe(Table(uri), "interactions", 1)
    for part in range(4, len(text.encode()) + 2):  # the first piece holds the header
        groups = pieces.pieces(found.files, found.form, part)
        read = [batch for group in groups for piece in group for batch in pieces.read(piece, found.form)]
        assert [(row["c0"], row["c1"]) for batch in read for row in batch.to_pylist()] == expected, part


def test_ties_keep_their_order_however_blank_lines_and_blocks_fall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_BLOCK", 50)
    lines = [f"u,i{number}" for number in range(60)]
    path = tmp_path / "a.csv"
    path.write_text("user,item\n" + "".join(f"{line}\n   \n\n" if row % 4 else f"{line}\n" for row, line in enumerate(lines)))
    found = rows(describe(Table(str(path)), "interactions", 1))
    assert [f"{row[1]},{row[2]}" for row in found] == lines


def test_a_line_of_delimiters_is_a_row_of_nothing_whatever_stands_beside_it(both: Both) -> None:
    text = "a\tb\n1\t2\n\t\n \n"
    for more in ("", '"x"\t3\n'):
        local, _ = both({"a.csv": (text + more).encode()}, delimiter="\t")
        assert rows(local)[:2] == [(0, "1", "2", None), (0, None, None, None)]


def test_a_line_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "_LONGEST", 20)
    path = tmp_path / "a.csv"
    path.write_text("user,item\n" + "x" * 30)
    with pytest.raises(DataError, match=r"a\.csv has a line of more than"):
        rows(describe(Table(str(path)), "interactions", 1))


def test_columns_without_values_and_views_are_read(both: Both) -> None:
    contents = {}
    for name, note in (("a", pa.nulls(2)), ("b", pa.array(["x", None]))):
        sink = io.BytesIO()
        many = pa.array([["y"], None], pa.list_(pa.string_view()))
        pq.write_table(pa.table({"user": [1, 2], "note": note, "many": many, "raw": pa.array([b"z", None])}), sink)
        contents[f"{name}.parquet"] = sink.getvalue()
    expected = []
    for number, note in enumerate((None, "x")):
        expected += [(number, 1, note, ["y"], b"z", None), (number, 2, None, None, None, None)]
    assert rows(both(contents)[0]) == expected


def test_small_files_share_a_task(tmp_path: Path) -> None:
    for number in range(9):
        (tmp_path / f"{number}.csv").write_text("a,b\n" + "1,2\n" * 10)
    found = describe(Table(str(tmp_path)), "interactions", 2)
    assert [len(group) for group in found.groups] == [9]
    assert [len(group) for group in pieces.pieces(found.files, found.form, 100)] == [2, 2, 2, 2, 1]


VALUES = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=5)


@given(st.lists(st.tuples(VALUES, VALUES, VALUES), min_size=1, max_size=20), st.sampled_from(["\n", "\r\n"]))
def test_what_a_csv_writer_writes_is_read(values: list[tuple[str, ...]], ending: str) -> None:
    stream = io.StringIO()
    library.writer(stream, quoting=library.QUOTE_ALL, lineterminator="\0").writerows(values)
    block = delimited.of_records(stream.getvalue().split("\0"), Table("t"), 3)
    assert [tuple(value or "" for value in row) for row in zip(*(c.to_pylist() for c in block.columns), strict=True)] == values
    assert not len(block.malformed)


LINES = st.lists(st.text(st.sampled_from('ab",: \t1ü'), max_size=12), max_size=12)


@given(LINES, st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from([",", "::", "ü"]), st.booleans(), st.integers(1, 4))
def test_all_lines_at_once_are_what_they_are_one_by_one(
    lines: list[str], ending: str, delimiter: str, quoting: bool, width: int
) -> None:
    table = Table("t", delimiter=delimiter, quoting=quoting)
    expected, malformed = {}, {}
    for row, line in enumerate(line for line in lines if not delimited.is_blank(line, delimiter)):
        values = delimited.split(line, delimiter, quoting)
        if values is None or len(values) != width:
            malformed[row] = line
        else:
            expected[row] = [value or None for value in values]
    for block in (delimited.parse(ending.join(lines).encode(), table, width), delimited.of_records(lines, table, width)):
        found = [list(row) for row in zip(*(column.to_pylist() for column in block.columns), strict=True)]
        rank = {row: place for place, row in enumerate(sorted([*block.rows.tolist(), *block.malformed_rows.tolist()]))}
        assert {rank[row]: values for row, values in zip(block.rows.tolist(), found, strict=True)} == expected
        assert {
            rank[row]: line for row, line in zip(block.malformed_rows.tolist(), block.malformed.to_pylist(), strict=True)
        } == malformed


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ('"a"b,c', ['"a"b', "c"]),
        ('5" disk,"x, ""y"""', ['5" disk', 'x, "y"']),
        ('"a,b', None),
        ('x,"', None),
        ('"",', ["", ""]),
        ('a,"b"c,"d"', ["a", '"b"c', "d"]),
    ],
)
def test_odd_quotes(line: str, values: list[str] | None) -> None:
    assert delimited.split(line, ",") == values
    assert delimited.split(line.replace(",", "::"), "::") == (values and [value.replace(",", "::") for value in values])


def test_what_is_not_there_is_told(store: Store) -> None:
    with pytest.raises(DataError, match="cannot be read"), open_binary(f"{store.bucket}/nothing/here.csv"):
        pass
