"""Tables as a terminal shows them."""

import pytest

from recsys.text_table import columns_of, table, wrapped


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("é", 1), ("e\u0301", 1), ("商品", 4), ("ｱ", 1), ("\uff21\uff22", 4), ("a\u200db", 2)]
)
def test_width_is_that_on_the_screen(text, columns):
    assert columns_of(text) == columns


def test_columns_begin_below_one_another_whatever_is_in_them():
    lines = [
        line
        for row in table([["name", "n", "last"], ["商品", "1", "x"], ["é", "10", "y"]], "lrl", 80, indent=0)
        for line in row
    ]
    assert lines == ["name   n  last", "商品   1  x", "é     10  y"]


def test_long_cells_are_wrapped_between_words_and_nothing_is_lost():
    cells = ["1", "a title of many words, longer than a line", "商品" * 12 + " end"]
    (lines,) = table([cells], "rww", 40)
    assert all(columns_of(line) <= 40 for line in lines) and len(lines) > 1
    shown = "".join("".join(lines).split())
    assert sorted(shown) == sorted("".join("".join(cells).split()))
    assert lines[0].startswith("  1  a title of")


def test_what_fits_stays_in_one_line():
    assert table([["a", "short", "some words"]], "lww", 80) == [["  a  short  some words"]]
    assert wrapped("two words", 9) == ["two words"] and wrapped("two words", 8) == ["two", "words"]
    assert wrapped("abcdef", 4) == ["abcd", "ef"]
