"""What has changed from one run's lists to the next, and whether lists have become the same for many."""

from __future__ import annotations

import zlib
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.contract import user_lists
from recsys.measure.metrics import COLLAPSED
from recsys.progress import Log

MOST_USERS: Final = 100_000
"""The lists of at most so many are compared, chosen by their ids, the same in every run."""
_TURNS: Final = 1 << 32

Kept = dict[str, tuple[int, NDArray[np.int32]]]
"""Turn and items of each user whose lists are compared."""


def compare(before: str, after: str) -> dict[str, float]:
    """How much of the lists is new. Ids are compared as text.

    Both folders are read once, in blocks. What is kept are ids of items, eight bytes for each user of `after`, and the lists of
    MOST_USERS.

    Args:
        before, after: two folders of recommendations.

    Returns:
        `users`, of those whose lists were compared how many have one in both; `jaccard`, the mean over them of the number of
        items in both lists divided by that in either; `new_items`, the share of all rows of `after` whose item is in no list of
        `before`; `same_list`, the greatest share of all users with the same items in the same order.

    Raises:
        DamagedError: a file is missing, or not what was written.
    """
    known, limit = pa.array([], pa.string()), _TURNS
    old: Kept = {}
    new: Kept = {}
    for users, items in user_lists.stream(before):
        known, codes = _coded(items, known)
        limit = _keep(old, users, codes, limit)
    of_before, rows, fresh, prints = len(known), 0, 0, []
    for users, items in user_lists.stream(after):
        known, codes = _coded(items, known)
        rows, fresh = rows + len(codes), fresh + int((codes >= of_before).sum())
        prints.append(user_lists.fingerprints(codes, user_lists.starts_of(users)))
        limit = _keep(new, users, codes, limit)
    both = [(set(old[user][1].tolist()), set(codes.tolist())) for user, (_, codes) in new.items() if user in old]
    jaccard = [len(first & second) / len(first | second) for first, second in both]
    return {
        "users": len(both),
        "jaccard": round(float(np.mean(jaccard)), 4) if both else 0.0,
        "new_items": round(fresh / rows, 4) if rows else 0.0,
        "same_list": round(user_lists.alike(prints)[0], 4),
    }


def tell(found: dict[str, float], log: Log) -> None:
    """Tells people."""
    log(
        f"  beside the earlier run, {found['jaccard']:.0%} of the items of a user's two lists are in both on average; "
        f"{found['new_items']:.1%} of the rows are of items that were in no list"
    )
    if found["same_list"] >= COLLAPSED:
        log(f"  warning: {found['same_list']:.0%} of the users have the very same list")


def _coded(items: pa.Array, known: pa.Array) -> tuple[pa.Array, NDArray[np.int64]]:
    """All items so far, text, those that are new at the end; and the place of each row's item among them, int64 [rows]."""
    items = items.cast(pa.string())
    here = pc.unique(items)
    known = pa.concat_arrays([known, here.filter(pc.invert(pc.is_in(here, value_set=known)))])
    return known, pc.index_in(items, value_set=known).to_numpy(zero_copy_only=False).astype(np.int64)


def _keep(kept: Kept, users: pa.Array, codes: NDArray[np.int64], limit: int) -> int:
    """Adds the users whose turn is below the limit; while there are too many, halves it. Returns the limit."""
    starts = user_lists.starts_of(users)
    names: list[Any] = users.take(pa.array(starts)).to_pylist()
    for name, start, end in zip(map(str, names), starts, [*starts[1:], len(codes)], strict=True):
        turn = zlib.crc32(name.encode())
        if turn < limit:
            kept[name] = turn, codes[start:end].astype(np.int32)
    while len(kept) > MOST_USERS:
        limit //= 2
        for name in [name for name, (turn, _) in kept.items() if turn >= limit]:
            del kept[name]
    return limit
