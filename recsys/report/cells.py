"""Tables as the page shows them: heads and rows of text, with a word on what a cell means where that matters."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from recsys.measure.intervals import NORMAL_95
from recsys.redaction import one_line, printable

Mark = Literal["", "best", "ahead", "behind", "words"]
LONGEST: Final = 160


@dataclasses.dataclass(frozen=True)
class Cell:
    """Text, and what it means: the best of its column, clearly ahead or behind, or words rather than a number."""

    text: str
    mark: Mark = ""


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        label: what it shows, in a few words.
        head: titles of the columns; empty where they go without saying.
        rows: the first cell of each names the row.
    """

    label: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


def table(label: str, head: Sequence[str], rows: Iterable[Sequence[Cell | str]]) -> Table:
    """A table of texts and cells."""
    return Table(label, head, [[one if isinstance(one, Cell) else Cell(one) for one in row] for row in rows])


def pairs(label: str, found: Mapping[str, str]) -> Table:
    """A table of names and what they stand for."""
    return table(label, (), ([name, Cell(text, "words")] for name, text in found.items()))


def words(value: Any) -> str:
    """Text that may come from the data, in one line of bounded length and without secrets."""
    text = printable(one_line(str(value)))
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def count(value: float) -> str:
    """A whole number."""
    return f"{value:,.0f}"


def share(value: float) -> str:
    """A part of 1 as a percentage; a small one that is not nothing does not look like nothing."""
    return f"{value:.1%}" if value == 0 or value >= 0.0005 else "< 0.1%"


def metric(value: float) -> str:
    """A metric with four places."""
    return f"{value:.4f}"


def with_reach(value: float, std_error: float) -> str:
    """A mean with half of its 95 % interval; alone where the users do not differ, or there is only one."""
    return metric(value) if std_error == 0 else f"{value:.4f} ± {NORMAL_95 * std_error:.4f}"


def difference(found: Mapping[str, Any]) -> Cell:
    """A difference with its interval: ahead or behind if it is significant."""
    mark: Mark = "" if not found["significant"] else "ahead" if found["difference"] > 0 else "behind"
    return Cell(f"{found['difference']:+.4f} ({found['low']:+.4f} to {found['high']:+.4f})", mark)


def amount(size: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
