"""Users to forget: nothing of theirs is in any file of the features, not even among the rows that were set aside."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys import config
from recsys.errors import DataError
from recsys.features.forgetting import Forgotten
from tests.building import Built, source

EVENTS = "user,item,rating,time\n" + "".join(f"u{n % 5},i{n},3,{1_600_000_000 + n}\n" for n in range(40))
BAD = "secret,i1,3,never\nu1,secret,3\n'secret',i2,3,1,2,3\nsecret,,3,5\nu2,i1,bad,5\n"
PEOPLE = "id,age\nu0,1\nsecret,7\nu1,2\nsecret\n,3\n"


def everything(folder: Path) -> str:
    """All files of a folder as text, Parquet decoded; arrays and networks as they are."""
    texts = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        parquet = path.suffix == ".parquet"
        texts.append(str(pq.read_table(path).to_pylist()) if parquet else path.read_text(encoding="latin-1"))
    return "\n".join(texts)


@pytest.fixture
def asked(tmp_path: Path) -> config.Config:
    (tmp_path / "forget.txt").write_text("secret\n\n  u4 \n")
    return config.Config(
        source=config.Source(forget=str(tmp_path / "forget.txt")),
        split=config.Split(method="none"),
        features=config.Features(max_rejected=0.9),
    )


def test_nothing_of_a_forgotten_user_is_left(
    build: Callable[..., Built], csv: Callable[..., config.Table], asked: config.Config
) -> None:
    people = csv(PEOPLE, "people.csv", user_id="id", features={"age": config.Feature("categorical")})
    tables = source(csv(EVENTS + "secret,i7,3,1600000000\n" + BAD), people)
    kept = build(tables, dataclasses.replace(asked, source=config.Source()))
    assert "secret" in everything(Path(kept.folder)) and "u4" in everything(Path(kept.folder))
    found = build(tables, asked)
    text = everything(Path(found.folder))
    assert "secret" not in text and "u4" not in text
    assert found.users["user_id"].to_pylist() == ["u0", "u1", "u2", "u3"]
    assert found.info.events == 32
    assert [row for _, _, row in found.reasons() if row.startswith("u2")], "what others did wrong is still told"


def test_without_them_it_is_as_if_they_had_never_been(
    build: Callable[..., Built], csv: Callable[..., config.Table], asked: config.Config
) -> None:
    never = "".join(line + "\n" for line in EVENTS.splitlines() if not line.startswith("u4,"))
    found = build(source(csv(EVENTS)), asked)
    wanted = build(source(csv(never)), asked)
    for one, other in ((found.users, wanted.users), (found.items, wanted.items)):
        assert one.equals(other)
    assert found.histories.items.tolist() == wanted.histories.items.tolist()


def test_integer_ids_are_compared_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "forget.txt").write_text("007\n12\n")
    found = Forgotten.read(str(tmp_path / "forget.txt"), pa.int64())
    assert found.are(pa.array([7, 8, 12, None], pa.int64())).tolist() == [True, False, True, False]
    assert found.are_named(pa.array(['{"user":7,"x":1}', '{"user":77}', None]), None).tolist() == [True, False, False]


@pytest.mark.parametrize("name", ["user:7", "a,b", 'say "x"'])
def test_ids_with_marks_of_the_notation_are_found_in_rows_of_parquet(tmp_path: Path, name: str) -> None:
    (tmp_path / "forget.txt").write_text(name + "\n")
    found = Forgotten.read(str(tmp_path / "forget.txt"), pa.string())
    rows = pa.array([json.dumps({"user": name, "time": "never"}), json.dumps({"user": "other", "time": "never"})])
    assert found.are_named(rows, None).tolist() == [True, False]


def test_what_others_did_wrong_is_told_though_a_value_is_like_a_forgotten_id(
    build: Callable[..., Built], csv: Callable[..., config.Table], tmp_path: Path
) -> None:
    (tmp_path / "forget.txt").write_text("5\n")
    asked = config.Config(source=config.Source(forget=str(tmp_path / "forget.txt")), split=config.Split(method="none"))
    found = build(source(csv(EVENTS + "u1,i9,5,never\n")), asked)
    assert [row for _, _, row in found.reasons()] == ["u1,i9,5,never"]


@pytest.mark.parametrize(
    ("content", "words"), [(b"7\nx1\n", "'x1' is no id of a user"), (b"\xff\xfe7", "is not text in UTF-8")]
)
def test_a_damaged_list_is_an_error(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "forget.txt").write_bytes(content)
    with pytest.raises(DataError, match=words):
        Forgotten.read(str(tmp_path / "forget.txt"), pa.int64())
