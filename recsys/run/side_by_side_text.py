"""Two runs side by side as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from recsys import settings_text
from recsys.redaction import one_line
from recsys.text_table import table, wrapped

_GIB: Final = 1 << 30
_NOTHING: Final = "-"


def format_comparison(found: Mapping[str, Any], width: int) -> str:
    """The tables of side_by_side.compare in lines of that width."""
    runs = found["runs"]
    lines = [f"first: run {runs[0]}", f"second: run {runs[1]}"]
    for name, heading in (("settings", "settings that differ"), ("made_with", "made with")):
        rows = [(one, *map(_value, pair)) for one, pair in found[name].items()]
        if rows or name == "settings":
            lines += ["", heading + (":" if rows else ": none"), *_rows([("", "first", "second"), *rows], "lww", width)]
    data = [(name.replace("_", " "), *(f"{value:,}" for value in pair)) for name, pair in found["data"].items()]
    lines += ["", "data:", *_rows([("", "first", "second"), *data], "lrr", width)]
    lines += ["", *_evaluation(found["evaluation"], width)]
    lines += ["", *_lists(found["lists"], width)]
    head = ("stage", "first", "second", "first", "second")
    cost = [(name, *map(_seconds, one["seconds"]), *map(_gib, one["peak_bytes"])) for name, one in found["stages"].items()]
    lines += ["", "seconds and peak memory:", *_rows([head, *cost], "lrrrr", width)]
    return "\n".join(lines)


def _evaluation(found: Mapping[str, Any], width: int) -> list[str]:
    if "missing" in found:
        return wrapped(f"metrics: nothing to compare. {found['missing']}", width)
    names, users, paired = found["methods_published"], found["users"], found["not_compared"] is None
    told = f"metrics on the test events, split {_both(found['splits'])}: "
    if not paired:
        told += f"of {users[0]:,} and {users[1]:,} users; {found['not_compared']}"
    else:
        told += f"of the {found['users_of_both']:,} users who were evaluated in both runs"
        told += "" if users == [found["users_of_both"]] * 2 else f" (of {users[0]:,} and {users[1]:,})"
        told += ". The difference is that of the second run from the first with a 95 % paired bootstrap interval over users, "
        told += "starred if it excludes zero: of twenty such differences between equal runs, one is starred by chance"
    lines = wrapped(told, width)
    published = [(metric, *_measured(row, paired)) for metric, row in found["published"].items()]
    methods = [(name, *_measured(row, paired)) for name, row in found["methods"].items()]
    head = ("first", "second", "difference", "95 %") if paired else ("first", "second")
    aligned = "lrrrl"[: 1 + len(head)]
    lines += [f"published, {_both(names)}:", *_rows([("", *head), *published], aligned, width)]
    return [*lines, "ndcg@10 of all methods:", *_rows([("", *head), *methods], aligned, width)]


def _measured(row: Mapping[str, Any], paired: bool) -> list[str]:
    cells = [_NOTHING if value is None else f"{value:.4f}" for value in row["values"]]
    if "difference" not in row:
        return [*cells, *([_NOTHING] * 2 if paired else [])]
    star = "*" if row["significant"] else ""
    return [*cells, f"{row['difference']:+.4f}", f"{row['low']:+.4f} … {row['high']:+.4f}{star}"]


def _lists(found: Mapping[str, float], width: int) -> list[str]:
    told = (
        f"lists of {found['users']:,} users with one in both runs: on average {found['jaccard']:.0%} of the items of a user's "
    )
    told += f"two lists are in both; {found['new_items']:.1%} of the second run's rows are of items in no list of the first"
    return wrapped(told, width)


def _both(pair: Sequence[str]) -> str:
    return pair[0] if pair[0] == pair[1] else f"{pair[0]} and {pair[1]}"


def _value(value: Any) -> str:
    return one_line(settings_text.shown(tuple(value) if isinstance(value, list) else value))


def _seconds(value: float | None) -> str:
    return _NOTHING if value is None else f"{value:,.1f} s"


def _gib(value: int | None) -> str:
    return _NOTHING if value is None else f"{value / _GIB:.2f} GiB"


def _rows(rows: Iterable[Sequence[str]], aligned: str, width: int) -> list[str]:
    found = list(rows)
    return [line for row in table(found, aligned, width) for line in row] if len(found) > 1 else []
