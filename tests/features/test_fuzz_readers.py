"""Whatever stands in a file of events: every row that goes in is kept or set aside, and nobody appears who is not in it."""

from __future__ import annotations

import csv as library
import dataclasses
import io
import itertools
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from recsys import config
from tests.building import Built, source

few = settings(
    max_examples=4,
    derandomize=True,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""Each example is a whole build, so each has many rows, and none is made smaller."""
MAPPED = {"user_id": "user", "item_id": "item", "rating": "rating", "timestamp": "time"}
KEEP_ALL = config.Config(features=config.Features(max_rejected=1.0), split=config.Split(method="none"))
HEAD = "user,item,rating,time\n"
GOOD = "".join(f"u{user},i{item},3,{100 + item}\n" for user in range(3) for item in range(3))
NUMBERS = itertools.count()
"""Each example has a file of its own: the shared session may still hold what it has read from the one before."""
BLANK = "".join(map(chr, range(33)))
"""What the reader takes for white space around a line."""

ids = st.sampled_from(
    ["u1", "i1", "", " ", "é", "\u2028", "名", '"u1"', '"a,b"', '"a""b"', '5" disk', '"', "u\t1", "\x00", "🦙"]
)
ratings = st.sampled_from(["3", "", "NaN", "-0", "1e400", "five", '"4"', " 2 ", "٣", "0x1p3", "1d", "3f"])
times = st.sampled_from(["100", "", "1e3", "-1", "99999999999999999999", "2020-01-01", '"7"', "100.5", "9" * 400])
rows = st.tuples(ids, ids, ratings, times).map(",".join)
loose = st.binary(max_size=12).map(lambda found: found.decode("latin-1").encode())
"""Text, since a file that cannot be decoded is refused as a whole."""
lines = (rows | rows | rows | st.lists(ids | times, max_size=6).map(",".join)).map(str.encode) | loose
endings = st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n"])
files = st.lists(st.tuples(lines, endings), min_size=60, max_size=60).map(lambda found: b"".join(a + b for a, b in found))
words = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\ufffd"), max_size=6)
"""Without NUL, and without the character that stands for text that cannot be decoded."""


def kept(built: Built) -> int:
    """Rows kept and set aside; those set aside are also in rejected/."""
    aside = sum(built.info.rejected.get("interactions", {}).values())
    assert built.rejected.num_rows == aside
    return built.info.events + aside


@pytest.mark.slow
@few
@given(files)
def test_rows_in_are_rows_kept_and_rows_set_aside(
    build: Callable[..., Built], csv: Callable[..., config.Table], content: bytes
) -> None:
    table = csv(
        HEAD.encode() + GOOD.encode() + content,
        f"{next(NUMBERS)}.csv",
        user_id="user",
        item_id="item",
        rating="rating",
        timestamp="time",
    )
    text = (GOOD.encode() + content).decode("utf-8", "replace")
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    built = build(source(dataclasses.replace(table, multiline=False)), KEEP_ALL)
    assert kept(built) == sum(bool(line.strip(BLANK)) for line in lines)


@pytest.mark.slow
@few
@given(st.lists(st.tuples(words, words), min_size=30, max_size=30, unique_by=lambda row: row), st.sampled_from(["\n", "\r\n"]))
def test_values_come_back_as_they_were_written(
    build: Callable[..., Built], csv: Callable[..., config.Table], pairs: list[tuple[str, str]], ending: str
) -> None:
    stream = io.StringIO()
    writer = library.writer(stream, quoting=library.QUOTE_ALL, lineterminator=ending)
    writer.writerows([("user", "item", "rating", "time"), ("u1", "i1", 3, 1), ("u2", "i2", 3, 1)])
    writer.writerows([user, item, 3, 2] for user, item in pairs)
    table = csv(stream.getvalue(), f"{next(NUMBERS)}.csv", **MAPPED)
    built = build(source(dataclasses.replace(table, multiline=True)), KEEP_ALL)
    assert kept(built) == len(pairs) + 2
    usable = {("u1", "i1"), ("u2", "i2")} | {(user, item) for user, item in pairs if user.strip(" ") and item.strip(" ")}
    assert {(user, item) for user in built.users["user_id"].to_pylist() for item in built.history(user)} == usable
