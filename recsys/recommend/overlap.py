"""What has changed from one run's lists to the next, and whether lists have become the same for many."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from recsys.contract import schema
from recsys.measure.metrics import COLLAPSED
from recsys.progress import Log
from recsys.recommend import writer

MOST_USERS: Final = 100_000
"""So many are compared, chosen by their ids, the same in every run."""
_TURNS: Final = 1 << 32


def compare(before: str, after: str, users: int) -> dict[str, float]:
    """How much of the lists is new.

    Args:
        before, after: two folders of recommendations.
        users: how many have a list in `after`.

    Returns:
        `users`, of those that were looked at how many have a list in both; `jaccard`, the mean over them of the number of items
        in both lists divided by that in either; `new_items`, the share of the rows of all lists looked at whose item is in no
        list of `before`; `same_list`, the greatest share of users with the same items in the same order.
    """
    share = min(1.0, MOST_USERS / max(1, users))
    old, new = (pd.concat([_none(), *_lists(folder, share)]) for folder in (before, after))
    keys = [schema.USER_ID, schema.ITEM_ID]
    sizes = pd.DataFrame({"old": old.groupby(keys[0]).size(), "new": new.groupby(keys[0]).size()}).dropna()
    both = old[keys].merge(new[keys], on=keys).groupby(keys[0]).size().reindex(sizes.index, fill_value=0)
    jaccard = both / (sizes["old"] + sizes["new"] - both)
    fresh = ~new[schema.ITEM_ID].isin(old[schema.ITEM_ID].unique())
    codes = pd.Series(pd.factorize(new[schema.ITEM_ID])[0], index=new[schema.USER_ID])
    same = codes.groupby(level=0).agg(tuple).value_counts(normalize=True)
    return {
        "users": len(sizes),
        "jaccard": round(float(jaccard.mean()), 4) if len(jaccard) else 0.0,
        "new_items": round(float(fresh.mean()), 4) if len(new) else 0.0,
        "same_list": round(float(same.iloc[0]), 4) if len(same) else 0.0,
    }


def tell(found: dict[str, float], log: Log) -> None:
    """Tells people."""
    log(
        f"  beside the earlier run, {found['jaccard']:.0%} of the items of a user's two lists are in both on average; "
        f"{found['new_items']:.1%} of the rows are of items that were in no list"
    )
    if found["same_list"] >= COLLAPSED:
        log(f"  warning: {found['same_list']:.0%} of the users have the very same list")


def _none() -> pd.DataFrame:
    return pd.DataFrame({schema.USER_ID: [], schema.ITEM_ID: []}, dtype=object)


def _lists(folder: str, share: float) -> Iterator[pd.DataFrame]:
    """The rows of some of the users."""
    for batch in writer.read(folder, [schema.USER_ID, schema.ITEM_ID]):
        table = pa.Table.from_batches([batch]).to_pandas()
        if share < 1:
            users = table[schema.USER_ID]
            turns = np.array([zlib.crc32(str(user).encode()) for user in users.unique()])
            chosen = users.unique()[turns < share * _TURNS]
            table = table[users.isin(chosen)]
        yield table
