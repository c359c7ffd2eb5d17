"""What lists are worth: NDCG@10 and Recall@10 on the events of the night after them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from recsys.measure import metrics

K: Final = 10
METRICS: Final = (f"ndcg@{K}", f"recall@{K}")


def read_lists(folder: Path) -> pd.DataFrame:
    """Recommendations as they were written."""
    return pd.concat([pd.read_parquet(path) for path in sorted(folder.glob("*.parquet"))], ignore_index=True)


def score(lists: pd.DataFrame, known: pd.DataFrame, following: pd.DataFrame) -> dict[str, float]:
    """Means over the users who had events before and have new ones in the following slice.

    Args:
        lists: the recommendations. Users without a list are shown the most popular items among the known events.
        known: all events before the slice.
        following: its events; those with an item that the user has had are no targets.
    """
    following = following[following["user_id"].isin(known["user_id"].unique())]
    pairs = pd.MultiIndex.from_frame(known[["user_id", "item_id"]])
    following = following[~pd.MultiIndex.from_frame(following[["user_id", "item_id"]]).isin(pairs)]
    following = following.sort_values("user_id", kind="stable")
    users, counts = np.unique(following["user_id"].to_numpy(), return_counts=True)
    items = pd.Index(pd.concat([known["item_id"], following["item_id"], lists["item_id"]]).unique())
    popular = known["item_id"].value_counts().index[:K]
    top = np.tile(items.get_indexer(popular).astype(np.int32) + 1, (len(users), 1))
    shown = lists[lists["rank"] <= K]
    row = pd.Index(users).get_indexer(shown["user_id"])
    here = row >= 0
    top[np.unique(row[here])] = 0
    top[row[here], shown["rank"].to_numpy()[here] - 1] = items.get_indexer(shown["item_id"][here]) + 1
    offsets = np.concatenate(([0], np.cumsum(counts)))
    relevant = (items.get_indexer(following["item_id"]) + 1).astype(np.int32)
    values = metrics.per_user(top, offsets, relevant, (K,))
    return {"users": len(users), **{name: float(values[name].mean()) for name in METRICS}}
