"""One user's events and recommendations, for people: the text of `recsys show`."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recsys.contract import histories, schema
from recsys.errors import ConfigError
from recsys.recommend import writer
from recsys.run import runs
from recsys.run.publish import published_run
from recsys.run.runs import Run


def describe_user(output: str, run_id: str | None, user: str, latest: int) -> str:
    """The user's latest events and recommendations with titles.

    Args:
        output: folder of the output.
        run_id: a run; None means the published one, by latest.json.
        user: id as in the source.
        latest: how many events.

    Raises:
        ConfigError: no such run, nothing published, or no such user.
    """
    found = _run(output, run_id)
    features = found.path(schema.FEATURES_DIR)
    ids = histories.read_table(features, schema.USERS_DIR, [schema.USER_INDEX, schema.USER_ID])
    wanted = ids.filter(pc.equal(pc.cast(ids.column(schema.USER_ID), pa.string()), user))
    if not wanted.num_rows:
        examples = ", ".join(map(str, ids.column(schema.USER_ID).slice(0, 3).to_pylist()))
        raise ConfigError(f"--user {user}: no such user in run {found.run_id}; ids look like: {examples}")
    index, user_id = wanted.column(schema.USER_INDEX)[0].as_py(), wanted.column(schema.USER_ID)[0]
    items = histories.read_table(features, schema.ITEMS_DIR, [schema.ITEM_ID, schema.TITLE])
    return "\n".join(
        [
            f"user {user}, run {found.run_id}",
            *_events(features, index, items, latest),
            "",
            *_recommended(found.path(schema.RECOMMENDATIONS_DIR), user_id, items),
        ]
    )


def _run(output: str, run_id: str | None) -> Run:
    if run_id is not None:
        return runs.find(output, run_id)
    published = published_run(output)
    if published is None:
        raise ConfigError(f"nothing is published in {output}; run `recsys run --output {output}`, or name a run with --run-id")
    return Run(output, published)


def _events(features: str, index: int, items: pa.Table, latest: int) -> list[str]:
    for block in histories.stream(features, batch_users=16_384):
        row = np.searchsorted(block.user_index, index)
        if row < len(block) and block.user_index[row] == index:
            one = block.rows(np.array([row]))
            lines = [f"last {min(latest, len(one.items))} of {len(one.items)} events:"]
            for place in range(max(0, len(one.items) - latest), len(one.items)):
                when = datetime.fromtimestamp(int(one.timestamps[place]), UTC).date()
                lines.append(f"  {when}  {one.ratings[place]:4.1f}  {_name(items, int(one.items[place]) - 1)}")
            return lines
    return ["no events"]


def _recommended(folder: str, user_id: pa.Scalar, items: pa.Table) -> list[str]:
    lines = ["recommendations:"]
    for batch in writer.read(folder):
        rows = batch.filter(pc.equal(batch.column(schema.USER_ID), user_id))
        for row in rows.to_pylist():
            place = pc.index(
                items.column(schema.ITEM_ID), pa.scalar(row[schema.ITEM_ID], items.column(schema.ITEM_ID).type)
            ).as_py()
            lines.append(f"  {row[schema.RANK]:3d}  {row[schema.SCORE]:8.3f}  {_name(items, place)}")
    return lines


def _name(items: pa.Table, row: int) -> str:
    title = items.column(schema.TITLE)[row].as_py()
    item_id = items.column(schema.ITEM_ID)[row].as_py()
    return f"{item_id}" if title is None else f"{title} ({item_id})"
