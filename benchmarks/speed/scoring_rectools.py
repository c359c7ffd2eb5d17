"""RecTools' SASRec of width 128, trained for a few steps: ranks all items for every user of a run, writes Parquet."""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytorch_lightning as lightning
import torch
from rectools.models import SASRecModel

from benchmarks.speed import training_peer
from benchmarks.speed.training_rectools import QUIET, table

LENGTH = 50
"""The last events of a user that it sees."""
STEPS = 3

warnings.simplefilter("ignore")
torch.set_num_threads(training_peer.CORES)
lightning.seed_everything(0)
run, k, folder = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
folder.mkdir(exist_ok=True)
lists = pq.read_table(run / "features" / "histories", columns=["items"]).column(0).combine_chunks()
histories = np.split(lists.values.to_numpy(), lists.offsets.to_numpy()[1:-1])
dataset = table(histories)
model = SASRecModel(
    session_max_len=LENGTH,
    n_factors=128,
    loss="BCE",
    n_negatives=1,
    get_trainer_func=lambda: lightning.Trainer(max_steps=STEPS, devices=1, **QUIET),
)
model.fit(dataset)

started = time.monotonic()
found = model.recommend(users=np.arange(len(histories)), dataset=dataset, k=k, filter_viewed=True)
pq.write_table(pa.Table.from_pandas(found, preserve_index=False), folder / "part-00000.parquet")
print(time.monotonic() - started)
