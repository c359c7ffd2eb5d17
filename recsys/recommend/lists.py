"""Recommendations: from a scorer and complete histories to the top K items of every user."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from recsys import storage
from recsys.config import Recommend
from recsys.contract import histories, matching, schema
from recsys.contract.features_info import read_info
from recsys.contract.histories import Histories, ranges
from recsys.errors import DamagedError
from recsys.measure import threads
from recsys.measure.protocol import Scorer
from recsys.progress import Progress
from recsys.recommend.shards import Shard
from recsys.recommend.writer import Writer

EVERYBODY = Shard()


def recommend(
    config: Recommend,
    features: str,
    folder: str,
    run_id: str,
    scorer: Scorer,
    progress: Progress,
    shard: Shard = EVERYBODY,
) -> dict[str, Any]:
    """Writes recommendations for all users of features/, or for one shard of them, in blocks of bounded memory.

    Args:
        config: length of the lists (cut to the number of items), size of blocks and files.
        features: folder of the finished features.
        folder: where the Parquet files go; emptied first.
        run_id: written into the files' metadata.
        scorer: ranks the items for a block of users.
        progress: reports progress.
        shard: which users to score.

    Returns:
        For run.json: numbers of users, users without events, rows and files, the length k of the lists, and `written`, the
        `file`, `bytes` and `sha256` of each file.
    """
    info = read_info(features)
    own = (users for users in aligned(features, config.block_users) if shard.owns(int(users[1].user_index[0]), info.users))
    facts = write_lists(config, features, folder, run_id, scorer, progress, own, info.users)
    if facts["users"] != info.users and shard == EVERYBODY:
        users = storage.join(features, schema.USERS_DIR)
        raise DamagedError(
            f"{users} has {facts['users']} users, but features.json counts {info.users}: a file is missing", users
        )
    return facts


def write_lists(
    config: Recommend,
    features: str,
    folder: str,
    run_id: str,
    scorer: Scorer,
    progress: Progress,
    users: Iterator[tuple[pa.Array, Histories]],
    total: int,
) -> dict[str, Any]:
    """Writes recommendations for blocks of users, given as their ids and histories.

    Args: as for `recommend`, and the users and their number, all of them if only a shard is given.

    Returns:
        See `recommend`.
    """
    storage.delete_folder(folder)
    storage.create_folder(folder)
    item_ids = matching.read_ids(features, schema.ITEM_ID)
    k = min(config.k, len(item_ids))
    done = without_events = 0
    user_id_type = histories.read_schema(features, schema.USERS_DIR).field(schema.USER_ID).type
    metadata = {"run_id": run_id, "generated_at": datetime.now(UTC).isoformat(timespec="seconds")}
    table_schema = schema.recommendations(user_id_type, item_ids.type, metadata)
    with Writer(folder, table_schema, config.rows_per_file) as writer:

        def best(some: tuple[pa.Array, Histories]) -> tuple[pa.RecordBatch, Histories]:
            user_ids, block = some
            return _rows(table_schema, user_ids, *scorer.top(block, k), item_ids), block

        for batch, block in threads.in_order(best, users):
            writer.write(batch)
            done += len(block)
            without_events += int((block.lengths == 0).sum())
            progress.update(f"recommended for {done:,} of {total:,} users", done / max(1, total))
    files = len(writer.written)
    progress(f"  {writer.rows:,} rows for {done:,} users ({without_events:,} without events) in {files} files")
    counts = {"users": done, "users_without_events": without_events, "rows": writer.rows, "files": files, "k": k}
    return {**counts, "written": writer.written}


def aligned(features: str, block_users: int) -> Iterator[tuple[pa.Array, Histories]]:
    """All users in order of user_index, in blocks, each user with a history, empty for users without events."""
    stream = histories.stream(features, block_users)
    waiting = next(stream, None)
    for batch in _user_batches(features, block_users):
        index = batch.column(schema.USER_INDEX).to_numpy()
        parts = []
        while waiting is not None and len(waiting) and waiting.user_index[0] <= index[-1]:
            here = waiting.user_index <= index[-1]
            parts.append(waiting.rows(np.flatnonzero(here)))
            waiting = waiting.rows(np.flatnonzero(~here)) if not here.all() else next(stream, None)
        yield batch.column(schema.USER_ID), _spread(parts, index)


def _user_batches(features: str, block_users: int) -> Iterator[pa.RecordBatch]:
    for path in storage.parquet_files(storage.join(features, schema.USERS_DIR)):
        with storage.open_parquet(path) as file:
            columns = [schema.USER_INDEX, schema.USER_ID]
            yield from (b for b in file.iter_batches(batch_size=block_users, columns=columns) if b.num_rows)


def _spread(parts: list[Histories], index: np.ndarray) -> Histories:
    """Histories of exactly the users `index`; users missing from the parts have no events."""
    found = histories.concatenate(parts) if parts else histories.EMPTY
    row = np.searchsorted(index, found.user_index)
    lengths, train, valid = (np.zeros(len(index), np.int64) for _ in range(3))
    lengths[row], train[row], valid[row] = found.lengths, found.train_length, found.valid_length
    return Histories(
        index,
        np.concatenate(([0], np.cumsum(lengths))),
        found.items,
        found.ratings,
        found.timestamps,
        train.astype(np.int32),
        valid.astype(np.int32),
    )


def _rows(
    table_schema: pa.Schema, user_ids: pa.Array, items: np.ndarray, scores: np.ndarray, item_ids: pa.Array
) -> pa.RecordBatch:
    """The contract's rows for a block; item index 0 means "no more items" and is dropped."""
    there = items > 0
    counts = there.sum(axis=1)
    users = pa.array(np.repeat(np.arange(len(items)), counts))
    ranks = ranges(np.ones(len(items), np.int64), counts).astype(np.int32)
    columns = [user_ids.take(users), item_ids.take(pa.array(items[there] - 1)), pa.array(ranks), pa.array(scores[there])]
    return pa.RecordBatch.from_arrays(columns, schema=table_schema)
