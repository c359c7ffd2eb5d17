"""Users and items as text and as JSON, for `recsys show`. docs/looking.md lists the keys."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from recsys import text_table
from recsys.recommend.describe_user import Event, Recommendation, UserView
from recsys.recommend.readable import Item, Values
from recsys.recommend.similar_items import ItemView
from recsys.redaction import one_line

_NOTHING: Final = "-"


def user_as_text(view: UserView, width: int) -> str:
    """A user in lines of that width."""
    lines = text_table.wrapped(_head(f"user {view.user_id}", view.run_id, view.features), width)
    lines += ["", f"last {len(view.history)} of {view.events:,} events:" if view.events else "no events"]
    if view.events:
        lines += _events(view.history, width)
    told = "recommendations:" if view.events else "recommendations, by the user's features and by what is popular:"
    if view.events and any(row.because_of is not None for row in view.recommendations):
        told = "recommendations, each with the past items without which it would lose most of its weight:"
        if view.events == 1:
            told = "recommendations, due to the only event and to what is popular:"
    lines += ["", *text_table.wrapped(told, width), *_recommendations(view.recommendations, view.events, width)]
    return "\n".join(lines)


def item_as_text(view: ItemView, width: int) -> str:
    """An item in lines of that width."""
    lines = text_table.wrapped(_head(f"item {_name(view.item)}", view.run_id, view.item.features), width)
    for title, heading, found in (
        ("similar, by the cosine of the network's vectors:", "cosine", [(f"{v:.3f}", i) for i, v in view.similar]),
        ("what users had soon after it, by share:", "share", [(f"{v:.1%}", i) for i, v in view.followed_by]),
    ):
        lines += ["", title]
        items = [item for _, item in found]
        cells = [[heading, *_headings(items)], *([value, *_cells(item, items)] for value, item in found)]
        lines += _joined(text_table.table(cells, "r" + "w" * (len(cells[0]) - 1), width)) if found else ["  none"]
    return "\n".join(lines)


def user_as_json(view: UserView) -> dict[str, Any]:
    """A user as JSON types."""
    return {
        "run_id": view.run_id,
        "user_id": view.user_id,
        "features": _lists(view.features),
        "events": view.events,
        "history": [
            {**_item(event.item), "time": _time(event.time).isoformat(), "rating": event.rating} for event in view.history
        ],
        "recommendations": [
            {
                **_item(row.item),
                "rank": row.rank,
                "score": row.score,
                "relative": round(row.relative, 2),
                "because_of": None
                if row.because_of is None
                else [{**_item(item), "share": share and round(share, 4)} for item, share in row.because_of],
            }
            for row in view.recommendations
        ],
    }


def item_as_json(view: ItemView) -> dict[str, Any]:
    """An item as JSON types."""
    return {
        "run_id": view.run_id,
        **_item(view.item),
        "similar": [{**_item(item), "cosine": round(value, 4)} for item, value in view.similar],
        "followed_by": [{**_item(item), "share": round(value, 4)} for item, value in view.followed_by],
    }


def _head(name: str, run_id: str, features: Values) -> str:
    told = ", ".join(f"{feature} {' | '.join(values)}" for feature, values in features.items() if values)
    return one_line(f"{name}, run {run_id}" + (f": {told}" if told else ""))


def _events(history: Sequence[Event], width: int) -> list[str]:
    items = [event.item for event in history]
    rated = any(event.rating is not None for event in history)
    cells = [["date", *(["rating"] if rated else []), *_headings(items)]]
    for event in history:
        rating = [_NOTHING if event.rating is None else f"{event.rating:.1f}"] if rated else []
        cells.append([str(_time(event.time).date()), *rating, *_cells(event.item, items)])
    return _joined(text_table.table(cells, "l" + "r" * rated + "w" * len(_headings(items)), width))


def _recommendations(listing: Sequence[Recommendation], events: int, width: int) -> list[str]:
    items = [row.item for row in listing]
    cells = [["rank", "of 100", "score", *_headings(items)]]
    for row in listing:
        cells.append([str(row.rank), f"{row.relative:.0f}", f"{row.score:.3f}", *_cells(row.item, items)])
    head, *rows = text_table.table(cells, "rrr" + "w" * (len(cells[0]) - 3), width)
    lines = [*head]
    for row, told in zip(listing, rows, strict=True):
        lines += told
        if row.because_of is not None and events:
            lines += _because(row.because_of, width)
    return lines


def _because(reasons: Sequence[tuple[Item, float | None]], width: int) -> list[str]:
    """In one line or, where that is too long, each in its own."""
    start, told = " " * 8, [_name(item) + ("" if share is None else f" -{share:.0%}") for item, share in reasons]
    parts = ["because of " + (", ".join(told) or "no single one of the latest events")]
    if text_table.columns_of(start + parts[0]) > width:
        parts = [f"{'and' if number else 'because of'} {one}" for number, one in enumerate(told)] or parts
    return [start + line for part in parts for line in text_table.wrapped(part, width - len(start))]


def _headings(items: Sequence[Item]) -> list[str]:
    return ["item", *([", ".join(items[0].features)] if items and items[0].features else [])]


def _cells(item: Item, items: Sequence[Item]) -> list[str]:
    """The cells of an item under `_headings`."""
    told = "; ".join(", ".join(values) or _NOTHING for values in item.features.values())
    return [_name(item), *([one_line(told)] if items[0].features else [])]


def _name(item: Item) -> str:
    return one_line(f"{item.item_id}" if item.title is None else f"{item.title} ({item.item_id})")


def _joined(rows: Sequence[Sequence[str]]) -> list[str]:
    return [line for row in rows for line in row]


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _item(item: Item) -> dict[str, Any]:
    return {"item_id": item.item_id, "title": item.title, "features": _lists(item.features)}


def _lists(features: Values) -> dict[str, list[str]]:
    return {name: list(values) for name, values in features.items()}
