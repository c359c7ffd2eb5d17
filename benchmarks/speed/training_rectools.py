"""RecTools' SASRec: a row a user, all its positions trained at once, with full softmax.

Settings are the library's own, with which its authors measured it on MovieLens 1M (two blocks, four heads, width 256, dropout
.2, Adam at .001, 128 rows a batch), but for the last 200 events instead of 100; and for the width, if one is given.
"""

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as lightning
import torch
from pytorch_lightning.callbacks import LambdaCallback
from rectools import Columns
from rectools.dataset import Dataset
from rectools.models import SASRecModel

from benchmarks.speed import training_peer
from benchmarks.speed.training_peer import Events, K, Watch

LENGTH = 200
QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


def trainer(watch: Watch) -> lightning.Trainer:
    """Lightning's trainer as RecTools makes it, with a clock."""

    def counted(own: lightning.Trainer, module: Any, outputs: Any, batch: dict[str, torch.Tensor], number: int) -> None:
        own.should_stop = watch.trained(int((batch["y"] != 0).sum()))

    clock = LambdaCallback(  # not methods of the watch, which the model would copy
        on_train_epoch_start=lambda *_: watch.start(),
        on_train_batch_end=counted,
        on_train_epoch_end=lambda *_: watch.stop(),
    )
    return lightning.Trainer(max_epochs=1, min_epochs=0, devices=1, callbacks=[clock], **QUIET)


def table(histories: Sequence[np.ndarray]) -> Dataset:
    """The events of some histories; their number is their time."""
    lengths = [len(history) for history in histories]
    items = np.concatenate(histories)
    columns = {
        Columns.User: np.repeat(np.arange(len(lengths)), lengths),
        Columns.Item: items,
        Columns.Weight: 1,
        Columns.Datetime: pd.Timestamp(2000, 1, 1) + pd.to_timedelta(np.arange(len(items)), unit="s"),
    }
    return Dataset.construct(pd.DataFrame(columns))


def rank(model: SASRecModel, dataset: Dataset, users: int) -> np.ndarray:
    """The list of every user."""
    found = model.recommend(users=np.arange(users), dataset=dataset, k=K, filter_viewed=True)
    top = np.zeros((users, K), np.int32)
    top[found[Columns.User], found[Columns.Rank] - 1] = found[Columns.Item]
    return top


def main(path: str, limit: str, folder: str, width: str = "256") -> None:
    """Trains on the file at `path`, up to `limit` seconds; writes nothing to `folder`."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(training_peer.CORES)
    lightning.seed_everything(0)
    events = Events.read(path)
    an_epoch = sum(min(len(history) - 1, LENGTH) for history in events.learned)
    watch, dataset = Watch(events, an_epoch, float(limit)), table(events.learned)
    model = SASRecModel(session_max_len=LENGTH, n_factors=int(width), get_trainer_func=lambda: trainer(watch))
    while watch.goes_on:
        model.fit_partial(dataset, min_epochs=0, max_epochs=1)
        watch.validate(lambda: rank(model, dataset, len(events.targets)))


if __name__ == "__main__":
    main(*sys.argv[1:])
