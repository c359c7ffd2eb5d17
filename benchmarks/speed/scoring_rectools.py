"""RecTools' SASRec of width 128, trained for a few steps: ranks all items for every user of a run, writes Parquet."""

import sys
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytorch_lightning as lightning
import torch
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

CORES = 2
LENGTH = 50
"""The last events of a user that it sees."""
STEPS = 3


def trainer() -> lightning.Trainer:
    """Lightning's trainer as RecTools makes it, for a few steps."""
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    return lightning.Trainer(max_steps=STEPS, devices=1, **quiet)


def table(features: Path) -> pd.DataFrame:
    """All events; their place in the history is their time."""
    found = pq.read_table(features / "histories", columns=["user_index", "items"])
    histories = found.column("items").combine_chunks()
    lengths = np.diff(histories.offsets.to_numpy())
    place = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    columns = {
        Columns.User: np.repeat(found.column("user_index").to_numpy(), lengths),
        Columns.Item: histories.values.to_numpy(),
        Columns.Weight: 1,
        Columns.Datetime: pd.Timestamp(2000, 1, 1) + pd.to_timedelta(place, unit="s"),
    }
    return pd.DataFrame(columns)


warnings.simplefilter("ignore")
torch.set_num_threads(CORES)
lightning.seed_everything(0)
run, k, folder = Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
folder.mkdir(exist_ok=True)
events = table(run / "features")
users = np.unique(events[Columns.User])
model = SASRecModel(session_max_len=LENGTH, n_factors=128, loss="BCE", n_negatives=1, get_trainer_func=trainer)
dataset = Dataset.construct(events)
model.fit(dataset)

started = time.monotonic()
found = model.recommend(users=users, dataset=dataset, k=k, filter_viewed=True)
pq.write_table(pa.Table.from_pandas(found, preserve_index=False), folder / "part-00000.parquet")
print(time.monotonic() - started)
