"""One user's events and recommendations as text, for `recsys show`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from recsys import storage
from recsys.contract import schema
from recsys.errors import ConfigError
from recsys.redaction import one_line

_EXAMPLES = 3


def describe_user(features: str, recommendations: str, run_id: str, user: str, latest: int) -> str:
    """The user's latest events and recommendations with titles. Row groups without them are skipped, by their statistics.

    Args:
        features: folder of the run's features.
        recommendations: folder of its recommendations.
        run_id: its name.
        user: id as in the source.
        latest: maximum number of events.

    Raises:
        ConfigError: there is no such user.
    """
    user_index, user_id = _find_user(storage.join(features, schema.USERS_DIR), user, run_id)
    past = _history(storage.join(features, schema.HISTORIES_DIR), user_index)
    recommended = _rows(recommendations, pc.field(schema.USER_ID) == user_id)
    recommended = recommended.sort_by(schema.RANK)
    shown = past[-latest:] if latest > 0 else []
    wanted = pc.field(schema.ITEM_INDEX).isin(pa.array([item for _, _, item in shown], pa.int32()))
    wanted |= pc.field(schema.ITEM_ID).isin(recommended.column(schema.ITEM_ID).combine_chunks())
    items = storage.join(features, schema.ITEMS_DIR)
    found = _rows(items, wanted, [schema.ITEM_INDEX, schema.ITEM_ID, schema.TITLE]).to_pylist()
    by_index = {item[schema.ITEM_INDEX]: _name(item) for item in found}
    by_id = {item[schema.ITEM_ID]: _name(item) for item in found}
    lines = [f"user {user}, run {run_id}"]
    lines += [f"last {len(shown)} of {len(past)} events:"] if past else ["no events"]
    for seconds, rating, item in shown:
        lines.append(f"  {datetime.fromtimestamp(seconds, UTC).date()}  {rating:4.1f}  {by_index[item]}")
    lines += ["", "recommendations:"]
    for row in recommended.to_pylist():
        lines.append(f"  {row[schema.RANK]:3d}  {row[schema.SCORE]:8.3f}  {by_id[row[schema.ITEM_ID]]}")
    return "\n".join(lines)


@contextlib.contextmanager
def _dataset(folder: str) -> Iterator[ds.Dataset]:
    system, _ = storage.resolve(folder)
    paths = [storage.resolve(path)[1] for path in storage.parquet_files(folder)]
    checked = ds.ParquetFileFormat(default_fragment_scan_options=ds.ParquetFragmentScanOptions(page_checksum_verification=True))
    with storage.undamaged(folder):
        yield ds.dataset(paths, format=checked, filesystem=system)


def _rows(folder: str, condition: pc.Expression, columns: list[str] | None = None) -> pa.Table:
    with _dataset(folder) as table:
        return table.to_table(columns=columns, filter=condition)


def _find_user(folder: str, user: str, run_id: str) -> tuple[int, pa.Scalar]:
    """Index of a user, and the id in the type that the source has."""
    with _dataset(folder) as users:
        kind = users.schema.field(schema.USER_ID).type
    try:
        user_id = pa.scalar(user).cast(kind)
        same = user_id.cast(pa.string()).as_py() == user  # 042 is not the id 42
    except pa.ArrowInvalid:
        same = False
    if same:
        found = _rows(folder, pc.field(schema.USER_ID) == user_id, [schema.USER_INDEX]).column(schema.USER_INDEX)
        if len(found):
            return found[0].as_py(), user_id
    with _dataset(folder) as users:
        known = users.head(_EXAMPLES, columns=[schema.USER_ID]).column(schema.USER_ID).to_pylist()
    examples = ", ".join(one_line(str(one)) for one in known)
    raise ConfigError(f"--user {user}: no such user in run {run_id}; ids look like: {examples}")


def _history(folder: str, user_index: int) -> list[tuple[int, float, int]]:
    """Timestamp in seconds, rating and item index of each of the user's events, in time order."""
    names = [schema.TIMESTAMPS, schema.RATINGS, schema.ITEMS]
    rows = _rows(folder, pc.field(schema.USER_INDEX) == user_index, names).to_pylist()
    return [event for row in rows for event in zip(*(row[name] for name in names), strict=True)]


def _name(item: dict[str, Any]) -> str:
    title, item_id = item[schema.TITLE], item[schema.ITEM_ID]
    return one_line(f"{item_id}" if title is None else f"{title} ({item_id})")
