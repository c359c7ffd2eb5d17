"""implicit's ALS: fits factors of width 64 on the histories of a run, ranks all items for every user, writes Parquet."""

import sys
import time
from pathlib import Path

import implicit
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from scipy import sparse

USERS = 1000
"""Ranked at once."""

run, k, folder = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
folder.mkdir(exist_ok=True)
users = pq.read_table(run / "features" / "users", columns=["user_id"]).column(0).combine_chunks()
items = pq.read_table(run / "features" / "items", columns=["item_id"]).column(0).combine_chunks()
table = pq.read_table(run / "features" / "histories", columns=["user_index", "items"])
lengths = np.zeros(len(users) + 1, np.int64)
histories = table.column("items").combine_chunks()
lengths[table.column("user_index").to_numpy()] = np.diff(histories.offsets.to_numpy())
seen = histories.values.to_numpy() - 1
matrix = sparse.csr_matrix((np.ones(len(seen), np.float32), seen, np.cumsum(lengths)), shape=(len(users), len(items)))
model = implicit.als.AlternatingLeastSquares(factors=64, iterations=2, random_state=0, use_gpu=False)
model.fit(matrix, show_progress=False)

started = time.monotonic()
writer = None
for start in range(0, len(users), USERS):
    rows = np.arange(start, min(start + USERS, len(users)))
    found, scores = model.recommend(rows, matrix[rows], N=k, filter_already_liked_items=True)
    columns = {
        "user_id": users.take(pa.array(np.repeat(rows, k))),
        "item_id": items.take(pa.array(found.ravel())),
        "rank": pa.array(np.tile(np.arange(1, k + 1, dtype=np.int32), len(rows))),
        "score": pa.array(scores.ravel()),
    }
    batch = pa.RecordBatch.from_pydict(columns)
    writer = writer or pq.ParquetWriter(folder / "part-00000.parquet", batch.schema)
    writer.write_batch(batch)
writer.close()
print(time.monotonic() - started)
