"""Tables for people: columns aligned by what a terminal shows of them, long cells wrapped, nothing cut."""

from __future__ import annotations

import re
import shutil
import unicodedata
from collections.abc import Sequence
from typing import Final

WIDEST: Final = 110
"""Columns of a line where nothing is known of the terminal, and at most."""
_NARROWEST, _LEAST_CELL = 40, 8
_GAP: Final = "  "


def line_width() -> int:
    """Columns of a line: the terminal's (or COLUMNS), within bounds."""
    return min(WIDEST, max(_NARROWEST, shutil.get_terminal_size((WIDEST, 24)).columns))


def columns_of(text: str) -> int:
    """Columns that a terminal shows a text in: two for a wide character, none for a mark on the one before."""
    return sum(map(_width, text))


def wrapped(text: str, width: int) -> list[str]:
    """A text in lines of at most that many columns, broken between words, and inside only those that are longer."""
    lines = [""]
    for word in re.split(r"(?<= )", text):
        if columns_of(lines[-1] + word.rstrip()) > width and lines[-1]:
            lines.append("")
        for character in word:
            if columns_of(lines[-1] + character) > width and character != " ":
                lines.append("")
            lines[-1] += character
    return [line.rstrip() for line in lines]


def table(rows: Sequence[Sequence[str]], aligned: str, width: int, indent: int = 2) -> list[list[str]]:
    """The lines of each row.

    Args:
        rows: of cells, the headings among them, none with a line end.
        aligned: a letter for each column: `l` left, `r` right, `w` left and wrapped where the line is too short for all.
        width: of a line, as far as columns may be wrapped.
        indent: spaces before each line.
    """
    widths = [max(map(columns_of, column)) for column in zip(*rows, strict=True)]
    wrap = [kind == "w" for kind in aligned]
    room = width - indent - len(_GAP) * (len(widths) - 1) - sum(w for w, may in zip(widths, wrap, strict=True) if not may)
    most = _share([w for w, may in zip(widths, wrap, strict=True) if may], room)
    widths = [min(w, most) if may else w for w, may in zip(widths, wrap, strict=True)]
    return [_row(row, widths, aligned, " " * indent) for row in rows]


def _row(row: Sequence[str], widths: Sequence[int], aligned: str, start: str) -> list[str]:
    cells = [wrapped(cell, width) for cell, width in zip(row, widths, strict=True)]
    lines = []
    for number in range(max(map(len, cells))):
        parts = (cell[number] if number < len(cell) else "" for cell in cells)
        padded = [_padded(part, width, kind) for part, width, kind in zip(parts, widths, aligned, strict=True)]
        lines.append((start + _GAP.join(padded)).rstrip())
    return lines


def _padded(text: str, width: int, kind: str) -> str:
    spaces = " " * (width - columns_of(text))
    return spaces + text if kind == "r" else text + spaces


def _share(widths: Sequence[int], room: int) -> int:
    """The most that each of some columns may have, so that together they fit into the room: narrow ones stay as they are."""
    left = room
    for place, width in enumerate(sorted(widths)):
        if width * (len(widths) - place) > left:
            return max(_LEAST_CELL, left // (len(widths) - place))
        left -= width
    return max(widths, default=0)


def _width(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
