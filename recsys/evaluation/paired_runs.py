"""Two runs measured on the same test events: how much better is one, and may that be chance?

Users are paired by their ids, since every run numbers them anew. Whether the test events are the same is told by the events
themselves, not by the settings of the split: other inputs may hold the same events, and the same settings other ones.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from recsys import storage
from recsys.contract import histories, matching, schema
from recsys.evaluation.compare import PER_USER_FILE
from recsys.measure.intervals import paired_intervals

METRICS: Final = ("ndcg@10", "recall@10", "precision@10", "f1@10", "hit_rate@10", "map@10", "mrr@10")
"""The means over users that are compared of the published methods."""
RESAMPLES: Final = 1000
_BATCH_USERS: Final = 65_536


@dataclasses.dataclass(frozen=True)
class Measured:
    """A run that was measured.

    Attributes:
        features, evaluation: its folders.
        metrics: the content of its metrics.json, with "methods".
    """

    features: str
    evaluation: str
    metrics: Mapping[str, Any]

    @property
    def published(self) -> str:
        """Name of the published method."""
        name: str = self.metrics["comparison"]["method"]
        return name

    def means(self, method: str, names: Sequence[str]) -> list[float | None]:
        """The means over all users that were evaluated; None where the run does not have the method."""
        found = self.metrics["methods"].get(method, {}).get("metrics", {})
        return [found.get(name) for name in names]


def read(features: str, evaluation: str) -> Measured:
    """A run by its folders; something was measured of it."""
    return Measured(features, evaluation, storage.read_json(storage.join(evaluation, schema.METRICS_FILE)))


def compare(first: Measured, second: Measured) -> dict[str, Any]:
    """The metrics of two runs and, where the test events are the same, how much more the second has.

    Returns:
        - "users": how many each run evaluated; "users_of_both": how many of them are the same
        - "not_compared": why there are no differences, in words; None if there are
        - "published": by metric of METRICS, for the published method of each run: "values", and if compared "difference" (of
          the second from the first), "low", "high" and "significant" of the 95 % interval. If compared, all are of the users of
          both
        - "methods": the same for ndcg@10 by the name of the method; a value is None where a run does not have it
    """
    tables = [_per_user(run) for run in (first, second)]
    users = [table[schema.USER_ID].drop_duplicates() for table in tables]
    both = users[0][users[0].isin(users[1])]
    found = {"users": [len(one) for one in users], "users_of_both": len(both)}
    names = list(dict.fromkeys([*first.metrics["methods"], *second.metrics["methods"]]))
    pairs = [(metric, (first.published, second.published), metric) for metric in METRICS]
    pairs += [(name, (name, name), METRICS[0]) for name in names]
    why = _why_not([first, second], tables, both)
    rows = [_means((first, second), methods, metric) for _, methods, metric in pairs]
    if why is None:
        rows = _differences(tables, both, pairs, rows)
    named = {name: row for (name, *_), row in zip(pairs, rows, strict=True)}
    return {
        **found,
        "not_compared": why,
        "published": {metric: named[metric] for metric in METRICS},
        "methods": {name: named[name] for name in names},
    }


def _means(runs: Sequence[Measured], methods: Sequence[str], metric: str) -> dict[str, Any]:
    return {"values": [run.means(method, [metric])[0] for run, method in zip(runs, methods, strict=True)]}


def _differences(
    tables: Sequence[pd.DataFrame], both: pd.Series, pairs: Sequence[tuple[str, Sequence[str], str]], rows: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """The rows with the values of the users of both runs instead, and the intervals, where both runs have the method."""
    columns: dict[int, list[NDArray[np.float64]]] = {}
    for place, (_, methods, metric) in enumerate(pairs):
        if None not in rows[place]["values"]:
            columns[place] = [
                table[table["method"] == method].set_index(schema.USER_ID)[metric].reindex(both).to_numpy(np.float64)
                for table, method in zip(tables, methods, strict=True)
            ]
    intervals = paired_intervals(np.stack([second - first for first, second in columns.values()], axis=1), RESAMPLES)
    compared = dict(zip(columns, intervals, strict=True))
    for place, values in columns.items():
        one = compared[place]
        found = {"difference": one.difference, "low": one.low, "high": one.high, "significant": one.significant}
        rows[place] = {"values": [float(column.mean()) for column in values], **found}
    return rows


def _why_not(runs: Sequence[Measured], tables: Sequence[pd.DataFrame], both: pd.Series) -> str | None:
    """Why nothing may be compared, in words; None if it may."""
    if not len(both):
        return "no user was evaluated in both runs"
    first, second = (
        _test_events(run.features, table.drop_duplicates(schema.USER_ID).set_index(schema.USER_ID)[schema.USER_INDEX].loc[both])
        for run, table in zip(runs, tables, strict=True)
    )
    differ = int((first != second).sum())
    if not differ:
        return None
    return (
        f"the test events differ for {differ:,} of the {len(both):,} users who were evaluated in both runs, so the metrics are "
        "shown, but not compared"
    )


def _per_user(run: Measured) -> pd.DataFrame:
    with storage.open_parquet(storage.join(run.evaluation, PER_USER_FILE)) as file:
        table = file.read(columns=["method", schema.USER_INDEX, schema.USER_ID, *METRICS])
    return table.to_pandas()


def _test_events(features: str, users: pd.Series) -> NDArray[np.uint64]:
    """A number for the test events of each user, the same if they are: uint64 [users].

    Args:
        features: the features folder.
        users: their indices there.
    """
    items = pd.util.hash_array(matching.read_ids(features, schema.ITEM_ID).cast("string").to_numpy(False).astype(object))
    numbers = pd.Series(np.zeros(len(users), np.uint64), index=users.to_numpy())
    for block in histories.stream(features, _BATCH_USERS):
        part = block.rows(np.flatnonzero(np.isin(block.user_index, numbers.index)))
        test = part.tail(part.lengths - part.valid_length)
        each = pd.util.hash_array(items[test.items - 1] ^ pd.util.hash_array(test.timestamps))
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(each, dtype=np.uint64)])
        numbers.loc[part.user_index] = sums[test.offsets[1:]] - sums[test.offsets[:-1]]
    found: NDArray[np.uint64] = numbers.to_numpy()
    return found
